//! World → what each gateway's filters must know: the content of the channel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::{Backend, DrainPolicy, Draining, KeySource, Pod, Rule, WeightedBackend};
use xxhash_rust::xxh64::xxh64;

use crate::decoder;
use crate::model::{self, BackendId, World};

/// What one gateway's filters must know, without the channel's own fields (version, seed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// By [`RuleId`](model::RuleId).
    pub rules: BTreeMap<String, Rule>,
    /// By [`BackendId`]. One that does not exist is not here.
    pub backends: BTreeMap<String, Backend>,
}

impl Rules {
    /// For filters in Envoys of a mesh's gateways: these have entered the peer in `X-Forwarded-For` before a filter reads it
    /// (Envoy 1.40, `use_remote_address` without `skip_xff_append`), so what the proxies in front wrote is one further to the left.
    #[must_use]
    pub fn behind_the_peer(mut self) -> Self {
        let sources = self.rules.values_mut().flat_map(|rule| &mut rule.session_key);
        for source in sources {
            if let KeySource::SourceIp { trusted_hops } = source
                && *trusted_hops > 0
            {
                *trusted_hops = trusted_hops.saturating_add(1);
            }
        }
        self
    }
}

/// The pods that are leaving and since when: what Envoy's endpoints and the channel are rendered from. The core has no
/// clock, so whoever has one keeps this and calls [`observe`](Self::observe) before it renders a new [`World`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    pods: BTreeMap<(BackendId, SocketAddr), Leaving>,
}

/// Since when a pod is leaving, why, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaving {
    since_ms: u64,
    /// None: as long as the shortest rule says.
    timeout_ms: Option<u64>,
    ordered: bool,
    /// Envoy goes on counting it among the hosts that it hashes over.
    is_host: bool,
}

impl Drains {
    /// Notes the pods whose endpoints have begun to terminate, and forgets those that are gone or serve again.
    /// `now_ms`: milliseconds since the Unix epoch. What an operator ordered stays until the pod is gone.
    pub fn observe(&mut self, world: &World, now_ms: u64) {
        let seen: BTreeMap<_, _> = world
            .backends
            .iter()
            .flat_map(|(id, backend)| {
                backend
                    .pods
                    .iter()
                    .map(move |pod| ((id.clone(), pod.address), pod))
            })
            .collect();
        self.pods.retain(|pod, leaving| {
            seen.get(pod)
                .is_some_and(|pod| leaving.ordered || pod.terminating)
        });
        for (id, pod) in world.terminating() {
            self.pods
                .entry((id.clone(), pod.address))
                .or_insert_with(|| Leaving {
                    since_ms: now_ms,
                    timeout_ms: None,
                    ordered: false,
                    is_host: false,
                });
        }
    }

    /// Forgets which pods of all other backends leave.
    pub fn retain(&mut self, is_kept: impl Fn(&BackendId) -> bool) {
        self.pods.retain(|(backend, _), _| is_kept(backend));
    }

    /// An operator wants a pod drained, within a time of its own or the rules'. One that leaves already keeps its
    /// beginning.
    pub fn order(&mut self, backend: &BackendId, pod: &model::Pod, now_ms: u64, timeout_ms: Option<u64>) {
        let leaving = self
            .pods
            .entry((backend.clone(), pod.address))
            .or_insert(Leaving {
                since_ms: now_ms,
                timeout_ms,
                ordered: true,
                is_host: false,
            });
        leaving.ordered = true;
        leaving.timeout_ms = timeout_ms.or(leaving.timeout_ms);
    }

    /// Takes an order back. A pod whose endpoint is terminating leaves all the same; any other one serves again from
    /// the next [`observe`](Self::observe) on.
    pub fn cancel(&mut self, backend: &BackendId, pod: &model::Pod) {
        if let Some(leaving) = self.pods.get_mut(&(backend.clone(), pod.address)) {
            leaving.ordered = false;
            leaving.timeout_ms = None;
        }
    }

    /// A pod leaves within this window, whatever was known of it. One whose endpoint is not terminating stays a host of the
    /// mesh's, which knows of no drain.
    pub fn leave(&mut self, backend: &BackendId, pod: &model::Pod, since_ms: u64, timeout_ms: Option<u64>) {
        let leaving = Leaving {
            since_ms,
            timeout_ms,
            ordered: !pod.terminating,
            is_host: !pod.terminating,
        };
        self.pods.insert((backend.clone(), pod.address), leaving);
    }

    /// Whether a pod takes no new sessions.
    #[must_use]
    pub fn is_leaving(&self, backend: &BackendId, pod: &model::Pod) -> bool {
        self.find(backend, pod).is_some()
    }

    fn find(&self, backend: &BackendId, pod: &model::Pod) -> Option<Leaving> {
        self.pods.get(&(backend.clone(), pod.address)).copied()
    }
}

/// What filters must know that serve these rules, each of them named as often as it is attached.
#[must_use]
pub fn render<'a>(
    world: &World,
    attached: impl IntoIterator<Item = &'a Arc<model::Rule>>,
    drains: &Drains,
) -> Rules {
    let rules: BTreeMap<_, _> = attached
        .into_iter()
        .map(|attached| (attached.id.as_str(), attached))
        .collect();
    let used: BTreeSet<&BackendId> = rules
        .values()
        .flat_map(|rule| &rule.backends)
        .map(|share| &share.id)
        .collect();
    Rules {
        rules: rules
            .into_iter()
            .map(|(id, attached)| (id.to_owned(), rule(attached)))
            .collect(),
        backends: used
            .into_iter()
            .filter_map(|id| Some((id.to_string(), backend(id, world.backends.get(id)?, drains))))
            .collect(),
    }
}

/// One rule. Its `config` stands for everything else of it.
#[must_use]
pub fn rule(rule: &model::Rule) -> Rule {
    let mut rendered = Rule {
        config: String::new(),
        name: rule.name.to_string(),
        session_key: rule.session_key.clone(),
        on_missing: rule.on_missing.clone(),
        origin: rule.origin.clone(),
        limits: rule.limits,
        backends: rule
            .backends
            .iter()
            .map(|share| WeightedBackend {
                id: share.id.to_string(),
                weight: share.weight,
            })
            .collect(),
        balancer: rule.balancer,
        bounded_load_percent: rule.bounded_load_percent,
        persistence: rule.persistence.clone(),
        drain: DrainPolicy {
            timeout_ms: rule.drain_timeout_ms,
            close_code: rule.close_code,
            close_reason: rule.close_reason.clone(),
        },
        terms: rule.terms,
        close_at_token_expiry: rule.close_at_token_expiry,
    };
    let bytes = serde_json::to_vec(&rendered)
        .unwrap_or_else(|error| unreachable!("a rule is text and numbers: {error}"));
    rendered.config = format!("{:08x}", xxh64(&bytes, 0) >> 32);
    rendered
}

/// The name of every Envoy route of a rule: how the filter knows the rule and its configuration.
#[must_use]
pub fn route_name(attached: &model::Rule) -> String {
    RouteName {
        rule: attached.id.as_str(),
        config: &rule(attached).config,
    }
    .to_string()
}

/// One backend: what its pods are called, and which header value reaches each.
#[must_use]
pub fn backend(id: &BackendId, backend: &model::Backend, drains: &Drains) -> Backend {
    let hosts = backend
        .pods
        .iter()
        .filter(|pod| drains.find(id, pod).is_none_or(|leaving| leaving.is_host));
    let addresses: Vec<_> = hosts.map(|pod| pod.address.to_string()).collect();
    let mut steers: BTreeMap<_, _> = addresses
        .iter()
        .map(String::as_str)
        .zip(decoder::steer(&addresses, decoder::TABLE_SIZE))
        .collect();
    let pods = backend
        .pods
        .iter()
        .map(|pod| {
            let address = pod.address.to_string();
            let draining = drains.find(id, pod).map(|leaving| Draining {
                since_ms: leaving.since_ms,
                timeout_ms: leaving.timeout_ms.unwrap_or(backend.drain_timeout_ms),
            });
            Pod {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                steer: steers.remove(address.as_str()).flatten(),
                address,
                draining,
            }
        })
        .collect();
    Backend { pods }
}

#[cfg(test)]
mod tests;
