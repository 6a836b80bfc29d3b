//! Who is connected: by route, by rule, and by backend with how evenly its pods are filled.

use std::collections::{BTreeMap, BTreeSet};

use clew_filter_config::channel::Live;
use clew_filter_config::rule::{Backend, Draining};
use serde::Serialize;

/// `/v1/sessions`.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    total: u64,
    routes: Vec<Route>,
    /// Each rule with each backend that it has sessions on.
    rules: Vec<Rule>,
    backends: Vec<Filled>,
}

#[derive(Debug, Serialize)]
struct Route {
    /// `namespace/name`.
    route: String,
    sessions: u64,
}

#[derive(Debug, Serialize)]
struct Rule {
    /// `namespace/route/rule`.
    rule: String,
    #[serde(flatten)]
    on: Filled,
}

/// A backend, and what its pods hold.
#[derive(Debug, Serialize)]
struct Filled {
    backend: String,
    sessions: u64,
    /// The fullest pod over the mean of those that take new sessions; 1 is even.
    imbalance: f64,
    pods: Vec<Pod>,
}

#[derive(Debug, Serialize)]
struct Pod {
    pod: String,
    address: String,
    sessions: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<Draining>,
}

/// Sessions by pod.
type ByPod = BTreeMap<String, u64>;

impl Sessions {
    /// Of what the proxies say, and of the backends as they are in force.
    pub(crate) fn new(live: &[Live], known: &BTreeMap<String, Backend>) -> Self {
        let mut routes = BTreeMap::<&str, u64>::new();
        let mut rules = BTreeMap::<(&str, &str), ByPod>::new();
        let mut backends = BTreeMap::<&str, ByPod>::new();
        for one in live {
            let route = one.rule.rsplit_once('/').map_or(&*one.rule, |(route, _)| route);
            *routes.entry(route).or_default() += one.sessions;
            for pods in [
                rules.entry((&one.rule, &one.backend)).or_default(),
                backends.entry(&one.backend).or_default(),
            ] {
                *pods.entry(one.pod.clone()).or_default() += one.sessions;
            }
        }
        let named: BTreeSet<&str> = backends
            .keys()
            .copied()
            .chain(known.keys().map(String::as_str))
            .collect();
        let mut of_backend = |name: &str| {
            let pods = backends.remove(name).unwrap_or_default();
            Filled::new(name, known.get(name), pods)
        };
        Self {
            total: live.iter().map(|one| one.sessions).sum(),
            routes: routes
                .into_iter()
                .map(|(route, sessions)| Route {
                    route: route.to_owned(),
                    sessions,
                })
                .collect(),
            backends: named.into_iter().map(&mut of_backend).collect(),
            rules: rules
                .into_iter()
                .map(|((rule, backend), pods)| Rule {
                    rule: rule.to_owned(),
                    on: Filled::new(backend, known.get(backend), pods),
                })
                .collect(),
        }
    }
}

impl Filled {
    fn new(backend: &str, known: Option<&Backend>, mut sessions: ByPod) -> Self {
        let total = sessions.values().sum();
        let mut pods: Vec<_> = known
            .into_iter()
            .flat_map(|backend| &backend.pods)
            .map(|pod| Pod {
                pod: pod.name.clone(),
                address: pod.address.clone(),
                sessions: sessions.remove(&pod.name).unwrap_or(0),
                draining: pod.draining,
            })
            .collect();
        let imbalance = imbalance(&pods);
        // Sessions on pods that are no endpoints any more.
        let gone = sessions.into_iter().map(|(pod, sessions)| Pod {
            pod,
            address: String::new(),
            sessions,
            draining: None,
        });
        pods.extend(gone);
        Self {
            backend: backend.to_owned(),
            sessions: total,
            imbalance,
            pods,
        }
    }
}

fn imbalance(pods: &[Pod]) -> f64 {
    let staying = || {
        pods.iter()
            .filter(|pod| pod.draining.is_none())
            .map(|pod| pod.sessions)
    };
    let (sum, most) = (staying().sum::<u64>(), staying().max().unwrap_or(0));
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    if sum == 0 {
        1.0
    } else {
        most as f64 * staying().count() as f64 / sum as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{Filled, Sessions};
    use clew_filter_config::channel::Live;
    use clew_filter_config::rule::{Backend, Draining, Pod};
    use std::collections::BTreeMap;

    fn pod(name: &str, draining: bool) -> Pod {
        Pod {
            name: name.into(),
            uid: String::new(),
            address: format!("{name}:1"),
            steer: None,
            draining: draining.then_some(Draining {
                since_ms: 1,
                timeout_ms: 2,
            }),
        }
    }

    fn live(rule: &str, backend: &str, pod: &str, sessions: u64) -> Live {
        Live {
            rule: rule.into(),
            backend: backend.into(),
            pod: pod.into(),
            sessions,
        }
    }

    fn on_pods(filled: &Filled) -> Vec<(&str, u64)> {
        filled.pods.iter().map(|pod| (&*pod.pod, pod.sessions)).collect()
    }

    #[test]
    fn imbalance_is_of_the_pods_that_stay_empty_ones_included() {
        let backend = Backend {
            pods: vec![pod("a", false), pod("b", false), pod("c", true)],
        };
        let sessions = BTreeMap::from([("a".into(), 6), ("c".into(), 9), ("gone".into(), 1)]);
        let filled = Filled::new("s", Some(&backend), sessions);
        assert_eq!((filled.sessions, filled.imbalance), (16, 2.0));
        assert_eq!(on_pods(&filled), [("a", 6), ("b", 0), ("c", 9), ("gone", 1)]);
    }

    #[test]
    fn nobody_connected_is_even() {
        let filled = Filled::new("s", None, BTreeMap::new());
        assert_eq!((filled.sessions, filled.imbalance), (0, 1.0));
    }

    #[test]
    fn a_backend_counts_what_all_its_rules_put_on_it() {
        let known = BTreeMap::from([
            (
                "s/x:1".to_owned(),
                Backend {
                    pods: vec![pod("a", false), pod("b", false)],
                },
            ),
            (
                "s/y:1".to_owned(),
                Backend {
                    pods: vec![pod("d", false)],
                },
            ),
        ]);
        let sessions = Sessions::new(
            &[
                live("s/chat/one", "s/x:1", "a", 4),
                live("s/chat/two", "s/x:1", "b", 4),
                live("s/game/one", "s/x:1", "a", 2),
            ],
            &known,
        );
        assert_eq!(sessions.total, 10);
        let routes: Vec<_> = sessions
            .routes
            .iter()
            .map(|it| (&*it.route, it.sessions))
            .collect();
        assert_eq!(routes, [("s/chat", 8), ("s/game", 2)]);
        // Each rule alone is as uneven as can be, and the backend is not.
        let rules: Vec<_> = sessions
            .rules
            .iter()
            .map(|it| (&*it.rule, it.on.imbalance))
            .collect();
        assert_eq!(
            rules,
            [("s/chat/one", 2.0), ("s/chat/two", 2.0), ("s/game/one", 2.0)]
        );
        let [x, y] = &sessions.backends[..] else {
            panic!("{sessions:?}")
        };
        assert_eq!((&*x.backend, x.sessions, x.imbalance), ("s/x:1", 10, 1.2));
        assert_eq!(on_pods(x), [("a", 6), ("b", 4)]);
        assert_eq!((&*y.backend, y.sessions, y.imbalance), ("s/y:1", 0, 1.0));
    }
}
