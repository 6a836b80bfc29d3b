//! Backends whose sessions Envoy takes elsewhere than they are sent, again and again: mostly because it sees other addresses than
//! the pods say, as behind a waypoint or in another network. Their pods cannot be told apart by an address, so the filters are not told of
//! them: then they send the hash of the key, and Envoy's own consistent hash keeps each key on one pod.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clew_core::model::BackendId;
use clew_core::validate::{Unsupported, Validated};

/// Endpoints that come and go make misses too, and these end sooner.
const PERSISTENT: Duration = Duration::from_secs(60);
/// Fewer tell nothing.
const ENOUGH: u64 = 16;

/// What is known of misses.
#[derive(Debug, Default)]
pub(crate) struct Misses {
    since: BTreeMap<String, Instant>,
    /// For as long as this controller lives: without addresses nobody misses any more.
    persistent: BTreeSet<String>,
}

impl Misses {
    /// Looks at the sessions of each backend, and how many of them missed. True: there is one more whose misses persist.
    pub(crate) fn look(&mut self, backends: &BTreeMap<String, (u64, u64)>, now: Instant) -> bool {
        let is_bad = |(_, (sessions, missed)): &(&String, &(u64, u64))| {
            *missed >= ENOUGH && missed.saturating_mul(2) > *sessions
        };
        let mut since = BTreeMap::new();
        let before = self.persistent.len();
        for (backend, _) in backends.iter().filter(is_bad) {
            let from = self.since.get(backend).copied().unwrap_or(now);
            since.insert(backend.clone(), from);
            if now.saturating_duration_since(from) >= PERSISTENT {
                self.persistent.insert(backend.clone());
            }
        }
        self.since = since;
        self.persistent.len() > before
    }

    /// Whether the filters are to know the pods of a backend.
    pub(crate) fn are_told_of(&self, backend: &str) -> bool {
        !self.persistent.contains(backend)
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

#[cfg(test)]
mod tests {
    use super::{Misses, PERSISTENT};
    use crate::clock;
    use std::collections::BTreeMap;

    #[test]
    fn only_misses_of_most_sessions_that_go_on_and_on_are_persistent() {
        let mut misses = Misses::default();
        let begin = clock::now();
        let of = |sessions, missed| BTreeMap::from([("shop/chat:80".to_owned(), (sessions, missed))]);
        assert!(!misses.look(&of(20, 20), begin));
        assert!(!misses.look(&of(20, 20), begin + PERSISTENT / 2));
        assert!(!misses.look(&of(60, 20), begin + PERSISTENT), "a minority");
        assert!(!misses.look(&of(20, 20), begin + PERSISTENT), "anew");
        assert!(!misses.look(&of(15, 15), begin + PERSISTENT * 3), "too few");
        assert!(!misses.look(&of(16, 16), begin + PERSISTENT * 4));
        assert!(misses.are_told_of("shop/chat:80"));
        assert!(misses.look(&of(32, 17), begin + PERSISTENT * 5));
        assert!(!misses.are_told_of("shop/chat:80"));
        assert!(!misses.look(&BTreeMap::new(), begin + PERSISTENT * 6));
        assert!(!misses.are_told_of("shop/chat:80"), "and stays so");
        assert!(misses.are_told_of("shop/other:80"));
    }
}
