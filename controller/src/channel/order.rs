//! Make before break: what may be said at each step of a change. A pod that leaves leaves here first and Envoy after;
//! one that comes comes to Envoy first. A rule comes here before its routes and leaves after them. A pod that changes its
//! address has the new one here first: until Envoy knows it too, whoever is bound to it is refused, and goes to nobody else.
//!
//! A rule for somebody else's HTTPRoute is there only while what takes its choices to their pods is: it comes here last and leaves first. Without
//! it the HTTPRoute's requests go wherever they did, and with it alone whoever is bound to a pod would be refused.

use clew_filter_config::http_route;
use clew_filter_config::rule::{Backend, Pod, Rule};

use super::Snapshot;
use super::ring::introduce;

/// Before Envoy hears anything: the old, without the pods that the new no longer has, and with the drains of the new.
/// A backend that would have no pod left keeps what it had: a pod that may be gone is better than none.
pub(crate) fn departures(old: &Snapshot, new: &Snapshot) -> Snapshot {
    let mut before = old.clone();
    before
        .rules
        .retain(|id, _| !http_route::is_key(id) || new.rules.contains_key(id));
    for (id, backend) in &mut before.backends {
        let Some(after) = new.backends.get(id) else {
            continue;
        };
        let find = |pod: &Pod| after.pods.iter().find(|after| is_same(after, pod)).cloned();
        let staying: Vec<_> = backend.pods.iter().filter_map(find).collect();
        let any_serves = staying.iter().any(|pod| pod.draining.is_none());
        let none_comes = after
            .pods
            .iter()
            .all(|pod| pod.draining.is_some() || staying.contains(pod));
        if any_serves || none_comes {
            *backend = Backend { pods: staying };
        }
    }
    before.draining = new.draining;
    before
}

/// Once Envoy knows the new pods, and before it hears of the new routes: the new, and what only the old has. Of rules for somebody else's
/// HTTPRoutes those alone that are carried already.
pub(crate) fn arrivals(old: &Snapshot, new: &Snapshot, is_carried: impl Fn(&str) -> bool) -> Snapshot {
    let mut both = old.clone();
    let comes_now =
        |(id, _): &(&String, &Rule)| !http_route::is_key(id) || old.rules.contains_key(*id) || is_carried(id);
    let now = new.rules.iter().filter(comes_now);
    both.rules
        .extend(now.map(|(id, rule)| (id.clone(), rule.clone())));
    both.backends.extend(new.backends.clone());
    both.signing_keys = introduce(&old.signing_keys, &new.signing_keys);
    both.draining = new.draining;
    both
}

/// Wherever it is.
fn is_same(a: &Pod, b: &Pod) -> bool {
    a.name == b.name && a.uid == b.uid
}

#[cfg(test)]
mod tests {
    use super::{arrivals, departures};
    use crate::channel::Snapshot;
    use clew_filter_config::rule::{Backend, DrainPolicy, Draining, Pod, Rule};

    fn snapshot(backends: &[(&str, &[&str])]) -> Snapshot {
        let pod = |name: &&str| Pod {
            name: (*name).trim_end_matches('!').into(),
            uid: String::new(),
            address: "127.0.0.1:1".into(),
            steer: None,
            draining: name.ends_with('!').then_some(Draining {
                since_ms: 1,
                timeout_ms: 2,
            }),
        };
        let backend = |pods: &[&str]| Backend {
            pods: pods.iter().map(pod).collect(),
        };
        Snapshot {
            backends: backends
                .iter()
                .map(|(id, pods)| ((*id).to_owned(), backend(pods)))
                .collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn pods_that_leave_or_drain_go_at_once_and_pods_that_come_wait() {
        let old = snapshot(&[("s", &["a", "b", "c"])]);
        let new = snapshot(&[("s", &["a", "b!", "d"])]);
        assert_eq!(departures(&old, &new), snapshot(&[("s", &["a", "b!"])]));
    }

    #[test]
    fn a_pod_that_changes_its_address_is_never_missing_and_its_old_address_is_nobodys() {
        let (old, mut new) = (
            snapshot(&[("s", &["a", "b"])]),
            snapshot(&[("s", &["a", "b", "c"])]),
        );
        let pods = &mut new.backends.get_mut("s").unwrap().pods;
        pods[0].address = "127.0.0.2:1".into();
        let (moved, stays) = (pods[0].clone(), pods[1].clone());
        assert_eq!(departures(&old, &new).backends["s"].pods, [moved, stays]);
    }

    #[test]
    fn a_backend_whose_pods_are_all_replaced_keeps_the_old_until_the_new_are_known() {
        let old = snapshot(&[("s", &["a"])]);
        assert_eq!(departures(&old, &snapshot(&[("s", &["b"])])), old);
        assert_eq!(departures(&old, &snapshot(&[("s", &["a!", "b"])])), old);
    }

    #[test]
    fn the_last_pod_may_leave() {
        let old = snapshot(&[("s", &["a"])]);
        assert_eq!(
            departures(&old, &snapshot(&[("s", &["a!"])])),
            snapshot(&[("s", &["a!"])])
        );
        assert_eq!(
            departures(&old, &snapshot(&[("s", &[])])),
            snapshot(&[("s", &[])])
        );
    }

    #[test]
    fn a_rule_for_somebody_elses_route_comes_last_and_leaves_first() {
        let rule = |config: &str| -> Rule {
            let drain = DrainPolicy {
                timeout_ms: 1,
                close_code: 1012,
                close_reason: String::new(),
            };
            serde_json::from_value(
                serde_json::json!({"config": config, "name": "s/r/d", "backends": [], "drain": drain}),
            )
            .unwrap()
        };
        let of = |rules: &[(&str, &str)]| Snapshot {
            rules: rules
                .iter()
                .map(|(id, config)| ((*id).to_owned(), rule(config)))
                .collect(),
            ..Snapshot::default()
        };
        let (ours, theirs, other) = ("0123456789", "httproute/s/r/d", "istio/d/outbound|80||a");
        let (old, new) = (
            of(&[(ours, "a"), (other, "a")]),
            of(&[(theirs, "a"), (other, "b")]),
        );
        assert_eq!(departures(&old, &new), of(&[(ours, "a"), (other, "a")]));
        assert_eq!(arrivals(&old, &new, |_| false), of(&[(ours, "a"), (other, "b")]));
        assert_eq!(departures(&new, &old), of(&[(other, "b")]));
    }

    #[test]
    fn what_leaves_stays_until_the_routes_are_gone() {
        let (old, new) = (
            snapshot(&[("s", &["a"]), ("t", &["x"])]),
            snapshot(&[("s", &["b"]), ("u", &["y"])]),
        );
        assert_eq!(
            arrivals(&old, &new, |_| false),
            snapshot(&[("s", &["b"]), ("t", &["x"]), ("u", &["y"])])
        );
        assert_eq!(departures(&old, &new).backends["t"], old.backends["t"]);
    }
}
