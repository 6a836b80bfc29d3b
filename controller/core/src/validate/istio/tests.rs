use serde_json::{Value, json};

use crate::fixture::{Manifests, on_istio, route};
use crate::model::ObjectName;
use crate::objects::{Bystander, ParentKind, Reach, RootNamespace, Scope};
use crate::refusal::Code;
use crate::validate::tests::mistakes::Mistake;
use crate::validate::{Concern, Target, Validated, validate};

fn validated(manifests: &Manifests) -> Validated {
    validate(&manifests.objects(), Target::Every)
}

/// The second parent of the good route is the Istio Gateway, the third the Service.
pub(in crate::validate) const MISTAKES: &[Mistake] = &[
    Mistake {
        code: Code::ParentNotFound,
        field: "spec.parentRefs[1].name",
        change: |m| m.istio_gateways.clear(),
    },
    Mistake {
        code: Code::ParentKindMissing,
        field: "spec.parentRefs[1].kind",
        change: |m| {
            m.istio_gateways.clear();
            m.unknown_parents.push(ParentKind::IstioGateway);
        },
    },
    Mistake {
        code: Code::SectionNotFound,
        field: "spec.parentRefs[1].port",
        change: |m| m.routes[0]["spec"]["parentRefs"][1]["port"] = json!(8443),
    },
    Mistake {
        code: Code::ServerUnsuited,
        field: "spec.parentRefs[1].port",
        change: |m| m.istio_gateways[0]["spec"]["servers"][0]["port"]["protocol"] = json!("TCP"),
    },
    Mistake {
        code: Code::NamespaceNotAllowed,
        field: "spec.parentRefs[1].namespace",
        change: |m| m.istio_gateways[0]["spec"]["servers"][0]["hosts"] = json!(["./*"]),
    },
    Mistake {
        code: Code::NoMatchingHostname,
        field: "spec.parentRefs[1]",
        change: |m| m.istio_gateways[0]["spec"]["servers"][0]["hosts"] = json!(["*.example.org"]),
    },
    Mistake {
        code: Code::KindNotAllowed,
        field: "spec.parentRefs[0]",
        change: |m| {
            m.gateways[0]["spec"]["listeners"][0]["allowedRoutes"] =
                json!({"kinds": [{"kind": "GRPCRoute"}]});
        },
    },
    Mistake {
        code: Code::ServerUnsuited,
        field: "spec.parentRefs[2].port",
        change: |m| m.services[0]["spec"]["ports"][0]["appProtocol"] = json!("tcp"),
    },
    Mistake {
        code: Code::BackendUnsupported,
        field: "spec.rules[0].backendRefs",
        change: |m| m.services[0]["spec"]["selector"] = json!({}),
    },
    Mistake {
        code: Code::MatchUnsupported,
        field: "spec.rules[0].matches[0].headers",
        change: |m| {
            m.routes[0]["spec"]["rules"][0]["matches"] =
                json!([{"headers": [{"name": "Host", "value": "a"}]}]);
        },
    },
    Mistake {
        code: Code::MatchUnsupported,
        field: "spec.rules[0].matches[0].headers",
        change: |m| {
            let long: Vec<_> = (0..16).map(|n| format!("{n}{}", "a".repeat(100))).collect();
            m.routes[0]["spec"]["rules"][0]["matches"] = json!([{"subprotocols": long}]);
        },
    },
    Mistake {
        code: Code::MatchShadowed,
        field: "spec.rules[0].matches[0]",
        change: |m| {
            m.virtual_services.push(json!({
                "metadata": {"name": "web", "namespace": "infra", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {
                    "hosts": ["chat.example.com"],
                    "gateways": ["edge"],
                    "http": [{"match": [{"uri": {"prefix": "/w"}}]}],
                },
            }));
        },
    },
    Mistake {
        code: Code::MeshHostTaken,
        field: "spec.parentRefs[2]",
        change: |m| {
            let metadata = json!({"name": "chat", "namespace": "shop"});
            m.virtual_services
                .push(json!({"metadata": metadata, "spec": {"hosts": ["chat"]}}));
        },
    },
    Mistake {
        code: Code::RuleHidden,
        field: "spec.rules[0].backendRefs",
        change: |m| {
            let metadata = json!({"name": "all", "namespace": "infra"});
            m.destination_rules
                .push(json!({"metadata": metadata, "spec": {"host": "*.local"}}));
        },
    },
];

const WITH_TOKEN: &str = "/spec/rules/0/sessionKey/sources/0";

/// The good route at the Istio Gateway alone, by the claim of a token that must be verified, and what verifies it.
fn with_tokens() -> Manifests {
    let mut manifests = on_istio();
    let gateway = manifests.routes[0]["spec"]["parentRefs"][1].clone();
    manifests.routes[0]["spec"]["parentRefs"] = json!([gateway]);
    let claim = json!({"type": "JWTClaim", "jwtClaim": {"name": "sub", "verification": "Required"}});
    Manifests::set(&mut manifests.routes, WITH_TOKEN, claim);
    manifests.request_authentications = vec![json!({
        "metadata": {"name": "issuer", "namespace": "infra"},
        "spec": {"jwtRules": [{"issuer": "i", "outputPayloadToHeader": "X-Clew-JWT-Payload"}]},
    })];
    manifests.authorization_policies = vec![json!({
        "metadata": {"name": "tokens", "namespace": "infra"},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}]},
    })];
    manifests
}

fn is_verified(manifests: &Manifests) -> bool {
    let validated = validated(manifests);
    let codes: Vec<_> = validated.refusals().map(|refusal| refusal.code).collect();
    assert!(codes.is_empty() || codes == [Code::ClaimUnverified], "{codes:?}");
    assert_eq!(validated.routes[0].parents[0].in_force, codes.is_empty());
    codes.is_empty()
}

/// A change, what it makes of the good manifests, and whether tokens are still verified.
type Case = (&'static str, fn(&mut Manifests), bool);

#[test]
fn a_claim_that_must_be_verified_needs_both_policies_for_every_pod_of_the_gateway() {
    let cases: &[Case] = &[
        ("nothing", |_| {}, true),
        ("no authentication", |m| m.request_authentications.clear(), false),
        ("no authorization", |m| m.authorization_policies.clear(), false),
        (
            "the payload goes nowhere",
            |m| {
                m.request_authentications[0]["spec"]["jwtRules"][0]["outputPayloadToHeader"] =
                    json!("x-other")
            },
            false,
        ),
        (
            "the token is elsewhere",
            |m| {
                m.request_authentications[0]["spec"]["jwtRules"][0]["fromHeaders"] =
                    json!([{"name": "x-token"}])
            },
            false,
        ),
        (
            "the token is there too",
            |m| {
                m.request_authentications[0]["spec"]["jwtRules"][0]["fromHeaders"] =
                    json!([{"name": "Authorization"}])
            },
            true,
        ),
        (
            "of another namespace",
            |m| m.request_authentications[0]["metadata"]["namespace"] = json!("shop"),
            false,
        ),
        (
            "of the root namespace",
            |m| m.request_authentications[0]["metadata"]["namespace"] = json!("istio-system"),
            true,
        ),
        (
            "of a root namespace of another name",
            |m| {
                m.root_namespace = RootNamespace::new("mesh-root");
                m.request_authentications[0]["metadata"]["namespace"] = json!("mesh-root");
            },
            true,
        ),
        (
            "of what is no root namespace",
            |m| {
                m.root_namespace = RootNamespace::new("mesh-root");
                m.request_authentications[0]["metadata"]["namespace"] = json!("istio-system");
            },
            false,
        ),
        (
            "for other pods",
            |m| m.authorization_policies[0]["spec"]["selector"] = json!({"matchLabels": {"app": "web"}}),
            false,
        ),
        (
            "for these pods",
            |m| {
                m.authorization_policies[0]["spec"]["selector"] =
                    json!({"matchLabels": {"istio": "ingressgateway"}})
            },
            true,
        ),
        (
            "for a Gateway of Gateway API",
            |m| {
                let target = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"});
                m.authorization_policies[0]["spec"]["targetRefs"] = json!([target]);
            },
            false,
        ),
        (
            "the pods are elsewhere",
            |m| {
                let pod = ObjectName::new("istio-system", "gw");
                m.gateway_pods = vec![(pod, json!({"istio": "ingressgateway"}))];
            },
            false,
        ),
        (
            "by a label that only the pods have",
            |m| {
                let pod = ObjectName::new("infra", "gw");
                m.gateway_pods = vec![(pod, json!({"istio": "ingressgateway", "app": "edge"}))];
                m.authorization_policies[0]["spec"]["selector"] = json!({"matchLabels": {"app": "edge"}});
            },
            true,
        ),
        (
            "not all pods have it",
            |m| {
                let pod = |name| ObjectName::new("infra", name);
                m.gateway_pods = vec![
                    (pod("a"), json!({"istio": "ingressgateway", "app": "edge"})),
                    (pod("b"), json!({"istio": "ingressgateway"})),
                ];
                m.authorization_policies[0]["spec"]["selector"] = json!({"matchLabels": {"app": "edge"}});
            },
            false,
        ),
        (
            "where the handshakes are",
            |m| {
                m.authorization_policies[0]["spec"]["rules"][0]["to"] =
                    json!([{"operation": {"paths": ["/ws*"], "hosts": ["*.example.com"]}}])
            },
            true,
        ),
        (
            "where they are not",
            |m| {
                m.authorization_policies[0]["spec"]["rules"][0]["to"] =
                    json!([{"operation": {"paths": ["/api*"]}}])
            },
            false,
        ),
        (
            "on ports",
            |m| {
                m.authorization_policies[0]["spec"]["rules"][0]["to"] =
                    json!([{"operation": {"ports": ["81"]}}])
            },
            false,
        ),
        (
            "only audited",
            |m| m.authorization_policies[0]["spec"]["action"] = json!("AUDIT"),
            false,
        ),
        (
            "only those with a token are let in",
            |m| {
                m.authorization_policies[0]["spec"] = json!({"rules": [
                    {"from": [{"source": {"requestPrincipals": ["*"]}}]},
                    {"when": [{"key": "request.auth.claims[group]", "values": ["a"]}]},
                    {"to": [{"operation": {"paths": ["/public/*"]}}]},
                ]})
            },
            true,
        ),
        (
            "and others",
            |m| {
                m.authorization_policies[0]["spec"] = json!({"rules": [
                    {"from": [{"source": {"requestPrincipals": ["*"]}}, {"source": {"ipBlocks": ["10.0.0.0/8"]}}]},
                ]})
            },
            false,
        ),
        (
            "by another policy",
            |m| {
                m.authorization_policies[0]["spec"] =
                    json!({"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]});
                m.authorization_policies.push(json!({
                    "metadata": {"name": "all", "namespace": "infra"}, "spec": {"rules": [{}]},
                }));
            },
            false,
        ),
    ];
    for (what, change, verified) in cases {
        let mut manifests = with_tokens();
        change(&mut manifests);
        assert_eq!(is_verified(&manifests), *verified, "{what}");
    }
}

/// Whoever is asked there may require a token, and may not.
#[test]
fn a_policy_that_asks_somebody_else_requires_nothing_and_is_named() {
    let mut manifests = with_tokens();
    manifests.authorization_policies[0]["spec"] =
        json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{}]});
    assert!(!is_verified(&manifests));
    let validated = validated(&manifests);
    let message = &validated.refusals().next().unwrap().message;
    assert!(
        message.contains("CUSTOM AuthorizationPolicy infra/tokens"),
        "{message}"
    );
    manifests
        .authorization_policies
        .push(with_tokens().authorization_policies[0].clone());
    manifests.authorization_policies[1]["metadata"]["name"] = json!("required");
    assert!(is_verified(&manifests), "beside one that does");
}

#[test]
fn where_only_one_parent_verifies_only_that_one_takes_the_route() {
    let mut manifests = with_tokens();
    manifests.routes[0]["spec"]["parentRefs"] = on_istio().routes[0]["spec"]["parentRefs"].clone();
    let validated = validated(&manifests);
    let in_force = validated.routes[0].parents.iter().map(|parent| parent.in_force);
    assert_eq!(in_force.collect::<Vec<_>>(), [false, true, false]);
    let parents = validated.refusals().map(|refusal| (refusal.code, refusal.parent));
    let refused = |parent| (Code::ClaimUnverified, Some(parent));
    assert_eq!(parents.collect::<Vec<_>>(), [refused(0), refused(2)]);
}

/// Istio looks where the clients are, which are the pods and not the Gateway.
#[test]
fn a_rule_hides_ours_where_the_gateways_pods_are() {
    let hides_under = |root: RootNamespace, rules: &str, pods: &str| {
        let mut manifests = on_istio();
        manifests.root_namespace = root;
        let metadata = json!({"name": "all", "namespace": rules});
        manifests
            .destination_rules
            .push(json!({"metadata": metadata, "spec": {"host": "*.local"}}));
        manifests.gateway_pods = vec![(ObjectName::new(pods, "gw"), json!({"istio": "ingressgateway"}))];
        validated(&manifests)
            .refusals()
            .any(|refusal| refusal.code == Code::RuleHidden)
    };
    let hides = |rules: &str, pods: &str| hides_under(RootNamespace::default(), rules, pods);
    let hides_elsewhere = |rules: &str| hides_under(RootNamespace::new("mesh-root"), rules, rules);
    assert!(hides("edges", "edges"));
    assert!(!hides("infra", "edges"));
    assert!(
        !hides("istio-system", "istio-system"),
        "there ours is found first"
    );
    assert!(!hides_elsewhere("mesh-root"), "as it is called");
    assert!(hides_elsewhere("istio-system"), "which is none");
}

#[test]
fn a_service_that_the_clients_do_not_know_is_named() {
    let is_known = |to: &str| {
        let mut manifests = on_istio();
        let annotations = json!({"networking.istio.io/exportTo": to});
        manifests.services[0]["metadata"]["annotations"] = annotations;
        manifests.gateway_pods = vec![(ObjectName::new("infra", "gw"), json!({"istio": "ingressgateway"}))];
        let validated = validated(&manifests);
        let mut refusals = validated.refusals();
        !refusals
            .any(|refusal| refusal.code == Code::RuleHidden && refusal.message.contains("is exported to"))
    };
    for (to, known) in [
        ("*", true),
        ("shop, infra", true),
        (".", false),
        ("~", false),
        ("shop", false),
    ] {
        assert_eq!(is_known(to), known, "{to}");
    }
}

/// Istio keeps one with a selector to its own namespace, also in the root namespace.
#[test]
fn a_rule_for_some_clients_in_the_root_namespace_hides_ours_there() {
    let hides = |selector: Value| {
        let mut manifests = on_istio();
        let spec = json!({"host": "*.local", "workloadSelector": selector});
        let metadata = json!({"name": "some", "namespace": "istio-system"});
        manifests
            .destination_rules
            .push(json!({"metadata": metadata, "spec": spec}));
        let pods = ObjectName::new("istio-system", "gw");
        manifests.gateway_pods = vec![(pods, json!({"istio": "ingressgateway"}))];
        let validated = validated(&manifests);
        validated
            .refusals()
            .any(|refusal| refusal.code == Code::RuleHidden)
    };
    assert!(hides(json!({"matchLabels": {"istio": "another"}})));
    assert!(!hides(Value::Null), "there ours is found first");
}

/// In the clients' namespace it hides ours from all, whom it does not select too; beside ours only from those whom it selects.
#[test]
fn a_rule_for_some_clients_hides_ours_from_them() {
    let hides_for = |host: &str, rules: &str, pods: &str, label: &str| {
        let mut manifests = on_istio();
        manifests.destination_rules.push(json!({
            "metadata": {"name": "some", "namespace": rules},
            "spec": {
                "host": host,
                "workloadSelector": {"matchLabels": {"istio": label}},
            },
        }));
        manifests.gateway_pods = vec![(ObjectName::new(pods, "gw"), json!({"istio": "ingressgateway"}))];
        validated(&manifests)
            .refusals()
            .any(|refusal| refusal.code == Code::RuleHidden)
    };
    let hides = |rules, pods, label| hides_for("chat.shop.svc.cluster.local", rules, pods, label);
    assert!(hides("edges", "edges", "ingressgateway"));
    assert!(hides("edges", "edges", "other"));
    assert!(!hides("infra", "edges", "ingressgateway"));
    assert!(hides("shop", "shop", "ingressgateway"));
    assert!(!hides("shop", "shop", "other"));
    assert!(!hides("shop", "edges", "ingressgateway"));
    let many = "*.shop.svc.cluster.local";
    assert!(hides_for(many, "edges", "edges", "ingressgateway"));
    assert!(
        !hides_for(many, "shop", "shop", "ingressgateway"),
        "ours is the more specific"
    );
}

#[test]
fn objects_that_no_turn_looks_at_are_named_where_somebody_did() {
    let mut objects = on_istio().objects();
    let bystander = |kind, namespace: &str, reach| Bystander {
        kind,
        name: ObjectName::new(namespace, "beside"),
        reach,
    };
    objects.bystanders = vec![
        bystander("Telemetry", "infra", Reach::Pods(Scope::default())),
        bystander("WasmPlugin", "elsewhere", Reach::Pods(Scope::default())),
    ];
    let notices = validate(&objects, Target::Every).notices;
    let named: Vec<_> = notices
        .iter()
        .map(|one| (one.concern, one.object.to_string()))
        .collect();
    assert_eq!(named, [(Concern::Cuts, "Telemetry infra/beside".to_owned())]);
}

#[test]
fn every_mistake_has_its_code_and_its_field() {
    assert_eq!(validated(&on_istio()).refusals().count(), 0);
    for mistake in MISTAKES {
        mistake.is_found(on_istio(), Target::Every);
    }
}

/// One parent that does not take a route takes nothing from the others.
#[test]
fn a_mistake_at_one_parent_is_none_at_the_others() {
    let mut manifests = on_istio();
    manifests.istio_gateways.clear();
    let validated = validated(&manifests);
    let in_force: Vec<_> = validated.routes[0]
        .parents
        .iter()
        .map(|parent| parent.in_force)
        .collect();
    assert_eq!(in_force, [true, false, true]);
    assert_eq!(validated.world.istio.routes.len(), 2);
}

#[test]
fn stand_alone_envoy_serves_none_of_these() {
    let validated = validate(&on_istio().objects(), Target::Standalone);
    let codes: Vec<_> = validated.refusals().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [Code::ParentNotServed; 3]);
    assert!(validated.world.istio.routes.is_empty());
}

/// As Gateway API has it: two routes may share a host, and the one with the same match has to be older.
#[test]
fn two_routes_contend_for_a_match_on_a_host_of_a_port() {
    let mut manifests = on_istio();
    let mut younger = route("younger", "/ws");
    younger["spec"]["parentRefs"] = manifests.routes[0]["spec"]["parentRefs"].clone();
    younger["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    manifests.routes[0]["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    manifests.routes.push(younger);
    let validated = validated(&manifests);
    let codes: Vec<_> = validated
        .refusals()
        .map(|refusal| (refusal.code, refusal.parent))
        .collect();
    assert_eq!(
        codes,
        [
            (Code::MatchTaken, Some(0)),
            (Code::MatchTaken, Some(1)),
            (Code::MatchTaken, Some(2)),
        ]
    );
}
