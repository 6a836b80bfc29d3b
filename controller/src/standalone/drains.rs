//! The pods that are leaving, over the lives of `clew run`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clew_core::model::{BackendId, Pod, World};
use clew_core::render::rules;
use serde::{Deserialize, Serialize};

/// The orders of operators and the drains that endpoints began.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    current: rules::Drains,
    kept: BTreeMap<String, Kept>,
    /// What the next `clew run` would find.
    saved: BTreeMap<String, Kept>,
}

/// What is kept of a drain; by `namespace/name:port ip:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    since_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default)]
    ordered: bool,
}

impl Drains {
    /// What an earlier `clew run` kept.
    pub(super) fn restore(kept: BTreeMap<String, Kept>) -> Self {
        Self {
            current: rules::Drains::default(),
            saved: kept.clone(),
            kept,
        }
    }

    pub(super) fn kept(&self) -> &BTreeMap<String, Kept> {
        &self.kept
    }

    /// Whether the next `clew run` would find something else.
    pub(super) fn are_unsaved(&self) -> bool {
        self.kept != self.saved
    }

    /// What is kept is where the next `clew run` looks.
    pub(super) fn saved(&mut self) {
        self.saved.clone_from(&self.kept);
    }

    pub(super) fn current(&self) -> &rules::Drains {
        &self.current
    }

    /// Notes which endpoints terminate now, and forgets the pods that are gone.
    pub(super) fn observe(&mut self, world: &World, now_ms: u64) {
        let mut kept = BTreeMap::new();
        for (id, pod) in pods(world) {
            let before = self.kept.get(&key(id, pod.address)).copied();
            let now = match before {
                Some(drain) if drain.ordered || pod.terminating => drain,
                _ if pod.terminating => Kept {
                    since_ms: now_ms,
                    timeout_ms: None,
                    ordered: false,
                },
                _ => continue,
            };
            kept.insert(key(id, pod.address), now);
        }
        self.kept = kept;
        let mut current = rules::Drains::default();
        for (id, pod) in pods(world) {
            if let Some(drain) = self.kept.get(&key(id, pod.address)) {
                current.order(id, pod, drain.since_ms, drain.timeout_ms);
            }
        }
        self.current = current;
    }

    /// An operator wants these pods drained. One that leaves already keeps its beginning.
    pub(super) fn order(&mut self, pods: &[(BackendId, SocketAddr)], now_ms: u64, timeout_ms: Option<u64>) {
        for (id, address) in pods {
            let drain = self.kept.entry(key(id, *address)).or_insert(Kept {
                since_ms: now_ms,
                timeout_ms: None,
                ordered: true,
            });
            drain.ordered = true;
            drain.timeout_ms = timeout_ms.or(drain.timeout_ms);
        }
    }

    /// An operator wants them back. A pod whose endpoint terminates leaves all the same.
    pub(super) fn cancel(&mut self, pods: &[(BackendId, SocketAddr)]) {
        for (id, address) in pods {
            if let Some(drain) = self.kept.get_mut(&key(id, *address)) {
                drain.ordered = false;
                drain.timeout_ms = None;
            }
        }
    }
}

/// Every pod of every backend.
pub(super) fn pods(world: &World) -> impl Iterator<Item = (&BackendId, &Pod)> {
    world
        .backends
        .iter()
        .flat_map(|(id, backend)| backend.pods.iter().map(move |pod| (id, pod)))
}

/// The pods that an operator means by `namespace/name`, `name` or `ip:port`.
///
/// # Errors
/// When there is none, or a bare name is used in several namespaces.
pub(super) fn named(world: &World, wanted: &str) -> Result<Vec<(BackendId, SocketAddr)>, String> {
    let is = |id: &BackendId, pod: &Pod| {
        pod.name == wanted
            || pod.address.to_string() == wanted
            || wanted
                .split_once('/')
                .is_some_and(|(namespace, name)| id.service.namespace == namespace && pod.name == name)
    };
    let found: Vec<_> = pods(world).filter(|(id, pod)| is(id, pod)).collect();
    let mut namespaces: Vec<_> = found
        .iter()
        .map(|(id, _)| id.service.namespace.as_str())
        .collect();
    namespaces.dedup();
    match &namespaces[..] {
        [] => {
            let mut known: Vec<_> = pods(world)
                .map(|(id, pod)| format!("{}/{}", id.service.namespace, pod.name))
                .collect();
            known.dedup();
            known.truncate(10);
            Err(match known.is_empty() {
                true => format!("there is no pod {wanted:?}; no route has any"),
                false => format!("there is no pod {wanted:?}; there are {}", known.join(", ")),
            })
        }
        [_] => Ok(found
            .into_iter()
            .map(|(id, pod)| (id.clone(), pod.address))
            .collect()),
        several => Err(format!(
            "{wanted:?} is in several namespaces ({}): say namespace/name",
            several.join(", ")
        )),
    }
}

fn key(id: &BackendId, address: SocketAddr) -> String {
    format!("{id} {address}")
}

#[cfg(test)]
mod tests {
    use super::{Drains, named};
    use clew_core::model::{Backend, BackendId, ObjectName, Pod, World};
    use std::collections::BTreeMap;

    fn world(pods: &[(&str, bool)]) -> World {
        let pod = |(i, (name, terminating)): (usize, &(&str, bool))| Pod {
            name: (*name).into(),
            uid: String::new(),
            address: format!("127.0.0.1:{}", i + 1).parse().unwrap(),
            terminating: *terminating,
        };
        let id = BackendId {
            service: ObjectName::new("shop", "chat"),
            port: 80,
        };
        let backend = Backend {
            pods: pods.iter().enumerate().map(pod).collect(),
            drain_timeout_ms: 9,
        };
        World {
            backends: BTreeMap::from([(id, backend)]),
            ..World::default()
        }
    }

    fn leaving(drains: &Drains, world: &World) -> Vec<String> {
        super::pods(world)
            .filter(|(id, pod)| drains.current().is_leaving(id, pod))
            .map(|(_, pod)| pod.name.clone())
            .collect()
    }

    /// The drains of the `clew run` after one that saved what was to be saved.
    fn after(drains: &mut Drains) -> Drains {
        assert!(drains.are_unsaved(), "something changed");
        drains.saved();
        Drains::restore(serde_json::from_str(&serde_json::to_string(drains.kept()).unwrap()).unwrap())
    }

    #[test]
    fn a_drain_begins_once_and_outlives_a_restart() {
        let (calm, ending) = (
            world(&[("a", false), ("b", false)]),
            world(&[("a", false), ("b", true)]),
        );
        let mut drains = Drains::default();
        drains.observe(&calm, 1);
        assert_eq!(leaving(&drains, &calm), [""; 0]);
        drains.observe(&ending, 2);
        drains.observe(&ending, 3);
        let mut next = after(&mut drains);
        next.observe(&ending, 4);
        assert_eq!(next.kept, drains.kept);
        assert_eq!(
            next.kept.values().map(|kept| kept.since_ms).collect::<Vec<_>>(),
            [2]
        );
        assert_eq!(leaving(&next, &ending), ["b"]);
        next.observe(&calm, 5);
        assert_eq!(leaving(&next, &calm), [""; 0]);
    }

    #[test]
    fn an_order_holds_over_restarts_until_it_is_taken_back() {
        let world = world(&[("a", false), ("b", false)]);
        let mut drains = Drains::default();
        let a = named(&world, "a").unwrap();
        drains.order(&a, 7, None);
        drains.observe(&world, 8);
        assert_eq!(leaving(&drains, &world), ["a"]);
        let mut drains = after(&mut drains);
        drains.observe(&world, 9);
        assert_eq!(leaving(&drains, &world), ["a"]);
        assert!(!drains.are_unsaved(), "nothing changed");
        drains.cancel(&a);
        drains.observe(&world, 10);
        assert_eq!(leaving(&drains, &world), [""; 0]);
        assert!(after(&mut drains).kept.is_empty());
    }

    #[test]
    fn pods_are_found_by_name_and_address_and_the_others_are_named() {
        let world = world(&[("a", false), ("b", false)]);
        for wanted in ["b", "shop/b", "127.0.0.1:2"] {
            assert_eq!(named(&world, wanted).unwrap()[0].1.port(), 2, "{wanted}");
        }
        assert_eq!(
            named(&world, "c").unwrap_err(),
            "there is no pod \"c\"; there are shop/a, shop/b"
        );
    }
}
