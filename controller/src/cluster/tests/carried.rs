//! When filters are told of rules for somebody else's HTTPRoutes.

use clew_core::model::ObjectName;
use clew_filter_config::http_route;
use serde_json::json;

use super::{World, gateways};
use crate::cluster::kind::Kind;

impl World {
    /// Whether any proxy knows a rule for somebody's HTTPRoute.
    fn knows_policy(&self) -> bool {
        let told = self.told();
        let mut rules = told.values().flat_map(|update| update.rules.keys());
        rules.any(|id| http_route::is_key(id))
    }

    /// Takes away what was written of a kind; false: nothing was.
    fn loses(&mut self, kind: Kind) -> bool {
        let written: Vec<ObjectName> = self
            .written()
            .into_keys()
            .filter_map(|(of, name)| (of == kind).then_some(name))
            .collect();
        for name in &written {
            self.store.gone(kind, name, 0);
        }
        !written.is_empty()
    }
}

#[tokio::test]
async fn a_policy_waits_for_what_carries_it_and_for_nothing_of_others() {
    let mut world = World::new();
    gateways(&mut world);
    let shop = |name: &str| json!({"name": name, "namespace": "shop", "uid": name});
    let to = json!([{"name": "chat", "port": 80}]);
    world.put(
        Kind::Service,
        json!({"metadata": shop("chat"), "spec": {"ports": [{"port": 80}]}}),
    );
    for (name, group, gateway) in [
        ("other", "networking.istio.io", "edge"),
        ("first", "gateway.networking.k8s.io", "eg"),
    ] {
        world.put(
            Kind::WebSocketRoute,
            json!({"metadata": shop(name), "spec": {
                "parentRefs": [{"group": group, "kind": "Gateway", "name": gateway, "namespace": "infra"}],
                "hostnames": [format!("{name}.example.com")], "rules": [{"backendRefs": to}],
            }}),
        );
    }
    world.settle().await;
    world.put(
        Kind::HttpRoute,
        json!({"metadata": shop("chat"), "spec": {
            "parentRefs": [{"name": "eg", "namespace": "infra"}], "rules": [{"name": "r", "backendRefs": to}],
        }}),
    );
    let target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"});
    world.put(
        Kind::WebSocketPolicy,
        json!({"metadata": shop("rooms"), "spec": {"targetRefs": [target]}}),
    );
    for _ in 0..3 {
        // What would carry it is never there.
        world.loses(Kind::BackendTrafficPolicy);
        world.turn().await;
        assert!(!world.knows_policy());
    }
    for _ in 0..2 {
        // What a route of somebody else's needs is never there.
        assert!(world.loses(Kind::DestinationRule));
        world.turn().await;
    }
    assert!(world.knows_policy());
    world.settle().await;
    assert!(world.knows_policy());
}
