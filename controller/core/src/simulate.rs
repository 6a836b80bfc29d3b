//! How keys lie on pods, and what moves when pods come and go: by the filter's own placement.

use std::collections::{BTreeMap, BTreeSet};

use clew_filter_config::rule::{Backend, Pod};
use clew_filter_core::placement::{Pods, Seed};
use serde::Serialize;

use crate::model::{BackendId, World};
use crate::render::rules::{self, Drains};

/// What is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Synthetic keys for each backend.
    pub keys: u32,
    /// Pods that join each backend.
    pub add: u32,
    /// Names or addresses of pods that leave.
    pub remove: Vec<String>,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Simulation {
    /// Every pod, those that join and leave included.
    pub backends: Vec<Load>,
    /// Between before and after.
    pub moved: Moved,
}

/// What lies on one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// The pod's name.
    pub name: String,
    /// `namespace/name:port`.
    pub service: String,
    /// Its keys after the change.
    pub keys: u64,
    /// Its keys before.
    pub before: u64,
}

/// What moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// Keys with another pod than before.
    pub keys: u64,
    /// Keys that had to move: those of pods that leave, and those that pods that join have to take.
    pub minimum: u64,
    /// `keys ÷ minimum`; 1 where nothing moved.
    pub ratio: f64,
    /// Keys that moved from one pod that stays to another.
    pub innocent: u64,
}

/// Places `change.keys` keys on every backend before and after the change. The error names pods that are not there.
pub fn simulate(world: &World, drains: &Drains, seed: &Seed, change: &Change) -> Result<Simulation, String> {
    let backends: Vec<(&BackendId, Backend)> = world
        .backends
        .iter()
        .map(|(id, backend)| (id, rules::backend(id, backend, drains)))
        .collect();
    let pods = || backends.iter().flat_map(|(_, backend)| &backend.pods);
    for name in &change.remove {
        if !pods().any(|pod| is(pod, name)) {
            let known = pods().map(|pod| pod.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(format!("there is no pod {name:?}; there are {known}"));
        }
    }
    let mut simulation = Simulation::default();
    for (id, before) in backends {
        one(id, before, seed, change, &mut simulation);
    }
    let Moved {
        keys,
        minimum,
        innocent,
        ..
    } = simulation.moved;
    simulation.moved = Moved {
        innocent,
        ..Moved::of(keys, minimum)
    };
    Ok(simulation)
}

impl Moved {
    /// So many keys moved, and so many had to.
    pub(crate) fn of(keys: u64, minimum: u64) -> Self {
        let ratio = if keys == minimum {
            1.0
        } else {
            keys as f64 / minimum.max(1) as f64
        };
        Self {
            keys,
            minimum,
            ratio,
            innocent: keys.saturating_sub(minimum),
        }
    }
}

fn is(pod: &Pod, name: &str) -> bool {
    pod.name == name || pod.address == name
}

fn one(id: &BackendId, before: Backend, seed: &Seed, change: &Change, simulation: &mut Simulation) {
    let leaves = |pod: &Pod| change.remove.iter().any(|name| is(pod, name));
    let joins: BTreeSet<String> = (1..=change.add).map(|n| format!("added-{n}")).collect();
    let gone: BTreeSet<String> = before
        .pods
        .iter()
        .filter(|pod| leaves(pod))
        .map(|pod| pod.name.clone())
        .collect();
    let mut after = before.clone();
    after.pods.retain(|pod| !leaves(pod));
    after.pods.extend(joins.iter().map(|name| Pod {
        name: name.clone(),
        uid: String::new(),
        address: name.clone(),
        steer: None,
        draining: None,
    }));
    let names = before.pods.iter().chain(&after.pods).map(|pod| pod.name.clone());
    let mut loads: BTreeMap<String, (u64, u64)> = names.map(|name| (name, (0, 0))).collect();
    let (before, after) = (Pods::new(seed, before), Pods::new(seed, after));
    let name = |pods: &Pods, pod: Option<usize>| Some(pods.get(pod?)?.name.clone());
    for n in 0..change.keys {
        let key = seed.key(format!("key-{n}").as_bytes());
        let (old, new) = (name(&before, before.by_key(key)), name(&after, after.by_key(key)));
        if let Some(load) = old.as_ref().and_then(|old| loads.get_mut(old)) {
            load.0 += 1;
        }
        if let Some(load) = new.as_ref().and_then(|new| loads.get_mut(new)) {
            load.1 += 1;
        }
        let moves = old != new;
        let must = old.is_none_or(|old| gone.contains(&old)) || new.is_none_or(|new| joins.contains(&new));
        simulation.moved.keys += u64::from(moves);
        simulation.moved.minimum += u64::from(must);
        simulation.moved.innocent += u64::from(moves && !must);
    }
    simulation
        .backends
        .extend(loads.into_iter().map(|(name, (before, keys))| Load {
            name,
            service: id.to_string(),
            keys,
            before,
        }));
}

#[cfg(test)]
mod tests {
    use super::{Change, Simulation, simulate};
    use crate::fixture::good;
    use crate::render::rules::Drains;
    use crate::validate::{Target, validate};
    use clew_filter_core::placement::Seed;

    fn simulated(change: &Change) -> Result<Simulation, String> {
        let world = validate(&good().objects(), Target::Standalone).world;
        simulate(&world, &Drains::default(), &Seed::new([7; 16]), change)
    }

    #[test]
    fn nothing_moves_but_what_must() {
        for (add, remove) in [
            (1, vec![]),
            (0, vec!["chat-2".to_owned()]),
            (2, vec!["10.0.1.1:9000".to_owned()]),
        ] {
            let change = Change {
                keys: 10_000,
                add,
                remove,
            };
            let moved = simulated(&change).unwrap().moved;
            assert!(
                (moved.ratio - 1.0).abs() < f64::EPSILON && moved.innocent == 0,
                "{change:?} {moved:?}"
            );
            assert!(moved.keys > 2_000, "{change:?} {moved:?}");
        }
    }

    #[test]
    fn every_key_lies_somewhere() {
        let simulation = simulated(&Change {
            keys: 3_000,
            add: 1,
            remove: vec!["chat-1".to_owned()],
        })
        .unwrap();
        assert_eq!(
            simulation.backends.iter().map(|load| load.keys).sum::<u64>(),
            3_000
        );
        assert_eq!(
            simulation.backends.iter().map(|load| load.before).sum::<u64>(),
            3_000
        );
        let gone = simulation
            .backends
            .iter()
            .find(|load| load.name == "chat-1")
            .unwrap();
        assert!(gone.keys == 0 && gone.before > 800, "{gone:?}");
    }

    #[test]
    fn a_pod_that_is_not_there_cannot_leave() {
        let change = Change {
            keys: 1,
            add: 0,
            remove: vec!["chat-9".to_owned()],
        };
        assert!(simulated(&change).unwrap_err().contains("chat-1, chat-2, chat-3"));
    }
}
