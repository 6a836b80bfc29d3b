use serde_json::json;

use crate::fixture::{Manifests, on_gateway_api};
use crate::model::{ObjectName, Parent};
use crate::objects::{Bystander, Reach};
use crate::refusal::Code;
use crate::validate::tests::mistakes::Mistake;
use crate::validate::{Target, Validated, validate};

fn validated(manifests: &Manifests) -> Validated {
    validate(&manifests.objects(), Target::Every)
}

/// The first parent of the good route is Envoy Gateway's.
pub(in crate::validate) const MISTAKES: &[Mistake] = &[
    Mistake {
        code: Code::ParentNotServed,
        field: "spec.parentRefs[0].name",
        change: |m| drop(m.gateway_classes.remove(0)),
    },
    Mistake {
        code: Code::SectionNotFound,
        field: "spec.parentRefs[0].sectionName",
        change: |m| m.routes[0]["spec"]["parentRefs"][0]["sectionName"] = json!("https"),
    },
    Mistake {
        code: Code::NoMatchingHostname,
        field: "spec.parentRefs[0]",
        change: |m| m.gateways[0]["spec"]["listeners"][0]["hostname"] = json!("*.example.org"),
    },
    Mistake {
        code: Code::NamespaceNotAllowed,
        field: "spec.parentRefs[0].namespace",
        change: |m| {
            m.gateways[0]["spec"]["listeners"][0]["allowedRoutes"] = json!({"namespaces": {"from": "None"}});
        },
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
        code: Code::KindNotAllowed,
        field: "spec.parentRefs[0]",
        change: |m| m.gateways[0]["spec"]["listeners"][0]["protocol"] = json!("TCP"),
    },
    Mistake {
        code: Code::BackendForeign,
        field: "spec.rules[0].backendRefs[0].namespace",
        change: |m| m.routes[0]["spec"]["rules"][0]["backendRefs"][0]["namespace"] = json!("spare"),
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
        code: Code::FilterDisplaced,
        field: "spec.parentRefs[0]",
        change: |m| {
            m.extension_policies
                .push(policy("HTTPRoute", "chat-clew-envoy-0", None))
        },
    },
    Mistake {
        code: Code::FilterDisplaced,
        field: "spec.parentRefs[0]",
        change: |m| m.extension_policies.push(policy("Gateway", "edge", Some("http"))),
    },
];

fn policy(kind: &str, name: &str, section: Option<&str>) -> serde_json::Value {
    let mut target = json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": name});
    if let Some(section) = section {
        target["sectionName"] = json!(section);
    }
    json!({"metadata": {"name": "lua", "namespace": "shop"}, "spec": {"targetRefs": [target]}})
}

#[test]
fn every_mistake_has_its_code_and_its_field() {
    assert_eq!(validated(&on_gateway_api()).refusals().count(), 0);
    for mistake in MISTAKES {
        mistake.is_found(on_gateway_api(), Target::Every);
    }
}

#[test]
fn who_serves_a_class_its_gateway_class_says() {
    let parents = |manifests: &Manifests| {
        let report = validated(manifests).routes.remove(0);
        let parents = report.parents.into_iter().map(|parent| parent.parent);
        parents.collect::<Vec<_>>()
    };
    let mut manifests = on_gateway_api();
    let found = parents(&manifests);
    assert!(
        matches!(
            &found[..],
            [Some(Parent::EnvoyGateway(_)), Some(Parent::OtherClass(_))]
        ),
        "{found:?}"
    );
    manifests.gateway_classes[0]["spec"]["controllerName"] = json!("istio.io/gateway-controller");
    manifests.gateway_classes[1]["spec"]["controllerName"] = json!("clew.dev/standalone");
    for service in &mut manifests.services {
        service["spec"]["selector"] = json!({"app": "any"});
    }
    let found = parents(&manifests);
    assert!(
        matches!(&found[..], [Some(Parent::IstioClass(_)), None]),
        "{found:?}"
    );
}

#[test]
fn a_policy_that_leaves_the_filter_where_it_is_is_nobodys_business() {
    let merged = {
        let mut merged = policy("HTTPRoute", "chat-clew-envoy-0", None);
        merged["spec"]["mergeType"] = json!("StrategicMerge");
        merged
    };
    let with_a_module = {
        let mut module = merged.clone();
        module["spec"]["wasm"] = json!([{"name": "other"}]);
        module
    };
    let elsewhere = {
        let mut elsewhere = policy("HTTPRoute", "chat-clew-envoy-0", None);
        elsewhere["metadata"]["namespace"] = json!("other");
        elsewhere
    };
    let selecting = |labels: serde_json::Value| {
        json!({
            "metadata": {"name": "lua", "namespace": "shop"},
            "spec": {"targetSelectors": [{"kind": "HTTPRoute", "matchLabels": labels}]},
        })
    };
    for (policy, displaces) in [
        (policy("HTTPRoute", "chat-clew-envoy-2", None), true),
        (policy("HTTPRoute", "chat-clew-envoy", None), false),
        (policy("HTTPRoute", "chat", None), false),
        (policy("Gateway", "edge", None), false),
        (policy("Gateway", "edge", Some("https")), false),
        (merged, false),
        (with_a_module, true),
        (elsewhere, false),
        (selecting(json!({})), true),
        (selecting(json!({"app.kubernetes.io/managed-by": "clew"})), true),
        (selecting(json!({"app": "chat"})), false),
    ] {
        let mut manifests = on_gateway_api();
        manifests.extension_policies.push(policy.clone());
        let found = validated(&manifests);
        let codes: Vec<_> = found.refusals().map(|refusal| refusal.code).collect();
        let expected: &[_] = if displaces { &[Code::FilterDisplaced] } else { &[] };
        assert_eq!(codes, expected, "{policy}");
        // The other parent has no filter to lose.
        assert!(found.routes[0].parents[1].in_force);
    }
}

#[test]
fn somebodys_policy_is_named_at_the_gateway_of_envoy_gateway_where_it_acts() {
    let mut objects = on_gateway_api().objects();
    let parent = validated(&on_gateway_api()).routes[0].parents[0]
        .parent
        .clone()
        .unwrap();
    let other = ObjectName::new("elsewhere", "edge");
    for (gateway, named) in [(parent.name(), 1), (&other, 0)] {
        objects.bystanders = vec![Bystander {
            kind: "SecurityPolicy",
            name: ObjectName::new("shop", "theirs"),
            reach: Reach::Gateways([gateway.clone()].into()),
        }];
        let notices = validate(&objects, Target::Every).notices;
        let theirs = notices.iter().filter(|one| one.object.kind == "SecurityPolicy");
        assert_eq!(theirs.count(), named, "{gateway}");
    }
}
