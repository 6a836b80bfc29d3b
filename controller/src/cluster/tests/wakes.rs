//! Whom a change concerns.

use clew_core::model::{ObjectName, Owner};
use serde_json::{Value, json};

use super::{World, gateways};
use crate::cluster::kind::Kind;

/// At Istio's gateway, with a host and a Service of its own.
fn route(name: &str, backend: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {
        "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge", "namespace": "infra"}],
        "hostnames": [format!("{name}.example.com")],
        "rules": [{"backendRefs": [backend], "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]}})
}

fn slice(namespace: &str, service: &str, pod: &str) -> Value {
    json!({"metadata": {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": pod}}]})
}

fn named(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn backend(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "port": 80})
}

/// Routes `a`, whose Service is `shop/a`, and `b`, whose Service is `other/b`, and some that have nothing to do with anybody.
async fn world() -> World {
    let mut world = World::new();
    gateways(&mut world);
    world.put(Kind::WebSocketRoute, route("a", &backend("shop", "a")));
    world.put(Kind::WebSocketRoute, route("b", &backend("other", "b")));
    for name in ["x", "y", "z"] {
        world.put(Kind::WebSocketRoute, route(name, &backend("shop", name)));
    }
    world.put(Kind::EndpointSlice, slice("shop", "a", "a-0"));
    world.settle().await;
    world
}

/// The routes that the next turn is about; None: all.
fn concerned(world: &mut World) -> Option<Vec<String>> {
    let (about, _) = world.cluster.resolve().unwrap();
    let names = about.routes.iter().map(|route| route.name.name.to_string());
    (!about.everything).then(|| names.collect())
}

#[tokio::test]
async fn a_change_wakes_the_routes_that_depend_on_it_and_no_others() {
    let mut world = world().await;
    let on_edge = |host: &str| json!({"gateways": ["infra/edge"], "hosts": [host], "http": []});
    let to_shop = json!({"from": [{"group": "clew.dev", "kind": "WebSocketRoute", "namespace": "shop"}],
        "to": [{"group": "", "kind": "Service"}]});
    for (what, kind, object, expected) in [
        (
            "a Service",
            Kind::Service,
            named("shop", "a", &json!({"ports": [{"port": 80}]})),
            vec!["a"],
        ),
        (
            "one of another namespace",
            Kind::Service,
            named("other", "b", &json!({})),
            vec!["b"],
        ),
        (
            "nobody's Service",
            Kind::Service,
            named("shop", "b", &json!({})),
            vec![],
        ),
        (
            "a grant",
            Kind::ReferenceGrant,
            named("other", "g", &to_shop),
            vec!["b"],
        ),
        (
            "a grant elsewhere",
            Kind::ReferenceGrant,
            named("shop", "g", &to_shop),
            vec![],
        ),
        (
            "endpoints",
            Kind::EndpointSlice,
            slice("other", "b", "b-0"),
            vec!["b"],
        ),
        (
            "a pod",
            Kind::Pod,
            named("shop", "a-0", &json!({"containers": []})),
            vec!["a"],
        ),
        (
            "nobody's pod",
            Kind::Pod,
            named("other", "a-0", &json!({"containers": []})),
            vec![],
        ),
        (
            "a rule for a host",
            Kind::DestinationRule,
            named("any", "d", &json!({"host": "a.shop.svc.cluster.local"})),
            vec!["a"],
        ),
        (
            "one for a short name",
            Kind::DestinationRule,
            named("other", "d", &json!({"host": "b"})),
            vec!["b"],
        ),
        (
            "one for a host of nobody",
            Kind::DestinationRule,
            named("any", "e", &json!({"host": "a"})),
            vec![],
        ),
        (
            "somebody's routes for a host",
            Kind::VirtualService,
            named("any", "v", &on_edge("b.example.com")),
            vec!["b"],
        ),
        (
            "the route itself",
            Kind::WebSocketRoute,
            route("x", &backend("shop", "x2")),
            vec!["x"],
        ),
    ] {
        world.put(kind, object);
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(concerned(&mut world), Some(expected), "{what}");
    }
}

#[tokio::test]
async fn what_may_concern_every_route_is_looked_at_with_every_route() {
    let mut world = world().await;
    let of_envoy_gateway = json!({"metadata": {"name": "eg-0", "namespace": "envoy-gateway-system", "labels": {
        "gateway.envoyproxy.io/owning-gateway-name": "eg", "gateway.envoyproxy.io/owning-gateway-namespace": "infra"}}});
    let of_istio = json!({"metadata": {"name": "edge-0", "namespace": "infra", "labels": {"istio": "edge"}}});
    let many = json!({"host": "*.shop.svc.cluster.local"});
    for (what, kind, object) in [
        (
            "a Namespace",
            Kind::Namespace,
            json!({"metadata": {"name": "shop"}}),
        ),
        ("a plugin", Kind::WasmPlugin, named("infra", "p", &json!({}))),
        (
            "a policy",
            Kind::EnvoyExtensionPolicy,
            named("infra", "p", &json!({})),
        ),
        ("a gateway's pod", Kind::Pod, of_istio),
        ("one of Envoy Gateway's", Kind::Pod, of_envoy_gateway),
        (
            "a rule for many hosts",
            Kind::DestinationRule,
            named("shop", "many", &many),
        ),
    ] {
        assert_eq!(concerned(&mut world), Some(Vec::new()), "before {what}");
        world.put(kind, object);
        assert_eq!(concerned(&mut world), None, "{what}");
    }
    world
        .store
        .gone(Kind::Pod, &ObjectName::new("infra", "edge-0"), 0);
    assert_eq!(concerned(&mut world), None, "a gateway's pod that is gone");
}

#[tokio::test]
async fn what_is_written_and_changed_by_others_wakes_whom_it_stands_for() {
    let mut world = world().await;
    let written = world.written();
    let (kind, name) = written
        .into_iter()
        .find(|(key, object)| key.0 == Kind::VirtualService && object["spec"]["hosts"][0] == "x.example.com")
        .unwrap()
        .0;
    world.store.gone(kind, &name, 0);
    assert_eq!(concerned(&mut world), Some(vec!["x".to_owned()]));
}

/// Two routes that want the same.
async fn contenders() -> World {
    let mut world = world().await;
    for (name, day) in [("old", 1), ("young", 2)] {
        let mut contender = route(name, &backend("shop", name));
        contender["metadata"]["creationTimestamp"] = json!(format!("2026-01-0{day}T00:00:00Z"));
        contender["spec"]["hostnames"] = json!(["same.example.com"]);
        world.put(Kind::WebSocketRoute, contender);
    }
    world.settle().await;
    assert!(is_refused(&world, "young") && !is_refused(&world, "old"));
    world
}

fn is_refused(world: &World, route: &str) -> bool {
    world.decided.statuses[&Owner::route(ObjectName::new("shop", route))].contains("Conflicted")
}

#[tokio::test]
async fn a_route_that_is_deleted_leaves_its_host_to_the_next() {
    let mut world = contenders().await;
    world
        .store
        .gone(Kind::WebSocketRoute, &ObjectName::new("shop", "old"), 0);
    world.settle().await;
    assert!(!is_refused(&world, "young"));
}

#[tokio::test]
async fn a_route_that_is_deleted_during_a_turn_leaves_its_host_to_the_next() {
    let mut world = contenders().await;
    // A turn that looks at it, and while it writes the route goes.
    world.put(
        Kind::Service,
        named("shop", "old", &json!({"ports": [{"port": 80}]})),
    );
    let old = Owner::route(ObjectName::new("shop", "old"));
    world
        .turn_while(|world| world.store.gone(Kind::WebSocketRoute, &old.name, 0))
        .await;
    world.settle().await;
    assert!(!is_refused(&world, "young"));
}

#[tokio::test]
async fn a_route_that_moves_during_a_turn_leaves_its_host_to_the_next() {
    let mut world = contenders().await;
    world.put(
        Kind::Service,
        named("shop", "old", &json!({"ports": [{"port": 80}]})),
    );
    let moved = route("old", &backend("shop", "old"));
    world
        .turn_while(|world| world.put(Kind::WebSocketRoute, moved))
        .await;
    world.settle().await;
    assert!(!is_refused(&world, "young"));
}

/// At Envoy Gateway's, where routes of different hosts have no object in common.
fn route_at_eg(name: &str, backend: &Value) -> Value {
    let mut route = route(name, backend);
    route["spec"]["parentRefs"] = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg", "namespace": "infra"}]);
    route
}

#[tokio::test]
async fn what_a_route_leaves_stays_with_those_who_still_use_it() {
    type Make = fn(&str, &Value) -> Value;
    for (gateway, make) in [("istio=edge", route as Make), ("infra/eg", route_at_eg as Make)] {
        // Also where everything is looked at, as when a gateway changes too.
        for (is_deleted, everything) in [(false, false), (true, false), (true, true)] {
            let mut world = World::new();
            gateways(&mut world);
            for name in ["a", "x"] {
                let spec = json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
                world.put(Kind::Service, named("shop", name, &spec));
            }
            for name in ["a", "b"] {
                world.put(Kind::WebSocketRoute, make(name, &backend("shop", "a")));
            }
            world.settle().await;
            let used = |world: &World| -> Vec<String> {
                let there = world.there().into_iter();
                there
                    .filter(|one| {
                        one.ends_with("shop/a:80")
                            || one.ends_with(" shop/a-clew") && one.starts_with("DestinationRule")
                    })
                    .collect()
            };
            let before = used(&world);
            let rules = usize::from(gateway == "istio=edge");
            assert_eq!(before.len(), 1 + rules, "{:?}", world.there());
            match is_deleted {
                false => world.put(Kind::WebSocketRoute, make("a", &backend("shop", "x"))),
                true => world
                    .store
                    .gone(Kind::WebSocketRoute, &ObjectName::new("shop", "a"), 0),
            }
            if everything {
                world.cluster.memory.look_at_everything();
            }
            for turn in 0..4 {
                world.turn().await;
                assert_eq!(
                    used(&world),
                    before,
                    "{gateway}, turn {turn}, deleted: {is_deleted}, everything: {everything}"
                );
                // What happens to the new Service concerns the route alone.
                world.put(Kind::EndpointSlice, slice("shop", "x", &format!("x-{turn}")));
            }
        }
    }
}
