use clew_filter_config::rule::{Draining, KeySource};
use serde_json::json;

use super::{Drains, Rules, render};
use crate::decoder::{TABLE_SIZE, Table};
use crate::fixture::{Manifests, good};
use crate::model::{BackendId, ObjectName, World};
use crate::validate::{Target, validate};

fn world(manifests: &Manifests) -> World {
    validate(&manifests.objects(), Target::Standalone).world
}

fn rules(world: &World, drains: &Drains) -> Rules {
    render(world, world.gateways[0].rules(), drains)
}

fn chat() -> BackendId {
    BackendId {
        service: ObjectName::new("shop", "chat"),
        port: 8080,
    }
}

/// Who drains, by the pods' order.
fn draining(world: &World, drains: &Drains) -> Vec<Option<Draining>> {
    rules(world, drains).backends["shop/chat:8080"]
        .pods
        .iter()
        .map(|pod| pod.draining)
        .collect()
}

#[test]
fn a_rule_keeps_its_name_until_the_filter_must_know_something_else() {
    let config = |pointer: &str, value| {
        let mut manifests = good();
        Manifests::set(&mut manifests.routes, pointer, value);
        rules(&world(&manifests), &Drains::default())
            .rules
            .into_values()
            .next()
            .unwrap()
            .config
    };
    let before = config("/metadata/generation", json!(7));
    assert_eq!(
        config("/spec/rules/0/timeouts", json!({"handshake": "1s"})),
        before
    );
    assert_eq!(
        config("/spec/rules/0/matches/0/path/value", json!("/other")),
        before
    );
    assert_ne!(config("/spec/rules/0/drain", json!({"timeout": "1s"})), before);
    assert_ne!(config("/spec/rules/0/timeouts", json!({"idle": "1s"})), before);
    assert_ne!(
        config("/spec/rules/0/limits", json!({"maxMessageSize": "1Mi"})),
        before
    );
    assert_ne!(config("/spec/rules/0/backendRefs/0/weight", json!(2)), before);
}

#[test]
fn a_terminating_endpoint_leaves_from_when_it_was_first_seen() {
    let mut manifests = good();
    let mut drains = Drains::default();
    drains.observe(&world(&manifests), 1);
    manifests.endpoint_slices[0]["endpoints"][1]["conditions"] = json!({"ready": false, "terminating": true});
    let leaving = world(&manifests);
    drains.observe(&leaving, 2);
    drains.observe(&leaving, 3);
    let window = Draining {
        since_ms: 2,
        timeout_ms: 60_000,
    };
    assert_eq!(draining(&leaving, &drains), [None, Some(window), None]);
    // It serves again: a rolled back node, or a name used anew.
    drains.observe(&world(&good()), 4);
    assert_eq!(draining(&world(&good()), &drains), [None, None, None]);
}

#[test]
fn an_order_holds_until_it_is_taken_back() {
    let world = world(&good());
    let pod = world.backends[&chat()].pods[2].clone();
    let mut drains = Drains::default();
    drains.order(&chat(), &pod, 5, Some(1000));
    drains.observe(&world, 6);
    assert_eq!(
        draining(&world, &drains),
        [
            None,
            None,
            Some(Draining {
                since_ms: 5,
                timeout_ms: 1000
            })
        ]
    );
    drains.order(&chat(), &pod, 7, None);
    assert_eq!(
        draining(&world, &drains)[2],
        Some(Draining {
            since_ms: 5,
            timeout_ms: 1000
        })
    );
    drains.cancel(&chat(), &pod);
    drains.observe(&world, 8);
    assert_eq!(draining(&world, &drains), [None, None, None]);
}

/// A world with more pods than every one of them could be reached by its own address in.
fn large() -> World {
    let mut manifests = good();
    let endpoints: Vec<_> = (0..600)
        .map(|n| json!({"addresses": [format!("10.9.{}.{}", n / 200, n % 200 + 1)]}))
        .collect();
    Manifests::set(&mut manifests.endpoint_slices, "/endpoints", json!(endpoints));
    world(&manifests)
}

#[test]
fn a_pod_that_leaves_unknown_to_the_mesh_stays_one_of_its_hosts() {
    let world = large();
    let mut drains = Drains::default();
    for pod in world.backends[&chat()].pods.iter().step_by(2) {
        drains.leave(&chat(), pod, 5, Some(1000));
    }
    let staying = |drains: &Drains| {
        let backends = rules(&world, drains).backends;
        let pods = backends["shop/chat:8080"].pods.iter();
        pods.skip(1)
            .step_by(2)
            .map(|pod| (pod.address.clone(), pod.steer.clone(), pod.draining))
            .collect::<Vec<_>>()
    };
    assert_eq!(staying(&drains), staying(&Drains::default()));
    assert_eq!(
        draining(&world, &drains)[0],
        Some(Draining {
            since_ms: 5,
            timeout_ms: 1000
        })
    );
}

#[test]
fn every_pod_has_a_header_value_that_reaches_it() {
    let pods = rules(&large(), &Drains::default())
        .backends
        .remove("shop/chat:8080")
        .unwrap()
        .pods;
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address.clone()).collect();
    let table = Table::new(&addresses, TABLE_SIZE);
    for pod in &pods {
        assert_eq!(
            table.host_of(pod.steer.as_ref().unwrap_or(&pod.address)),
            Some(pod.address.as_str())
        );
    }
}

#[test]
fn what_the_proxies_in_front_wrote_is_one_further_where_the_peer_is_entered_too() {
    let hops = |hops: u32, is_mesh: bool| {
        let mut manifests = good();
        let source = json!([{"type": "SourceIP", "sourceIP": {"trustedHops": hops}}]);
        manifests.routes[0]["spec"]["rules"][0]["sessionKey"] = json!({"sources": source});
        let world = world(&manifests);
        let plain = render(&world, world.rules_here(), &Drains::default());
        let rules = if is_mesh { plain.behind_the_peer() } else { plain };
        rules.rules.into_values().next().unwrap().session_key
    };
    for (written, alone, mesh) in [(0, 0, 0), (1, 1, 2), (3, 3, 4)] {
        for (is_mesh, trusted_hops) in [(false, alone), (true, mesh)] {
            let expected = [KeySource::SourceIp { trusted_hops }];
            assert_eq!(hops(written, is_mesh), expected, "{written}, {is_mesh}");
        }
    }
}
