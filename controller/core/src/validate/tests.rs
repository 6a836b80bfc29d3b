pub(super) mod mistakes;

use serde_json::{Value, json};

use super::{Target, Validated, validate};
use crate::fixture::{Manifests, endpoint_slice, good, route};

fn validated(manifests: &Manifests) -> Validated {
    validate(&manifests.objects(), Target::Standalone)
}

#[test]
fn the_good_fixture_has_nothing_wrong() {
    let validated = validated(&good());
    assert_eq!(validated.refusals().count(), 0);
    assert!(validated.routes[0].unsupported().is_empty());
    assert_eq!(validated.world.gateways[0].rules().count(), 1);
}

fn set(kind: &mut [Value], pointer: &str, value: Value) {
    Manifests::set(kind, pointer, value);
}

#[test]
fn a_refused_route_takes_nothing_from_others() {
    let mut manifests = good();
    let mut bad = route("bad", "/bad");
    bad["spec"]["rules"][0]["backendRefs"] = json!([{"name": "gone", "port": 8080}]);
    bad["spec"]["rules"][0]["drain"] = json!({"closeCode": 1006, "timeout": "1s"});
    manifests.routes.push(bad);
    let validated = validated(&manifests);
    assert_eq!(
        validated.routes[0].refusals.len() + validated.routes[1].refusals.len(),
        2
    );
    assert_eq!(validated.world.gateways[0].rules().count(), 1);
    assert_eq!(
        validated.world.backends.values().next().unwrap().drain_timeout_ms,
        60_000
    );
}

#[test]
fn the_older_route_wins_whatever_the_order_of_files() {
    let mut manifests = good();
    let mut newer = route("aaa", "/ws");
    newer["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    manifests.routes[0]["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    manifests.routes.push(newer);
    for _ in 0..2 {
        let validated = validated(&manifests);
        let loser = &validated.routes[0];
        assert_eq!(loser.name.name, "aaa");
        assert!(
            loser.refusals[0].message.contains("shop/chat"),
            "{}",
            loser.refusals[0].message
        );
        assert!(!loser.parents[0].in_force && validated.routes[1].parents[0].in_force);
        manifests.routes.reverse();
    }
}

#[test]
fn an_endpoint_in_two_slices_is_one_pod_and_serves_if_it_does_anywhere() {
    let mut manifests = good();
    let mut copy = endpoint_slice("chat", 1);
    copy["metadata"]["name"] = json!("chat-b");
    for endpoint in copy["endpoints"].as_array_mut().unwrap() {
        endpoint["conditions"] = json!({"terminating": true});
    }
    copy["endpoints"][2]["addresses"] = json!(["10.0.1.4"]);
    manifests.endpoint_slices.push(copy);
    let validated = validated(&manifests);
    let pods: Vec<_> = validated
        .world
        .backends
        .values()
        .next()
        .unwrap()
        .pods
        .iter()
        .map(|pod| (pod.name.as_str(), pod.terminating))
        .collect();
    // The fourth is the pod that had the third's name before.
    assert_eq!(
        pods,
        [
            ("chat-1", false),
            ("chat-2", false),
            ("chat-3", false),
            ("chat-3", true)
        ]
    );
}
