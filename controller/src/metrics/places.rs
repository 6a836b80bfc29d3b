//! Where the open sessions are, as the proxies say it. A proxy may ask one replica now and another one soon, so each replica tells of every proxy by
//! itself what it heard last: of a proxy that several know, the most counts.

use std::collections::BTreeMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::channel::view::ProxyView;
use crate::standalone::NODE as ALONE;

/// Series at most, and one more for all the rest.
const MOST: usize = 10_000;
const OTHERS: &str = "others";

/// A label `pod` would be the one of the replica that is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Place {
    clew_proxy: String,
    clew_backend: String,
    clew_pod: String,
}

/// Who has no session left is not named.
pub(super) fn register(proxies: &[ProxyView], registry: &mut Registry) {
    let open = Family::<Place, Gauge>::default();
    for (place, sessions) in places(proxies, MOST) {
        open.get_or_create(&place)
            .set(i64::try_from(sessions).unwrap_or(i64::MAX));
    }
    registry.register(
        "clew_controller_sessions",
        "Sessions that are open, by proxy, backend and pod, as the proxies tell this replica",
        open,
    );
}

fn places(proxies: &[ProxyView], most: usize) -> BTreeMap<Place, u64> {
    let mut places = BTreeMap::new();
    for (called, proxy) in named(proxies) {
        for live in &proxy.live {
            let mut place = Place {
                clew_proxy: called.to_owned(),
                clew_backend: live.backend.clone(),
                clew_pod: live.pod.clone(),
            };
            if places.len() >= most && !places.contains_key(&place) {
                place = Place {
                    clew_proxy: OTHERS.to_owned(),
                    clew_backend: OTHERS.to_owned(),
                    clew_pod: OTHERS.to_owned(),
                };
            }
            *places.entry(place).or_default() += live.sessions;
        }
    }
    places
}

/// Each proxy once by its name: an Envoy that was started again in its pod has an id of its own, and what the one before said counts no more.
fn named(proxies: &[ProxyView]) -> BTreeMap<&str, &ProxyView> {
    let mut named = BTreeMap::<&str, &ProxyView>::new();
    for proxy in proxies {
        // Beside a `clew run` every Envoy is called the same.
        let called = match proxy.node.as_str() {
            ALONE => &proxy.id,
            _ => proxy.called(),
        };
        let newest = named.entry(called).or_insert(proxy);
        if proxy.heard_ms < newest.heard_ms {
            *newest = proxy;
        }
    }
    named
}

#[cfg(test)]
pub(super) mod tests {
    use clew_filter_config::channel::Live;

    use super::places;
    use crate::channel::view::ProxyView;

    pub(in crate::metrics) fn proxy(live: &[(&str, &str, u64)]) -> ProxyView {
        let live = live.iter().map(|(rule, pod, sessions)| Live {
            rule: (*rule).to_owned(),
            backend: "shop/chat:80".to_owned(),
            pod: (*pod).to_owned(),
            sessions: *sessions,
        });
        ProxyView {
            id: "0".to_owned(),
            node: "router~10.0.0.1~edge-0.infra~x".to_owned(),
            installation: String::new(),
            envoy: String::new(),
            istio: String::new(),
            heard_ms: 0,
            acknowledged: true,
            live: live.collect(),
        }
    }

    #[test]
    fn rules_on_one_pod_count_together_and_there_is_an_end_to_names() {
        let proxy = proxy(&[
            ("shop/chat/one", "a", 3),
            ("shop/chat/two", "a", 4),
            ("shop/chat/one", "b", 1),
            ("shop/chat/one", "c", 2),
            ("shop/chat/one", "d", 5),
            ("shop/chat/two", "b", 1),
        ]);
        let named = places(&[proxy], 2);
        let named: Vec<_> = named
            .iter()
            .map(|(place, sessions)| (&*place.clew_proxy, &*place.clew_pod, *sessions))
            .collect();
        assert_eq!(
            named,
            [
                ("edge-0.infra", "a", 7),
                ("edge-0.infra", "b", 2),
                ("others", "others", 7)
            ]
        );
    }

    #[test]
    fn what_an_envoy_said_that_is_no_more_does_not_count_beside_what_its_successor_says() {
        let old = ProxyView {
            heard_ms: 4000,
            ..proxy(&[("shop/chat/one", "a", 9)])
        };
        let new = ProxyView {
            id: "1".to_owned(),
            ..proxy(&[("shop/chat/one", "a", 2)])
        };
        assert_eq!(places(&[old, new], 9).into_values().collect::<Vec<_>>(), [2]);
        let beside = |id: &str| ProxyView {
            id: id.to_owned(),
            node: super::ALONE.to_owned(),
            ..proxy(&[("shop/chat/one", "a", 3)])
        };
        assert_eq!(places(&[beside("1"), beside("2")], 9).len(), 2, "two of clew run");
    }
}
