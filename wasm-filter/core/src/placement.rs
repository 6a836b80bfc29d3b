//! Where a session goes. The filter places it, and the mesh carries it there: Envoy's Maglev takes the chosen pod's
//! address, as a header's value, to that pod.
//!
//! A key is hashed once, `SipHash-2-4(seed, key)`, and mixed with the hash of each pod's name; the highest value wins
//! (rendezvous hashing), ties go to the smaller name. So nothing but membership moves keys: a pod that leaves moves its
//! own, one that joins only what it takes. Everything is whole numbers, the same natively and in wasm.

mod hash;
mod pods;
mod shares;

use clew_filter_config::rule::{Balancer, Rule};

pub use self::hash::{KeyHash, Seed};
pub use self::pods::Pods;
pub use self::shares::Shares;

/// What of a rule decides about pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How a pod is chosen.
    pub balancer: Balancer,
    /// No pod that is chosen by key above this percentage of the mean.
    pub bounded_load_percent: Option<u32>,
}

impl From<&Rule> for Policy {
    fn from(rule: &Rule) -> Self {
        Self {
            balancer: rule.balancer,
            bounded_load_percent: rule.bounded_load_percent,
        }
    }
}

/// What is known of the session that looks for its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Its key, where it has one.
    pub key: Option<KeyHash>,
    /// 64 fresh random bits.
    pub random: u64,
}

/// Where a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// To a pod.
    Pod {
        /// Index into the rule's backends.
        backend: usize,
        /// Index into the backend's [`Pods`].
        pod: usize,
    },
    /// To a backend whose pods are not known: the mesh hashes on [`KeyHash::header`].
    Unlisted {
        /// Index into the rule's backends.
        backend: usize,
        /// The hash of its key, or a random one.
        hash: KeyHash,
    },
}

/// Places a session: first a backend by weight, of its key if it has one, then a pod by the rule's balancer.
///
/// `pods` knows the pods of each of the rule's backends by its index, `None` where no list is known; `sessions` knows
/// how many of this proxy's sessions a backend's pod holds. A backend that is known to have no pod for new sessions is
/// passed over. `None`: all are.
pub fn place<'p>(
    policy: Policy,
    shares: &Shares,
    draw: Draw,
    pods: impl Fn(usize) -> Option<&'p Pods>,
    sessions: impl Fn(usize, usize) -> u64,
) -> Option<Choice> {
    let hash = draw.key.unwrap_or(KeyHash(draw.random));
    let backend = shares.choose(hash, |i| pods(i).is_none_or(|pods| pods.eligible() > 0))?;
    let Some(pods) = pods(backend) else {
        return Some(Choice::Unlisted { backend, hash });
    };
    let sessions = |pod| sessions(backend, pod);
    let pod = match (policy.balancer, draw.key, policy.bounded_load_percent) {
        (Balancer::ConsistentHash, Some(key), None) => pods.by_key(key),
        (Balancer::ConsistentHash, Some(key), Some(percent)) => pods.by_key_bounded(key, percent, sessions),
        (Balancer::ConsistentHash, None, _) | (Balancer::LeastSessions, _, _) => {
            pods.fewest_of_two(draw.random, sessions)
        }
        (Balancer::Random, _, _) => pods.at_random(draw.random),
    }?;
    Some(Choice::Pod { backend, pod })
}
