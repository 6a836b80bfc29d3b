//! Backends whose sessions Envoy takes elsewhere than they are sent, again and again: mostly because it sees other addresses than
//! the pods say, as behind a waypoint or in another network. Their pods cannot be told apart by an address, so the filters are not told of
//! them: then they send the hash of the key, and Envoy's own consistent hash keeps each key on one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clew_core::model::{BackendId, Owner, OwnerKind, World};
use clew_core::validate::{Unsupported, Validated};

use super::about::About;

/// Endpoints that come and go make misses too, and these end sooner.
const PERSISTENT: Duration = Duration::from_secs(60);
/// Fewer tell nothing.
const ENOUGH: u64 = 16;

/// What is known of misses.
#[derive(Debug, Default)]
pub(crate) struct Misses {
    since: BTreeMap<String, Instant>,
    /// With the pods that it was found of: without addresses nobody misses any more, so that nobody sees it end.
    persistent: BTreeMap<String, BTreeSet<SocketAddr>>,
}

impl Misses {
    /// Looks at the sessions of each backend, and how many of them missed, where `pods` are the addresses that its proxies
    /// know. True: there is one more whose misses persist.
    pub(crate) fn look(
        &mut self,
        backends: &BTreeMap<String, (u64, u64)>,
        pods: impl Fn(&str) -> BTreeSet<SocketAddr>,
        now: Instant,
    ) -> bool {
        let is_bad = |(_, (sessions, missed)): &(&String, &(u64, u64))| {
            *missed >= ENOUGH && missed.saturating_mul(2) > *sessions
        };
        let mut since = BTreeMap::new();
        let before = self.persistent.len();
        for (backend, _) in backends.iter().filter(is_bad) {
            let from = self.since.get(backend).copied().unwrap_or(now);
            since.insert(backend.clone(), from);
            if now.saturating_duration_since(from) >= PERSISTENT {
                self.persistent
                    .entry(backend.clone())
                    .or_insert_with(|| pods(backend));
            }
        }
        self.since = since;
        self.persistent.len() > before
    }

    /// Gives a backend that a turn is about another try when none of the pods is left that misses were found of: then every
    /// key moves anyway.
    pub(crate) fn try_again(&mut self, about: &About, world: &World) {
        if self.persistent.is_empty() {
            return;
        }
        let found = world.backends.iter();
        let found: BTreeMap<_, _> = found.map(|(id, backend)| (id.to_string(), backend)).collect();
        self.persistent.retain(|id, known| match found.get(id) {
            Some(backend) => backend.pods.iter().any(|pod| known.contains(&pod.address)),
            None => !about.everything,
        });
    }

    /// Whether the filters are to know the pods of a backend.
    pub(crate) fn are_told_of(&self, backend: &str) -> bool {
        !self.persistent.contains_key(backend)
    }

    /// Says of every route which of its backends have no addresses that count.
    pub(crate) fn say(&self, validated: &mut Validated) {
        if self.persistent.is_empty() {
            return;
        }
        let mut bad: BTreeMap<Owner, BTreeSet<BackendId>> = BTreeMap::new();
        for rule in validated.world.rules() {
            let backends = rule.backends.iter().map(|share| &share.id);
            let backends = backends.filter(|id| !self.are_told_of(&id.to_string()));
            for id in backends {
                bad.entry(rule.name.owner()).or_default().insert(id.clone());
            }
        }
        for report in &mut validated.routes {
            for id in bad.get(&report.owner()).into_iter().flatten() {
                let found = Unsupported {
                    field: match report.kind {
                        OwnerKind::Route => "spec.rules".to_owned(),
                        OwnerKind::Policy => "spec.targetRefs".to_owned(),
                    },
                    why: format!(
                        "most sessions of {id} are elsewhere than they were sent, because the proxies see other addresses than its pods say, or somebody's object changes where they go: they are placed by Envoy's own consistent hash of their keys, and neither bound to pods nor drained"
                    ),
                };
                for parent in report.parents.iter_mut().filter(|parent| parent.in_force) {
                    parent.unsupported.push(found.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{About, BackendId, Misses, PERSISTENT, World};
    use crate::clock;
    use clew_core::model::{Backend, ObjectName, Pod};
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::SocketAddr;

    fn address(ip: &str) -> SocketAddr {
        format!("{ip}:80").parse().unwrap()
    }

    fn pods(ips: &[&str]) -> impl Fn(&str) -> BTreeSet<SocketAddr> {
        let all: BTreeSet<_> = ips.iter().map(|ip| address(ip)).collect();
        move |_| all.clone()
    }

    /// Where `shop/chat:80` has pods at these addresses.
    fn world(ips: &[&str]) -> World {
        let pod = |ip: &&str| Pod {
            name: (*ip).into(),
            uid: String::new(),
            address: address(ip),
            terminating: false,
        };
        let id = BackendId {
            service: ObjectName::new("shop", "chat"),
            port: 80,
        };
        let backend = Backend {
            pods: ips.iter().map(pod).collect(),
            drain_timeout_ms: 0,
        };
        World {
            backends: BTreeMap::from([(id, backend)]),
            ..World::default()
        }
    }

    #[test]
    fn only_misses_of_most_sessions_that_go_on_and_on_are_persistent() {
        let mut misses = Misses::default();
        let begin = clock::now();
        let pods = pods(&["10.0.0.1"]);
        let of = |sessions, missed| BTreeMap::from([("shop/chat:80".to_owned(), (sessions, missed))]);
        assert!(!misses.look(&of(20, 20), &pods, begin));
        assert!(!misses.look(&of(20, 20), &pods, begin + PERSISTENT / 2));
        assert!(!misses.look(&of(60, 20), &pods, begin + PERSISTENT), "a minority");
        assert!(!misses.look(&of(20, 20), &pods, begin + PERSISTENT), "anew");
        assert!(
            !misses.look(&of(15, 15), &pods, begin + PERSISTENT * 3),
            "too few"
        );
        assert!(!misses.look(&of(16, 16), &pods, begin + PERSISTENT * 4));
        assert!(misses.are_told_of("shop/chat:80"));
        assert!(misses.look(&of(32, 17), &pods, begin + PERSISTENT * 5));
        assert!(!misses.are_told_of("shop/chat:80"));
        assert!(!misses.look(&BTreeMap::new(), &pods, begin + PERSISTENT * 6));
        assert!(!misses.are_told_of("shop/chat:80"), "and stays so");
        assert!(misses.are_told_of("shop/other:80"));
    }

    #[test]
    fn a_backend_is_tried_again_when_all_of_its_pods_are_others() {
        let begin = clock::now();
        let bad = BTreeMap::from([("shop/chat:80".to_owned(), (20, 20))]);
        let mut misses = Misses::default();
        let before = pods(&["10.0.0.1", "10.0.0.2"]);
        misses.look(&bad, &before, begin);
        assert!(misses.look(&bad, &before, begin + PERSISTENT));
        let (part, all) = (About::default(), About::all());
        misses.try_again(&all, &world(&["10.0.0.2", "10.0.0.3"]));
        assert!(!misses.are_told_of("shop/chat:80"), "one of them is left");
        misses.try_again(&part, &World::default());
        assert!(!misses.are_told_of("shop/chat:80"), "a turn about others");
        misses.try_again(&part, &world(&["10.0.0.3", "10.0.0.4"]));
        assert!(misses.are_told_of("shop/chat:80"));
        // And if it is no better then, that is found again.
        let after = pods(&["10.0.0.3"]);
        misses.look(&BTreeMap::new(), &after, begin + PERSISTENT);
        misses.look(&bad, &after, begin + PERSISTENT * 2);
        assert!(misses.look(&bad, &after, begin + PERSISTENT * 3));
        misses.try_again(&all, &World::default());
        assert!(misses.are_told_of("shop/chat:80"), "nobody has it any more");
    }
}
