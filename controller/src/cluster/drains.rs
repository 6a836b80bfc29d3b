//! Which pods leave, and when: by what the API server says of them, so that every replica, and every life of one, says the
//! same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use clew_core::model::{Backend, BackendId, ObjectName, World};
use clew_core::render::rules;

use super::seen::PodFacts;
use crate::finding::Finding;

/// On a pod whose sessions are to go elsewhere: since when, as RFC 3339 writes it.
pub(crate) const DRAIN: &str = "clew.dev/drain";
/// Beside it: for how long, where its rules are not to say so.
pub(crate) const DRAIN_TIMEOUT: &str = "clew.dev/drain-timeout";

/// What an operator wants of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Milliseconds since the Unix epoch.
    pub(crate) since_ms: u64,
    /// None: as long as its rules say.
    pub(crate) timeout_ms: Option<u64>,
}

impl Order {
    /// What is written on a pod.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub(crate) fn read(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let Some(since) = annotations.get(DRAIN) else {
            return Ok(None);
        };
        let moment = since.parse::<jiff::Timestamp>().ok();
        let since_ms = moment.and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let since_ms = since_ms.ok_or_else(|| {
            format!("annotation {DRAIN}: {since:?} is no moment such as 2026-01-31T12:00:00Z")
        })?;
        let duration = |text: &String| {
            let read = text.parse::<clew_crds::Duration>();
            read.map(clew_crds::Duration::as_millis)
                .map_err(|error| format!("annotation {DRAIN_TIMEOUT}: {error}"))
        };
        let timeout_ms = annotations.get(DRAIN_TIMEOUT).map(duration).transpose()?;
        if timeout_ms == Some(0) {
            return Err(format!("annotation {DRAIN_TIMEOUT}: must be longer than 0s"));
        }
        Ok(Some(Self { since_ms, timeout_ms }))
    }
}

/// The pods that leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Drains {
    current: rules::Drains,
    /// Since when endpoints terminate whose pods nobody knows.
    seen: BTreeMap<(BackendId, SocketAddr), u64>,
    /// Orders that cannot be read, so that nothing comes of them.
    unread: BTreeMap<BackendId, Vec<Finding>>,
}

/// When a pod's sessions leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    since_ms: u64,
    /// None: as long as the shortest rule says.
    timeout_ms: Option<u64>,
}

impl Drains {
    /// By what endpoints and pods say now of these backends, of which the world has all; of the others nothing is new.
    pub(super) fn observe_of(
        &mut self,
        world: &World,
        is_told: impl Fn(&BackendId) -> bool,
        pods: &BTreeMap<ObjectName, Arc<PodFacts>>,
        now_ms: u64,
    ) -> &rules::Drains {
        let before = self.seen.clone();
        self.seen.retain(|(backend, _), _| !is_told(backend));
        self.current.retain(|backend| !is_told(backend));
        self.unread.retain(|backend, _| !is_told(backend));
        for (id, backend) in &world.backends {
            for pod in &backend.pods {
                let name = ObjectName::new(&id.service.namespace, &pod.name);
                let facts = pods.get(&name);
                let mut first_seen = || {
                    let at = (id.clone(), pod.address);
                    let since = before.get(&at).copied().unwrap_or(now_ms);
                    *self.seen.entry(at).or_insert(since)
                };
                let ends = pod.terminating.then(|| Window {
                    since_ms: facts
                        .and_then(|facts| facts.deleted_ms)
                        .unwrap_or_else(&mut first_seen),
                    timeout_ms: None,
                });
                let ordered = match facts.map(|facts| &facts.drain) {
                    Some(Ok(Some(order))) => Some(Window {
                        since_ms: order.since_ms,
                        timeout_ms: order.timeout_ms,
                    }),
                    Some(Err(why)) => {
                        let what = format!("it is not drained: {why}");
                        let found = Finding::error("", 0, "CLEW0940", what).warning();
                        let unread = self.unread.entry(id.clone()).or_default();
                        unread.push(found.of(format!("Pod {name}")));
                        None
                    }
                    Some(Ok(None)) | None => None,
                };
                if let Some(window) = first_to_end(backend, ends, ordered) {
                    self.current.leave(id, pod, window.since_ms, window.timeout_ms);
                }
            }
        }
        &self.current
    }

    /// The orders on pods of routes that cannot be read.
    pub(super) fn unread(&self) -> impl Iterator<Item = &Finding> {
        self.unread.values().flatten()
    }
}

/// Of a pod that is drained and deleted too, whichever ends first: its deletion has a time, and an order after it no new one.
fn first_to_end(backend: &Backend, ends: Option<Window>, ordered: Option<Window>) -> Option<Window> {
    let end = |window: &Window| {
        let timeout = window.timeout_ms.unwrap_or(backend.drain_timeout_ms);
        window.since_ms.saturating_add(timeout)
    };
    ends.into_iter().chain(ordered).min_by_key(end)
}

#[cfg(test)]
mod tests {
    use super::{DRAIN, DRAIN_TIMEOUT, Drains, Order};
    use crate::cluster::seen::PodFacts;
    use clew_core::model::{Backend, BackendId, ObjectName, Pod, World};
    use clew_core::render::rules;
    use clew_filter_config::rule::Draining;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn chat() -> BackendId {
        BackendId {
            service: ObjectName::new("shop", "chat"),
            port: 80,
        }
    }

    fn world(terminating: bool) -> World {
        let pod = Pod {
            name: "chat-0".into(),
            uid: String::new(),
            address: "10.0.0.1:80".parse().unwrap(),
            terminating,
        };
        let backend = Backend {
            pods: vec![pod],
            drain_timeout_ms: 60_000,
        };
        World {
            backends: BTreeMap::from([(chat(), backend)]),
            ..World::default()
        }
    }

    fn facts(
        deleted_ms: Option<u64>,
        drain: Option<(u64, Option<u64>)>,
    ) -> BTreeMap<ObjectName, Arc<PodFacts>> {
        let facts = PodFacts {
            deleted_ms,
            drain: Ok(drain.map(|(since_ms, timeout_ms)| Order { since_ms, timeout_ms })),
            ..PodFacts::default()
        };
        BTreeMap::from([(ObjectName::new("shop", "chat-0"), Arc::new(facts))])
    }

    fn window(world: &World, drains: &rules::Drains) -> Option<(u64, u64)> {
        let pods = rules::backend(&chat(), &world.backends[&chat()], drains).pods;
        pods[0]
            .draining
            .map(|Draining { since_ms, timeout_ms }| (since_ms, timeout_ms))
    }

    #[test]
    fn every_life_says_the_same_of_a_pod() {
        for (deleted, drain, expected) in [
            (None, None, None),
            (None, Some((7, None)), Some((7, 60_000))),
            (None, Some((7, Some(5))), Some((7, 5))),
            (Some(9), None, Some((9, 60_000))),
            // Ordered before it is deleted, and after.
            (Some(9), Some((7, None)), Some((7, 60_000))),
            (Some(9), Some((11, None)), Some((9, 60_000))),
            // A long order ends with the pod, and a short one before it.
            (Some(9), Some((7, Some(600_000))), Some((9, 60_000))),
            (Some(9), Some((11, Some(5))), Some((11, 5))),
        ] {
            let world = world(deleted.is_some());
            let facts = facts(deleted, drain);
            let mut drains = Drains::default();
            for now in [100, 200] {
                assert_eq!(
                    window(&world, drains.observe_of(&world, |_| true, &facts, now)),
                    expected
                );
            }
        }
    }

    #[test]
    fn an_order_that_cannot_be_read_is_found_as_long_as_it_is_there() {
        let bad = PodFacts {
            drain: Err("no moment".to_owned()),
            ..PodFacts::default()
        };
        let bad = BTreeMap::from([(ObjectName::new("shop", "chat-0"), Arc::new(bad))]);
        let (world, mut drains) = (world(false), Drains::default());
        for (pods, expected) in [(&bad, 1), (&bad, 1), (&facts(None, None), 0)] {
            assert_eq!(window(&world, drains.observe_of(&world, |_| true, pods, 1)), None);
            assert_eq!(drains.unread().count(), expected);
            for found in drains.unread() {
                assert!(found.to_string().contains("Pod shop/chat-0"), "{found}");
            }
        }
    }

    #[test]
    fn an_endpoint_of_a_pod_that_nobody_knows_leaves_from_when_it_was_first_seen() {
        let (calm, ending) = (world(false), world(true));
        let (nobody, mut drains) = (BTreeMap::new(), Drains::default());
        for (world, now, expected) in [
            (&calm, 1, None),
            (&ending, 2, Some((2, 60_000))),
            (&ending, 3, Some((2, 60_000))),
            (&calm, 4, None),
            (&ending, 5, Some((5, 60_000))),
        ] {
            assert_eq!(
                window(world, drains.observe_of(world, |_| true, &nobody, now)),
                expected,
                "{now}"
            );
        }
    }

    #[test]
    fn an_annotation_is_read_or_named() {
        let read = |annotations: &[(&str, &str)]| {
            let all = annotations
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Order::read(&all.collect())
        };
        assert_eq!(read(&[(DRAIN_TIMEOUT, "1m")]), Ok(None));
        let moment = (DRAIN, "1970-01-01T00:00:07Z");
        let order = |timeout_ms| {
            Ok(Some(Order {
                since_ms: 7_000,
                timeout_ms,
            }))
        };
        assert_eq!(read(&[moment]), order(None));
        assert_eq!(read(&[(DRAIN, "1970-01-01T01:00:07+01:00")]), order(None));
        assert_eq!(read(&[moment, (DRAIN_TIMEOUT, "1m")]), order(Some(60_000)));
        assert!(read(&[(DRAIN, "true")]).unwrap_err().contains(DRAIN));
        assert!(
            read(&[moment, (DRAIN_TIMEOUT, "60")])
                .unwrap_err()
                .contains(DRAIN_TIMEOUT)
        );
    }
}
