//! A policy for a whole HTTPRoute, and rules that it cannot be for.

use serde_json::{Value, json};

use super::{codes, good, http_route, in_force, rules, target, typed};
use crate::objects::Objects;
use crate::refusal::Code;
use crate::render::gateway_api;
use crate::validate::{Target, validate};

/// An HTTPRoute `chat` at the Gateway with one good rule, and one that splits by weight.
fn with_a_split(class: &str, good_rule: Value) -> Objects {
    let split =
        json!({"name": "split", "backendRefs": [{"name": "chat", "port": 80}, {"name": "chat", "port": 81}]});
    Objects {
        http_routes: vec![http_route(
            "chat",
            json!({"parentRefs": [{"name": "edge"}], "rules": [good_rule, split]}),
        )],
        ..good(class)
    }
}

#[test]
fn a_rule_that_no_policy_can_be_for_takes_it_from_no_other() {
    let named = json!({"name": "a", "backendRefs": [{"name": "chat", "port": 80}]});
    for class in ["eg", "istio"] {
        let validated = validate(&with_a_split(class, named.clone()), Target::Every);
        assert_eq!(codes(&validated), [Code::BackendsSplit], "{class}");
        assert_eq!(rules(&validated), ["shop/chat/chat.a"], "{class}");
        assert_eq!(in_force(&validated), [true], "{class}");
    }
    let validated = validate(&with_a_split("eg", named), Target::Every);
    let objects = gateway_api::render(&validated.world);
    let targets: Vec<_> = objects
        .iter()
        .map(|object| object.spec()["targetRefs"].clone())
        .collect();
    assert_eq!(
        targets,
        [json!([target("chat", Some("a"))])],
        "the split rule is balanced as it was"
    );
}

#[test]
fn what_carries_a_policy_cannot_be_for_one_rule_without_a_name() {
    let unnamed = json!({"backendRefs": [{"name": "chat", "port": 80}]});
    let mut objects = with_a_split("eg", unnamed.clone());
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::BackendsSplit, Code::TargetUnsuited]);
    assert_eq!(rules(&validated), [""; 0]);
    let message = validated.refusals().nth(1).map(|refusal| refusal.message.clone());
    assert!(
        message
            .unwrap()
            .starts_with("rule 0 of HTTPRoute shop/chat has no name")
    );
    // Istio has one for the backend.
    assert_eq!(
        rules(&validate(&with_a_split("istio", unnamed), Target::Every)),
        ["shop/chat/chat.0"]
    );
    // And so has who hashes as Clew would.
    objects.backend_traffic_policies = vec![typed(json!({
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"targetRefs": [target("chat", None)], "loadBalancer": gateway_api::load_balancer()},
    }))];
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::BackendsSplit]);
    assert_eq!(rules(&validated), ["shop/chat/chat.0"]);
    assert!(gateway_api::render(&validated.world).is_empty());
}

#[test]
fn somebodys_policy_for_one_rule_is_in_the_way_of_that_rule_alone() {
    let mut objects = good("eg");
    objects.backend_traffic_policies = vec![typed(json!({
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"targetRefs": [target("chat", Some("b"))]},
    }))];
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::TrafficPolicyTaken]);
    assert_eq!(rules(&validated), ["shop/chat/chat.a"]);
    let objects = gateway_api::render(&validated.world);
    let targets: Vec<_> = objects
        .iter()
        .map(|object| object.spec()["targetRefs"].clone())
        .collect();
    assert_eq!(targets, [json!([target("chat", None)])]);
}
