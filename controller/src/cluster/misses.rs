//! Backends whose sessions Envoy takes elsewhere than they are sent, again and again: mostly because it sees other addresses than
//! the pods say, as behind a waypoint or in another network. Their pods cannot be told apart by an address, so the filters are not told of
//! them: then they send the hash of the key, and Envoy's own consistent hash keeps each key on one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clew_core::model::{BackendId, World};
use clew_core::validate::{Unsupported, Validated};

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
    /// Looks at the sessions of each backend, and how many of them missed. True: there is one more whose misses persist.
    pub(crate) fn look(
        &mut self,
        backends: &BTreeMap<String, (u64, u64)>,
        world: &World,
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
                    .or_insert_with(|| addresses(world, backend));
            }
        }
        self.since = since;
        self.persistent.len() > before
    }

    /// Gives a backend another try when none of the pods is left that misses were found of: then every key moves anyway.
    pub(crate) fn try_again(&mut self, world: &World) {
        self.persistent
            .retain(|backend, known| !known.is_disjoint(&addresses(world, backend)));
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
        let rules: Vec<_> = validated.world.rules().cloned().collect();
        for report in &mut validated.routes {
            let of_this = rules.iter().filter(|rule| rule.name.route == report.name);
            let backends: BTreeSet<&BackendId> = of_this
                .flat_map(|rule| &rule.backends)
                .map(|share| &share.id)
                .filter(|id| !self.are_told_of(&id.to_string()))
                .collect();
            for id in backends {
                let found = Unsupported {
                    field: "spec.rules".to_owned(),
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

fn addresses(world: &World, backend: &str) -> BTreeSet<SocketAddr> {
    let is_it = |id: &BackendId| id.to_string() == backend;
    let found = world.backends.iter().find(|(id, _)| is_it(id));
    found
        .into_iter()
        .flat_map(|(_, backend)| &backend.pods)
        .map(|pod| pod.address)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BackendId, Misses, PERSISTENT, World};
    use crate::clock;
    use clew_core::model::{Backend, ObjectName, Pod};
    use std::collections::BTreeMap;

    /// Where `shop/chat:80` has pods at these addresses.
    fn world(addresses: &[&str]) -> World {
        let pod = |address: &&str| Pod {
            name: (*address).into(),
            uid: String::new(),
            address: format!("{address}:80").parse().unwrap(),
            terminating: false,
        };
        let id = BackendId {
            service: ObjectName::new("shop", "chat"),
            port: 80,
        };
        let backend = Backend {
            pods: addresses.iter().map(pod).collect(),
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
        let world = world(&["10.0.0.1"]);
        let of = |sessions, missed| BTreeMap::from([("shop/chat:80".to_owned(), (sessions, missed))]);
        assert!(!misses.look(&of(20, 20), &world, begin));
        assert!(!misses.look(&of(20, 20), &world, begin + PERSISTENT / 2));
        assert!(
            !misses.look(&of(60, 20), &world, begin + PERSISTENT),
            "a minority"
        );
        assert!(!misses.look(&of(20, 20), &world, begin + PERSISTENT), "anew");
        assert!(
            !misses.look(&of(15, 15), &world, begin + PERSISTENT * 3),
            "too few"
        );
        assert!(!misses.look(&of(16, 16), &world, begin + PERSISTENT * 4));
        assert!(misses.are_told_of("shop/chat:80"));
        assert!(misses.look(&of(32, 17), &world, begin + PERSISTENT * 5));
        assert!(!misses.are_told_of("shop/chat:80"));
        assert!(!misses.look(&BTreeMap::new(), &world, begin + PERSISTENT * 6));
        assert!(!misses.are_told_of("shop/chat:80"), "and stays so");
        assert!(misses.are_told_of("shop/other:80"));
    }

    #[test]
    fn a_backend_is_tried_again_when_all_of_its_pods_are_others() {
        let begin = clock::now();
        let bad = BTreeMap::from([("shop/chat:80".to_owned(), (20, 20))]);
        let mut misses = Misses::default();
        let before = world(&["10.0.0.1", "10.0.0.2"]);
        misses.look(&bad, &before, begin);
        assert!(misses.look(&bad, &before, begin + PERSISTENT));
        misses.try_again(&world(&["10.0.0.2", "10.0.0.3"]));
        assert!(!misses.are_told_of("shop/chat:80"), "one of them is left");
        misses.try_again(&world(&["10.0.0.3", "10.0.0.4"]));
        assert!(misses.are_told_of("shop/chat:80"));
        // And if it is no better then, that is found again.
        let after = world(&["10.0.0.3"]);
        misses.look(&BTreeMap::new(), &after, begin + PERSISTENT);
        misses.look(&bad, &after, begin + PERSISTENT * 2);
        assert!(misses.look(&bad, &after, begin + PERSISTENT * 3));
    }
}
