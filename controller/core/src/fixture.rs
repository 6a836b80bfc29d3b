//! One good set of manifests for tests, to change in one place each.

use serde_json::{Value, json};

use crate::model::ObjectName;
use crate::objects::{Objects, ParentKind, RootNamespace, Sourced};

/// A route with one rule, and all that it needs.
#[derive(Clone)]
pub(crate) struct Manifests {
    pub(crate) routes: Vec<Value>,
    pub(crate) gateways: Vec<Value>,
    pub(crate) services: Vec<Value>,
    pub(crate) endpoint_slices: Vec<Value>,
    pub(crate) secrets: Vec<Value>,
    pub(crate) grants: Vec<Value>,
    pub(crate) istio_gateways: Vec<Value>,
    pub(crate) virtual_services: Vec<Value>,
    pub(crate) destination_rules: Vec<Value>,
    pub(crate) request_authentications: Vec<Value>,
    pub(crate) authorization_policies: Vec<Value>,
    pub(crate) envoy_filters: Vec<Value>,
    /// Their names and labels.
    pub(crate) gateway_pods: Vec<(ObjectName, Value)>,
    pub(crate) root_namespace: RootNamespace,
    pub(crate) gateway_classes: Vec<Value>,
    pub(crate) extension_policies: Vec<Value>,
    pub(crate) unknown_parents: Vec<ParentKind>,
}

pub(crate) fn good() -> Manifests {
    Manifests {
        routes: vec![route("chat", "/ws")],
        gateways: vec![json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {
                "gatewayClassName": "clew",
                "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP", "hostname": "*.example.com"}],
            },
        })],
        services: vec![service("chat"), service("other")],
        endpoint_slices: vec![endpoint_slice("chat", 1), endpoint_slice("other", 2)],
        secrets: Vec::new(),
        grants: Vec::new(),
        istio_gateways: Vec::new(),
        virtual_services: Vec::new(),
        destination_rules: Vec::new(),
        request_authentications: Vec::new(),
        authorization_policies: Vec::new(),
        envoy_filters: Vec::new(),
        gateway_pods: Vec::new(),
        root_namespace: RootNamespace::default(),
        gateway_classes: Vec::new(),
        extension_policies: Vec::new(),
        unknown_parents: Vec::new(),
    }
}

/// The good route at all of Istio's kinds of parents, with two backends.
pub(crate) fn on_istio() -> Manifests {
    let mut manifests = good();
    manifests.gateways[0]["spec"]["gatewayClassName"] = json!("istio");
    manifests.istio_gateways = vec![json!({
        "metadata": {"name": "edge", "namespace": "infra"},
        "spec": {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    })];
    let spec = &mut manifests.routes[0]["spec"];
    spec["parentRefs"] = json!([
        {"name": "edge"},
        {"group": "networking.istio.io", "kind": "Gateway", "namespace": "infra", "name": "edge"},
        {"group": "", "kind": "Service", "name": "chat"},
    ]);
    spec["rules"][0]["backendRefs"] =
        json!([{"name": "chat", "port": 8080}, {"name": "other", "port": 8080}]);
    for service in &mut manifests.services {
        service["spec"]["selector"] = json!({"app": "any"});
    }
    manifests
}

/// The good route at a Gateway of Envoy Gateway's and at one of another class, with two backends.
pub(crate) fn on_gateway_api() -> Manifests {
    let mut manifests = good();
    let class = |name: &str, controller: &str| json!({"metadata": {"name": name}, "spec": {"controllerName": controller}});
    manifests.gateway_classes = vec![
        class("eg", "gateway.envoyproxy.io/gatewayclass-controller"),
        class("traefik", "traefik.io/gateway-controller"),
    ];
    manifests.gateways[0]["spec"]["gatewayClassName"] = json!("eg");
    let mut other = manifests.gateways[0].clone();
    other["metadata"]["name"] = json!("other");
    other["spec"]["gatewayClassName"] = json!("traefik");
    manifests.gateways.push(other);
    let spec = &mut manifests.routes[0]["spec"];
    spec["parentRefs"] = json!([{"name": "edge"}, {"name": "other"}]);
    spec["rules"][0]["backendRefs"] =
        json!([{"name": "chat", "port": 8080}, {"name": "other", "port": 8080}]);
    manifests
}

/// A route to the Service `chat`.
pub(crate) fn route(name: &str, prefix: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "hostnames": ["chat.example.com"],
            "rules": [{
                "name": "rooms",
                "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
                "backendRefs": [{"name": "chat", "port": 8080}],
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            }],
        },
    })
}

pub(crate) fn service(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"ports": [{"name": "ws", "port": 8080}]}})
}

/// Three pods in a subnet.
pub(crate) fn endpoint_slice(service: &str, subnet: usize) -> Value {
    let endpoint = |n: u8| {
        json!({
            "addresses": [format!("10.{}.{}.{n}", subnet / 256, subnet % 256)],
            "targetRef": {"kind": "Pod", "name": format!("{service}-{n}"), "uid": format!("uid-{n}")},
        })
    };
    json!({
        "metadata": {
            "name": format!("{service}-a"),
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "ws", "port": 9000}],
        "endpoints": [endpoint(1), endpoint(2), endpoint(3)],
    })
}

impl Manifests {
    /// Changes one value: `/spec/rules/0/name`, as in RFC 6901. A key that is not there yet is added.
    pub(crate) fn set(kind: &mut [Value], pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = kind[0]
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("no {parent}"));
        match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            other => other[key] = value,
        }
    }

    pub(crate) fn objects(&self) -> Objects {
        Objects {
            routes: typed(&self.routes, Some(("clew.dev/v1alpha1", "WebSocketRoute"))),
            policies: Vec::new(),
            http_routes: Vec::new(),
            backend_traffic_policies: Vec::new(),
            gateways: typed(&self.gateways, None),
            services: typed(&self.services, None),
            endpoint_slices: typed(&self.endpoint_slices, None),
            secrets: typed(&self.secrets, None),
            grants: typed(&self.grants, None),
            istio_gateways: typed(&self.istio_gateways, None),
            virtual_services: typed(&self.virtual_services, None),
            destination_rules: typed(&self.destination_rules, None),
            request_authentications: typed(&self.request_authentications, None),
            authorization_policies: typed(&self.authorization_policies, None),
            envoy_filters: typed(&self.envoy_filters, None),
            bystanders: Vec::new(),
            gateway_classes: typed(&self.gateway_classes, None),
            extension_policies: typed(&self.extension_policies, None),
            lingering: Default::default(),
            pods: Default::default(),
            root_namespace: self.root_namespace.clone(),
            gateway_pods: self
                .gateway_pods
                .iter()
                .map(|(name, labels)| (name.clone(), serde_json::from_value(labels.clone()).unwrap()))
                .collect(),
            unknown_parents: self.unknown_parents.iter().copied().collect(),
            namespaces: Default::default(),
        }
    }
}

fn typed<T: serde::de::DeserializeOwned>(values: &[Value], kind: Option<(&str, &str)>) -> Vec<Sourced<T>> {
    values
        .iter()
        .map(|value| {
            let mut value = value.clone();
            if let Some((api_version, kind)) = kind {
                value["apiVersion"] = api_version.into();
                value["kind"] = kind.into();
            }
            Sourced {
                object: serde_json::from_value::<T>(value).unwrap().into(),
                source: Default::default(),
            }
        })
        .collect()
}

/// An edit of each kind that a route may undergo: which field, and what becomes of it.
pub(crate) fn edits() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/hostnames", json!(["other.example.com", "*.example.com"])),
        ("/spec/rules/0/name", json!("renamed")),
        (
            "/spec/rules/0/matches",
            json!([{"path": {"type": "Exact", "value": "/"}, "subprotocols": ["mqtt"]}]),
        ),
        (
            "/spec/rules/0/backendRefs",
            json!([{"name": "other", "port": 8080}]),
        ),
        (
            "/spec/rules/0/sessionKey",
            json!({"sources": [{"type": "SourceIP", "sourceIP": {}}]}),
        ),
        ("/spec/rules/0/timeouts", json!({"handshake": "0s"})),
        ("/spec/rules/0/drain", json!({"timeout": "2m", "closeCode": 3000})),
        (
            "/spec/rules/0/resilience",
            json!({
                "connectRetries": 2, "maxPendingHandshakes": 4,
                "outlierDetection": {"consecutiveHandshakeFailures": 5},
                "fault": {"abort": {"percent": 10, "status": 503}},
            }),
        ),
    ]
}
