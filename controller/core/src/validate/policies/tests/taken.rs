//! Whether the Gateways of an HTTPRoute take it, and where.

use serde_json::{Value, json};

use super::{codes, good, http_route, in_force, listener, policy, rules, target, typed};
use crate::objects::Objects;
use crate::refusal::Code;
use crate::validate::{Target, validate};

#[test]
fn a_gateway_that_does_not_take_the_http_route_takes_no_policy_for_it() {
    let attached = |class: &str, parent: Value, listeners: &[Value]| {
        let backend = json!([{"name": "chat", "port": 80}]);
        let spec = json!({
            "parentRefs": [parent], "hostnames": ["chat.example.com"], "rules": [{"name": "a", "backendRefs": backend}],
        });
        let gateway = json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {"gatewayClassName": class, "listeners": listeners},
        });
        let objects = Objects {
            http_routes: vec![http_route("chat", spec)],
            gateways: vec![typed(gateway)],
            ..good(class)
        };
        let validated = validate(&objects, Target::Every);
        (codes(&validated), rules(&validated).len())
    };
    let edge = json!({"name": "edge"});
    let elsewhere = listener(|of| of["hostname"] = json!("*.example.org"));
    for class in ["eg", "istio"] {
        let refused = |parent: &Value, listener: Value| attached(class, parent.clone(), &[listener]);
        let plain = || listener(|_| ());
        assert_eq!(refused(&edge, plain()), (vec![], 1));
        let on_another = json!({"name": "edge", "sectionName": "https"});
        assert_eq!(refused(&on_another, plain()), (vec![Code::SectionNotFound], 0));
        let on_a_port = json!({"name": "edge", "port": 81});
        assert_eq!(refused(&on_a_port, plain()), (vec![Code::SectionNotFound], 0));
        assert_eq!(
            refused(&edge, elsewhere.clone()),
            (vec![Code::NoMatchingHostname], 0)
        );
        let to_none = listener(|of| of["allowedRoutes"] = json!({"namespaces": {"from": "None"}}));
        assert_eq!(refused(&edge, to_none), (vec![Code::NamespaceNotAllowed], 0));
        let of_another_kind = listener(|of| of["allowedRoutes"] = json!({"kinds": [{"kind": "GRPCRoute"}]}));
        assert_eq!(refused(&edge, of_another_kind), (vec![Code::KindNotAllowed], 0));
        let tcp = listener(|of| of["protocol"] = json!("TCP"));
        assert_eq!(refused(&edge, tcp), (vec![Code::KindNotAllowed], 0));
    }
}

#[test]
fn of_several_listeners_that_an_http_route_names_one_is_enough() {
    let named = |section: &str| json!({"name": "edge", "sectionName": section});
    for sections in [["http", "gone"], ["gone", "http"]] {
        let backend = json!([{"name": "chat", "port": 80}]);
        let spec =
            json!({"parentRefs": sections.map(named), "rules": [{"name": "a", "backendRefs": backend}]});
        let objects = Objects {
            http_routes: vec![http_route("chat", spec)],
            ..good("eg")
        };
        let validated = validate(&objects, Target::Every);
        assert_eq!(
            (codes(&validated), in_force(&validated)),
            (vec![], vec![true]),
            "{sections:?}"
        );
    }
}

#[test]
fn a_target_that_a_gateway_does_not_take_hides_no_other_one_there() {
    let mut objects = good("eg");
    let backend = json!([{"name": "chat", "port": 80}]);
    let nowhere = json!({"parentRefs": [{"name": "edge", "port": 81}], "rules": [{"backendRefs": backend}]});
    objects.http_routes.push(http_route("nowhere", nowhere));
    objects.policies = vec![policy(
        "chat",
        1,
        json!([target("nowhere", None), target("chat", None)]),
    )];
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::SectionNotFound]);
    let parents: Vec<_> = validated.routes[0].parents.iter().collect();
    assert!(
        matches!(*parents, [of] if of.in_force && of.parent.is_some()),
        "{parents:?}"
    );
}

#[test]
fn a_policy_for_a_listener_that_the_http_route_is_not_on_displaces_nothing() {
    let named = |name: &str, port: u16, hostname: Option<&str>| {
        listener(|of| {
            of["name"] = json!(name);
            of["port"] = json!(port);
            if let Some(hostname) = hostname {
                of["hostname"] = json!(hostname);
            }
        })
    };
    let listeners = [
        named("here", 80, Some("chat.example.com")),
        named("beside", 80, Some("other.example.com")),
        named("around", 80, Some("*.example.com")),
        named("all", 80, None),
        named("port", 81, Some("chat.example.com")),
    ];
    let displacing = |section: &str, parent: Value| {
        let gateway = json!({
            "metadata": {"name": "edge", "namespace": "shop"}, "spec": {"gatewayClassName": "eg", "listeners": listeners},
        });
        let of_listener = json!({
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "sectionName": section,
        });
        let spec = json!({
            "parentRefs": [parent], "hostnames": ["chat.example.com"],
            "rules": [{"name": "a", "backendRefs": [{"name": "chat", "port": 80}]}],
        });
        let objects = Objects {
            http_routes: vec![http_route("chat", spec)],
            gateways: vec![typed(gateway)],
            extension_policies: vec![typed(json!({
                "metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"targetRefs": [of_listener]},
            }))],
            ..good("eg")
        };
        codes(&validate(&objects, Target::Every))
    };
    let here = json!({"name": "edge", "sectionName": "here"});
    assert_eq!(displacing("here", here.clone()), [Code::FilterDisplaced]);
    assert_eq!(
        displacing("port", json!({"name": "edge"})),
        [Code::FilterDisplaced]
    );
    for other in ["beside", "around", "all", "port"] {
        assert_eq!(displacing(other, here.clone()), [], "{other}");
    }
}

#[test]
fn a_host_that_another_listener_has_for_itself_is_not_said_to_be_missing() {
    let listeners = [
        listener(|of| of["hostname"] = json!("*.example.com")),
        listener(|of| {
            of["name"] = json!("chat");
            of["hostname"] = json!("chat.example.com");
        }),
    ];
    let spec = json!({
        "parentRefs": [{"name": "edge", "sectionName": "http"}], "hostnames": ["chat.example.com"],
        "rules": [{"name": "a", "backendRefs": [{"name": "chat", "port": 80}]}],
    });
    let objects = Objects {
        http_routes: vec![http_route("chat", spec)],
        gateways: vec![typed(json!({
            "metadata": {"name": "edge", "namespace": "shop"}, "spec": {"gatewayClassName": "eg", "listeners": listeners},
        }))],
        ..good("eg")
    };
    let validated = validate(&objects, Target::Every);
    assert_eq!(codes(&validated), [Code::NoMatchingHostname]);
    let message = validated.refusals().next().map(|refusal| refusal.message.clone());
    assert!(
        message
            .unwrap()
            .contains("listener chat of Gateway shop/edge has chat.example.com for itself")
    );
}
