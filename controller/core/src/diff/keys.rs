//! How the keys of a rule move when the rule changes, by the filter's own placement of keys that are made up.

use std::collections::BTreeMap;

use clew_filter_config::rule::Balancer;
use clew_filter_core::placement::{Choice, Draw, Pods, Policy, Seed, Shares, place};

use super::State;
use crate::model::{ObjectName, Rule};
use crate::render::rules;
use crate::simulate::Moved;

/// What is placed, and by which seed.
pub(super) struct Placing<'a> {
    pub(super) seed: &'a Seed,
    pub(super) keys: u32,
}

/// A pod, through whichever port: its Service and its name. None: no pod.
type Place = Option<(ObjectName, String)>;

impl Placing<'_> {
    /// Keys that another pod gets. The minimum is what the change of loads takes: the keys that pods are to have fewer of.
    pub(super) fn moved(&self, old: (&Rule, State<'_>), new: (&Rule, State<'_>)) -> Option<Moved> {
        if !places_by_key(old.0) || !places_by_key(new.0) {
            return None;
        }
        let are_read_anew = !new.0.session_key.starts_with(&old.0.session_key);
        let before = self.places("key", old.0, old.1);
        let after = self.places(if are_read_anew { "other" } else { "key" }, new.0, new.1);
        let mut loads = BTreeMap::<&Place, (u64, u64)>::new();
        for place in &before {
            loads.entry(place).or_default().0 += 1;
        }
        for place in &after {
            loads.entry(place).or_default().1 += 1;
        }
        let keys = before.iter().zip(&after).filter(|(old, new)| old != new).count() as u64;
        let minimum = loads.values().map(|(old, new)| old.saturating_sub(*new)).sum();
        Some(Moved::of(keys, minimum))
    }

    fn places(&self, stem: &str, rule: &Rule, state: State<'_>) -> Vec<Place> {
        let rendered = rules::rule(rule);
        let shares = Shares::new(self.seed, &rendered.backends);
        let pods = |share: &crate::model::BackendShare| {
            let backend = state.world.backends.get(&share.id)?;
            Some(Pods::new(
                self.seed,
                rules::backend(&share.id, backend, state.drains),
            ))
        };
        let pods: Vec<_> = rule.backends.iter().map(pods).collect();
        let of = |n: u32| {
            let draw = Draw {
                key: Some(self.seed.key(format!("{stem}-{n}").as_bytes())),
                random: 0,
            };
            let listed = |i: usize| pods.get(i).and_then(Option::as_ref);
            let chosen = place(Policy::from(&rendered), &shares, draw, listed, |_, _| 0)?;
            let Choice::Pod { backend, pod } = chosen else {
                return None;
            };
            let service = rule.backends.get(backend)?.id.service.clone();
            Some((service, listed(backend)?.get(pod)?.name.clone()))
        };
        (0..self.keys).map(of).collect()
    }
}

fn places_by_key(rule: &Rule) -> bool {
    rule.balancer == Balancer::ConsistentHash && !rule.session_key.is_empty()
}
