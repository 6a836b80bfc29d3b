//! What the golden folders do not show: one good policy, and one thing changed.

mod explained;
mod in_part;
mod taken;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixture::endpoint_slice;
use crate::in_force::InForce;
use crate::objects::{HttpRoute, Objects, Sourced};
use crate::refusal::Code;
use crate::render::gateway_api;
use crate::validate::{Target, Validated, validate};

fn typed<T: DeserializeOwned>(value: Value) -> Sourced<T> {
    Sourced {
        object: serde_json::from_value::<T>(value).unwrap().into(),
        source: Default::default(),
    }
}

/// A policy `chat` for an HTTPRoute `chat` of two rules at a Gateway of a class.
fn good(class: &str) -> Objects {
    let rule = |name: &str| json!({"name": name, "backendRefs": [{"name": "chat", "port": 80}]});
    Objects {
        policies: vec![policy("chat", 1, json!([target("chat", None)]))],
        http_routes: vec![typed(json!({
            "metadata": {"name": "chat", "namespace": "shop", "labels": {"tier": "gold"}},
            "spec": {"parentRefs": [{"name": "edge"}], "rules": [rule("a"), rule("b")]},
        }))],
        gateways: vec![typed(json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {"gatewayClassName": class, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        }))],
        gateway_classes: vec![typed(json!({
            "metadata": {"name": "eg"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        }))],
        services: vec![typed(json!({
            "metadata": {"name": "chat", "namespace": "shop"}, "spec": {"ports": [{"port": 80}]},
        }))],
        ..Objects::default()
    }
}

fn target(name: &str, section: Option<&str>) -> Value {
    let mut target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name});
    if let Some(section) = section {
        target["sectionName"] = json!(section);
    }
    target
}

fn policy(name: &str, day: u8, targets: Value) -> Sourced<clew_crds::WebSocketPolicy> {
    typed(json!({
        "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketPolicy",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": format!("2026-01-0{day}T00:00:00Z")},
        "spec": {"targetRefs": targets},
    }))
}

fn codes(validated: &Validated) -> Vec<Code> {
    validated.refusals().map(|refusal| refusal.code).collect()
}

/// Whose each rule is, by the rules' own names.
fn rules(validated: &Validated) -> Vec<String> {
    let mut rules: Vec<_> = validated
        .world
        .rules()
        .map(|rule| rule.name.to_string())
        .collect();
    rules.sort_unstable();
    rules
}

/// One mistake each, in otherwise good objects.
pub(in crate::validate) fn mistakes() -> Vec<(Code, Objects)> {
    let at = |class: &str, spoil: &dyn Fn(&mut Objects)| {
        let mut objects = good(class);
        spoil(&mut objects);
        objects
    };
    let to_two = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [
        {"name": "chat", "port": 80}, {"name": "chat", "port": 81},
    ]}]});
    let same = json!({"parentRefs": [{"name": "edge"}], "rules": [
        {"name": "a", "backendRefs": [{"name": "chat", "port": 80}]},
    ]});
    vec![
        (Code::TargetMissing, at("eg", &|all| all.http_routes.clear())),
        (
            Code::TargetTaken,
            at("eg", &|all| {
                all.policies
                    .push(policy("young", 2, json!([target("chat", None)])));
            }),
        ),
        (
            Code::TargetUnsuited,
            at("eg", &|all| {
                all.http_routes = vec![http_route(
                    "chat",
                    json!({"parentRefs": [{"name": "edge"}], "rules": []}),
                )];
            }),
        ),
        (
            Code::TargetUnsuited,
            at("eg", &|all| {
                all.http_routes = vec![http_route(
                    "chat",
                    json!({"parentRefs": [{"name": "edge"}], "rules": [{
                        "backendRefs": [{"name": "chat", "port": 80}],
                        "sessionPersistence": {"type": "Cookie", "sessionName": "s"},
                    }]}),
                )];
            }),
        ),
        (
            Code::TrafficPolicyTaken,
            at("eg", &|all| {
                all.backend_traffic_policies = vec![typed(json!({
                    "metadata": {"name": "theirs", "namespace": "shop"},
                    "spec": {"targetRefs": [target("chat", None)]},
                }))];
            }),
        ),
        (
            Code::DestinationRuleTaken,
            at("istio", &|all| {
                all.destination_rules = vec![typed(json!({
                    "metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"host": "chat"},
                }))];
            }),
        ),
        (
            Code::RouteNameTaken,
            at("istio", &|all| {
                all.http_routes.push(http_route("other", same.clone()))
            }),
        ),
        (
            Code::BackendsSplit,
            at("eg", &|all| {
                all.http_routes = vec![http_route("chat", to_two.clone())]
            }),
        ),
    ]
}

#[test]
fn each_mistake_is_refused_for_what_it_is() {
    for class in ["eg", "istio"] {
        assert_eq!(codes(&validate(&good(class), Target::Every)), [], "{class}");
    }
    for (code, objects) in mistakes() {
        assert_eq!(codes(&validate(&objects, Target::Every)), [code]);
    }
}

#[test]
fn one_for_a_rule_comes_before_an_older_one_for_all_of_it() {
    let mut objects = good("eg");
    objects
        .policies
        .push(policy("one", 2, json!([target("chat", Some("b"))])));
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), []);
    assert_eq!(rules(&validated), ["shop/chat/chat.a", "shop/one/chat.b"]);
    assert_eq!(gateway_api::render(&validated.world).len(), 2);
}

#[test]
fn of_two_for_the_same_the_older_counts_and_one_that_is_refused_takes_nothing() {
    let mut objects = good("eg");
    objects
        .policies
        .push(policy("young", 2, json!([target("chat", None)])));
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::TargetTaken]);
    assert_eq!(rules(&validated), ["shop/chat/chat.a", "shop/chat/chat.b"]);
    let mut spoiled = (*objects.policies[0].object).clone();
    spoiled.spec.policy.drain.close_reason = "x".repeat(124);
    objects.policies[0].object = spoiled.into();
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::DrainInvalid]);
    assert_eq!(rules(&validated), ["shop/young/chat.a", "shop/young/chat.b"]);
}

#[test]
fn what_a_rule_does_not_say_is_not_taken_from_the_mesh() {
    let mut objects = good("eg");
    let mut said = (*objects.policies[0].object).clone();
    let resilience = json!({"connectRetries": 1, "maxPendingHandshakes": 1, "outlierDetection": {},
        "fault": {"abort": {"percent": 1, "status": 503}}});
    said.spec.policy.resilience = serde_json::from_value(resilience).unwrap();
    said.spec.policy.timeouts.handshake = clew_crds::Duration::from_secs(3);
    objects.policies[0].object = said.into();
    let validated = validate(&objects, Target::Every);
    let fields: Vec<_> = validated.routes[0].parents[0]
        .unsupported
        .iter()
        .map(|one| one.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "spec.timeouts.handshake",
            "spec.resilience.connectRetries",
            "spec.resilience.maxPendingHandshakes",
            "spec.resilience.outlierDetection",
            "spec.resilience.fault",
        ]
    );
    let written = gateway_api::render(&validated.world);
    let plain = gateway_api::render(&validate(&good("eg"), Target::Every).world);
    assert_eq!(written, plain);
}

#[test]
fn somebodys_policy_is_in_the_way_by_name_and_by_label() {
    let by = |spec: Value| {
        let mut objects = good("eg");
        objects.backend_traffic_policies = vec![typed(json!({
            "metadata": {"name": "theirs", "namespace": "shop"}, "spec": spec,
        }))];
        let validated = validate(&objects, Target::Every);
        (codes(&validated), gateway_api::render(&validated.world).len())
    };
    let selector = |value: &str| {
        json!({"targetSelectors": [{"kind": "HTTPRoute", "matchExpressions": [
            {"key": "tier", "operator": "In", "values": [value]},
        ]}]})
    };
    let taken = (vec![Code::TrafficPolicyTaken], 0);
    assert_eq!(by(json!({"targetRefs": [target("chat", None)]})), taken);
    assert_eq!(by(selector("gold")), taken);
    for other in [
        selector("silver"),
        json!({"targetRefs": [target("chat", Some("c"))]}),
        json!({"targetRefs": [target("other", None)]}),
        json!({"targetRefs": [{"kind": "Gateway", "name": "chat"}]}),
    ] {
        assert_eq!(by(other.clone()), (Vec::new(), 1), "{other}");
    }
}

#[test]
fn at_a_gateway_of_a_class_that_is_not_there_yet_it_waits() {
    let mut objects = good("eg");
    objects.gateways.clear();
    objects.unknown_parents = [crate::objects::ParentKind::Gateway].into();
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::ParentKindMissing]);
}

/// The good policy with something else said in it.
fn said(change: impl FnOnce(&mut clew_crds::WebSocketPolicy)) -> Objects {
    let mut objects = good("eg");
    let mut said = (*objects.policies[0].object).clone();
    change(&mut said);
    objects.policies[0].object = said.into();
    let mut slice = endpoint_slice("chat", 0);
    slice["ports"] = json!([{"port": 9000}]);
    objects.endpoint_slices = vec![typed(slice)];
    objects
}

#[test]
fn an_edit_that_is_refused_leaves_the_policy_as_it_was_and_its_origins_checked() {
    let checked = |validated: &Validated| -> Vec<bool> {
        let rules = validated.world.rules();
        rules.map(|rule| rule.origin.allowed.len() == 1).collect()
    };
    let allow = |policy: &mut clew_crds::WebSocketPolicy| {
        let origin = json!({"origin": {"allowed": ["https://shop.example.com"]}});
        policy.spec.policy.security = serde_json::from_value(origin).unwrap();
    };
    let spoil = |policy: &mut clew_crds::WebSocketPolicy| {
        policy.spec.policy.drain.close_reason = "x".repeat(124);
    };
    let mut in_force = InForce::default();
    let before = in_force.validate(&said(allow), Target::Every);
    assert_eq!((codes(&before), checked(&before)), (vec![], vec![true, true]));
    for _ in 0..2 {
        let after = in_force.validate(&said(spoil), Target::Every);
        assert_eq!(codes(&after), [Code::DrainInvalid]);
        assert_eq!(checked(&after), [true, true]);
        assert_eq!(
            gateway_api::render(&after.world),
            gateway_api::render(&before.world)
        );
        let message = &after.refusals().next().unwrap().message;
        assert!(
            message.ends_with("until then the policy stays in force as it was before this edit"),
            "{message}"
        );
    }
    // One that never was good is not in force, and one that is deleted is gone.
    let never = InForce::default().validate(&said(spoil), Target::Every);
    assert!(checked(&never).is_empty());
    let mut none = said(spoil);
    none.policies.clear();
    assert!(checked(&in_force.validate(&none, Target::Every)).is_empty());
    assert!(checked(&in_force.validate(&said(spoil), Target::Every)).is_empty());
}

#[test]
fn a_route_and_a_policy_of_one_name_are_kept_apart() {
    let mut objects = said(|policy| policy.spec.policy.drain.close_reason = "x".repeat(124));
    objects.routes = vec![typed(json!({
        "metadata": {"name": "chat", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "chat", "port": 80}]}]},
    }))];
    let mut in_force = InForce::default();
    let validated = in_force.validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::DrainInvalid]);
    let good: Vec<_> = in_force.policies().collect();
    assert_eq!(good.len(), 0, "the route's good text is none of the policy's");
    assert_eq!(in_force.routes().count(), 1);
}

#[test]
fn keys_of_a_live_policy_move_only_where_that_is_wanted() {
    let by = |name: &str, wanted: bool| {
        said(|policy| {
            let key = json!({"sources": [{"type": "QueryParam", "queryParam": {"name": name}}]});
            policy.spec.policy.session_key = serde_json::from_value(key).unwrap();
            if wanted {
                let annotation = ("clew.dev/allow-remap".to_owned(), "true".to_owned());
                policy.metadata.annotations = Some([annotation].into());
            }
        })
    };
    let mut in_force = InForce::default();
    let mut turn = |objects: &Objects| {
        let validated = in_force.validate(objects, Target::Every);
        let keys = validated
            .world
            .rules()
            .map(|rule| format!("{:?}", rule.session_key));
        (codes(&validated), keys.collect::<Vec<_>>())
    };
    let (none, room) = turn(&by("room", false));
    assert_eq!((none, room.len()), (vec![], 2));
    let (refused, kept) = turn(&by("user", false));
    assert_eq!(refused, [Code::KeysWouldMove]);
    assert_eq!(kept, room);
    let (none, user) = turn(&by("user", true));
    assert_eq!(none, []);
    assert_ne!(user, room);
}

#[test]
fn a_rule_of_the_same_name_that_may_not_lead_there_takes_nothing() {
    let of_theirs = |granted: bool| {
        let mut objects = good("istio");
        objects.http_routes.push(typed(json!({
            "metadata": {"name": "chat", "namespace": "theirs"},
            "spec": {"parentRefs": [{"name": "edge", "namespace": "shop"}], "rules": [
                {"name": "a", "backendRefs": [{"name": "chat", "namespace": "shop", "port": 80}]},
            ]},
        })));
        if granted {
            objects.grants = vec![typed(json!({
                "metadata": {"name": "theirs", "namespace": "shop"},
                "spec": {
                    "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "theirs"}],
                    "to": [{"group": "", "kind": "Service"}],
                },
            }))];
        }
        codes(&validate(&objects, Target::Every))
    };
    assert_eq!(of_theirs(false), []);
    assert_eq!(of_theirs(true), [Code::RouteNameTaken]);
}

#[test]
fn a_claim_that_one_gateway_does_not_verify_is_no_fault_of_the_text() {
    let mut objects = said(|policy| {
        let claim = json!({"sources": [{"type": "JWTClaim", "jwtClaim": {"name": "sub"}}]});
        policy.spec.policy.session_key = serde_json::from_value(claim).unwrap();
    });
    let of = |objects: &Objects| -> BTreeSet<Option<usize>> {
        let validated = validate(objects, Target::Every);
        let refusals = validated.refusals();
        refusals
            .inspect(|refusal| assert_eq!(refusal.code, Code::ClaimUnverified))
            .map(|refusal| refusal.parent)
            .collect()
    };
    assert_eq!(of(&objects), [None].into(), "nobody verifies it");
    objects.gateways.push(typed(json!({
        "metadata": {"name": "meshed", "namespace": "shop"},
        "spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    })));
    let mut route = (*objects.http_routes[0].object).clone();
    route
        .spec
        .parent_refs
        .push(clew_crds::websocket_route::ParentReference::gateway("meshed"));
    objects.http_routes[0].object = route.into();
    assert_eq!(of(&objects), [None].into(), "neither does the other one");
    let every_request = json!({"from": [{"source": {"notRequestPrincipals": ["*"]}}]});
    objects.request_authentications = vec![typed(json!({
        "metadata": {"name": "tokens", "namespace": "shop"},
        "spec": {"jwtRules": [{"issuer": "https://id.example.com", "outputPayloadToHeader": "x-clew-jwt-payload"}]},
    }))];
    objects.authorization_policies = vec![typed(json!({
        "metadata": {"name": "tokens", "namespace": "shop"},
        "spec": {"action": "DENY", "rules": [every_request]},
    }))];
    assert_eq!(of(&objects), [Some(0)].into(), "Istio's Gateway verifies it");
}

#[test]
fn a_match_that_is_not_understood_may_be_any_request() {
    let mut objects = said(|policy| {
        let cookie = json!({"type": "Cookie", "cookie": {"name": "pod"}});
        policy.spec.policy.session_persistence = serde_json::from_value(cookie).unwrap();
    });
    let mut route = (*objects.http_routes[0].object).clone();
    let matches = json!([
        {"path": {"type": "Exact", "value": "/ws/a"}},
        {"path": {"type": "RegularExpression", "value": "/ws/\\pL+"}},
    ]);
    for rule in &mut route.spec.rules {
        rule.matches = serde_json::from_value(matches.clone()).unwrap();
    }
    objects.http_routes[0].object = route.into();
    let validated = validate(&objects, Target::Every);
    let paths: Vec<_> = validated
        .world
        .rules()
        .map(|rule| format!("{:?}", rule.persistence))
        .collect();
    assert_eq!(paths.len(), 2);
    assert!(paths.iter().all(|one| one.contains("\"/\"")), "{paths:?}");
}

fn http_route(name: &str, spec: Value) -> Sourced<HttpRoute> {
    typed(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}))
}

/// Whether each policy is in force at each of its Gateways.
fn in_force(validated: &Validated) -> Vec<bool> {
    let parents = validated.routes.iter().flat_map(|report| &report.parents);
    parents.map(|parent| parent.in_force).collect()
}

/// The Gateway's one listener, as something of it says.
fn listener(spoil: impl FnOnce(&mut Value)) -> Value {
    let mut listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
    spoil(&mut listener);
    listener
}

#[test]
fn a_text_that_is_wrong_is_refused_while_nothing_takes_it_too() {
    let objects = said(|policy| policy.spec.policy.drain.close_reason = "x".repeat(124));
    let spoiled = |spoil: &dyn Fn(&mut Objects)| {
        let mut objects = objects.clone();
        spoil(&mut objects);
        let validated = validate(&objects, Target::Every);
        let text = validated
            .refusals()
            .find(|refusal| refusal.code == Code::DrainInvalid);
        text.map(|refusal| refusal.parent)
    };
    assert_eq!(spoiled(&|_| ()), Some(None));
    assert_eq!(spoiled(&|all| all.http_routes.clear()), Some(None));
    assert_eq!(spoiled(&|all| all.gateways.clear()), Some(None));
}

#[test]
fn a_claim_that_no_gateway_verifies_is_the_texts_fault_wherever_else_the_http_route_is_not_taken() {
    let mut objects = said(|policy| {
        let claim = json!({"sources": [{"type": "JWTClaim", "jwtClaim": {"name": "sub"}}]});
        policy.spec.policy.session_key = serde_json::from_value(claim).unwrap();
    });
    let spec = json!({
        "parentRefs": [{"name": "edge"}, {"name": "closed"}],
        "rules": [{"name": "a", "backendRefs": [{"name": "chat", "port": 80}]}],
    });
    objects.http_routes = vec![http_route("chat", spec)];
    objects.gateways.push(typed(json!({
        "metadata": {"name": "closed", "namespace": "shop"},
        "spec": {"gatewayClassName": "eg", "listeners": [listener(|of| of["protocol"] = json!("TCP"))]},
    })));
    let validated = validate(&objects, Target::Every);
    let claim = validated
        .refusals()
        .find(|refusal| refusal.code == Code::ClaimUnverified);
    assert_eq!(claim.map(|refusal| refusal.parent), Some(None));
}
