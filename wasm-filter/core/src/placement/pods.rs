//! One backend's pods, laid out so that a session is placed in one pass over its hashes.

use clew_filter_config::rule::{Backend, Pod};

use super::hash::{KeyHash, Seed, score};
use crate::token::Token;

/// The pods of one backend in the order of their names. Pods are named by their position in that order.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    pods: Vec<Pod>,
    /// Of the pods that take new sessions, in the same order.
    hashes: Vec<u64>,
    /// Position of each of these in `pods`.
    places: Vec<usize>,
}

impl Pods {
    /// Lays out a backend. Pods that drain are known but take no new session. Of two pods with one name the one with
    /// the smaller address gets all their keys.
    #[must_use]
    pub fn new(seed: &Seed, backend: Backend) -> Self {
        let mut pods = backend.pods;
        pods.sort_unstable_by(|a, b| (&a.name, &a.address).cmp(&(&b.name, &b.address)));
        let (places, hashes) = pods
            .iter()
            .enumerate()
            .filter(|(_, pod)| pod.draining.is_none())
            .map(|(place, pod)| (place, seed.name(&pod.name)))
            .unzip();
        Self { pods, hashes, places }
    }

    /// The pod at a position.
    #[must_use]
    pub fn get(&self, pod: usize) -> Option<&Pod> {
        self.pods.get(pod)
    }

    /// The value of `x-clew-host` that reaches the pod at a position.
    #[must_use]
    pub fn steer(&self, pod: usize) -> Option<&str> {
        let pod = self.pods.get(pod)?;
        Some(pod.steer.as_deref().unwrap_or(&pod.address))
    }

    /// The position of the pod to which a token binds, if it takes sessions: by what it is called, wherever it is.
    #[must_use]
    pub fn bound(&self, token: &Token) -> Option<usize> {
        let is = |pod: &Pod| pod.name == token.pod && pod.uid == token.uid && pod.draining.is_none();
        self.pods.iter().position(is)
    }

    /// Every pod in order, those that drain included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Pod> {
        self.pods.iter()
    }

    /// How many there are, those that drain included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether there is none at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// How many take new sessions.
    #[must_use]
    pub const fn eligible(&self) -> usize {
        self.hashes.len()
    }

    /// Rendezvous hashing: the pod to which the key is worth most. A pod that leaves moves its own keys only, one
    /// that joins only those that it takes. `None`: no pod takes new sessions.
    #[must_use]
    pub fn by_key(&self, key: KeyHash) -> Option<usize> {
        let (&first, rest) = self.hashes.split_first()?;
        let mut best = score(key, first);
        let mut at = 0;
        for (i, &hash) in (1..).zip(rest) {
            let score = score(key, hash);
            // Strictly: the smaller name wins a tie.
            if score > best {
                best = score;
                at = i;
            }
        }
        self.places.get(at).copied()
    }

    /// Rendezvous hashing with bounded load: the pod to which the key is worth most of those that hold fewer than
    /// `ceil(percent/100 × (total + 1) / n)` sessions, over the `n` pods that take new ones. Less than 100 percent
    /// counts as 100, so there is always such a pod.
    #[must_use]
    pub fn by_key_bounded(
        &self,
        key: KeyHash,
        percent: u32,
        sessions: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let total: u128 = self.places.iter().map(|&pod| u128::from(sessions(pod))).sum();
        let share = u128::from(percent.max(100)).saturating_mul(total.saturating_add(1));
        let bound = share.div_ceil((self.hashes.len() as u128).saturating_mul(100).max(1));
        let mut best = None;
        for (&hash, &pod) in self.hashes.iter().zip(&self.places) {
            let score = score(key, hash);
            if best.is_none_or(|(highest, _)| score > highest) && u128::from(sessions(pod)) < bound {
                best = Some((score, pod));
            }
        }
        best.map(|(_, pod)| pod)
    }

    /// Of two different pods drawn by `random` the one with fewer sessions, of equal ones the first drawn.
    #[must_use]
    pub fn fewest_of_two(&self, random: u64, sessions: impl Fn(usize) -> u64) -> Option<usize> {
        let n = self.places.len();
        let first = below(random >> 32, n);
        let one = *self.places.get(first)?;
        // The second is drawn from the others: one place on from the first, at least, and at most all around.
        let other = below(random & 0xffff_ffff, n.saturating_sub(1));
        let second = if other < first {
            other
        } else {
            other.saturating_add(1)
        };
        match self.places.get(second) {
            Some(&two) if sessions(two) < sessions(one) => Some(two),
            _ => Some(one),
        }
    }

    /// A pod drawn by `random`.
    #[must_use]
    pub fn at_random(&self, random: u64) -> Option<usize> {
        self.places.get(below(random >> 32, self.places.len())).copied()
    }
}

/// Maps 32 random bits evenly to `0..n`.
fn below(random: u64, n: usize) -> usize {
    let scaled = u128::from(random).saturating_mul(n as u128) >> 32;
    usize::try_from(scaled).unwrap_or(0)
}
