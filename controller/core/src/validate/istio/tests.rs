use serde_json::json;

use crate::fixture::{Manifests, on_istio, route};
use crate::refusal::Code;
use crate::validate::tests::mistakes::Mistake;
use crate::validate::{Target, Validated, validate};

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
