use std::collections::{BTreeMap, BTreeSet};

use clew_filter_config::plugin::{FailureMode, PluginConfig};
use serde_json::{Value, json};

use super::{channel_cluster, client_traffic_policy, envoy_proxy, extension_policy, render};
use crate::fixture::{Manifests, edits, on_gateway_api, service};
use crate::model::ObjectName;
use crate::render::istio::Module;
use crate::render::object::Object;
use crate::validate::{Target, validate};

fn objects(manifests: &Manifests) -> Vec<Object> {
    let validated = validate(&manifests.objects(), Target::Every);
    let refusals: Vec<_> = validated.refusals().map(ToString::to_string).collect();
    assert_eq!(refusals, Vec::<String>::new());
    render(&validated.world)
}

fn of_kind<'o>(objects: &'o [Object], kind: &'o str) -> impl Iterator<Item = &'o Object> {
    objects.iter().filter(move |object| object.kind == kind)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What became of live sockets under each kind of edit was tried; these become routes, clusters and endpoints.
const WITHOUT_LISTENERS: [&str; 3] = ["BackendTrafficPolicy", "HTTPRoute", "ReferenceGrant"];
/// Of a BackendTrafficPolicy what is of clusters and routes: its faults, limits and compression are filters of listeners.
const OF_CLUSTERS: [&str; 6] = [
    "circuitBreaker",
    "healthCheck",
    "loadBalancer",
    "retry",
    "targetRefs",
    "timeout",
];

#[test]
fn no_edit_of_a_route_renders_what_touches_a_listener() {
    let before = objects(&on_gateway_api());
    assert!(before.len() >= 8, "{before:#?}");
    for (pointer, value) in edits() {
        let mut edited = on_gateway_api();
        Manifests::set(&mut edited.routes, pointer, value);
        let after = objects(&edited);
        assert_ne!(before, after, "{pointer} changes something");
        for object in &after {
            assert!(WITHOUT_LISTENERS.contains(&object.kind), "{pointer}: {object:?}");
        }
        for policy in of_kind(&after, "BackendTrafficPolicy") {
            let spec = policy.spec();
            let fields: Vec<_> = spec.as_object().unwrap().keys().collect();
            assert!(
                fields.iter().all(|field| OF_CLUSTERS.contains(&field.as_str())),
                "{pointer}: {fields:?}"
            );
        }
    }
}

/// Envoy Gateway has a changed cluster only seconds later, so a policy of another name comes before, and none changes.
#[test]
fn no_edit_of_a_route_changes_how_the_pods_of_a_cluster_are_chosen() {
    let policies = |objects: &[Object]| -> BTreeMap<String, Value> {
        of_kind(objects, "BackendTrafficPolicy")
            .map(|policy| {
                let mut spec = policy.spec();
                // For which HTTPRoutes it is follows the steps of the rules.
                spec.as_object_mut().unwrap().remove("targetRefs");
                (policy.metadata.name.to_string(), spec)
            })
            .collect()
    };
    let before = policies(&objects(&on_gateway_api()));
    for (pointer, value) in edits() {
        let mut edited = on_gateway_api();
        Manifests::set(&mut edited.routes, pointer, value);
        for (name, spec) in policies(&objects(&edited)) {
            if let Some(old) = before.get(&name) {
                assert_eq!(*old, spec, "{pointer}");
            }
            let hash = &spec["loadBalancer"]["consistentHash"];
            assert_eq!(hash["headers"], json!([{"name": "x-clew-host"}]));
        }
    }
}

#[test]
fn every_http_route_of_envoy_gateway_has_one_policy_and_each_rule_one_backend() {
    for resilience in [json!({}), json!({"connectRetries": 1})] {
        let mut manifests = on_gateway_api();
        let mut second = manifests.routes[0]["spec"]["rules"][0].clone();
        second["name"] = json!("second");
        second["matches"] = json!([{"path": {"value": "/second"}}]);
        second["backendRefs"] = json!([{"name": "chat", "port": 8080}]);
        second["timeouts"] = json!({"handshake": "0s"});
        second["resilience"] = resilience;
        let rules = manifests.routes[0]["spec"]["rules"].as_array_mut().unwrap();
        rules.push(second);
        let objects = objects(&manifests);
        let mut targeted: Vec<_> = of_kind(&objects, "BackendTrafficPolicy")
            .flat_map(|policy| list(&policy.spec(), "targetRefs").to_vec())
            .map(|target| target["name"].as_str().unwrap().to_owned())
            .collect();
        targeted.sort_unstable();
        let mut routes = BTreeSet::new();
        for route in of_kind(&objects, "HTTPRoute") {
            let spec = route.spec();
            if list(&spec, "parentRefs")[0]["name"] != "edge" {
                continue;
            }
            routes.insert(route.metadata.name.clone());
            let rules = list(&spec, "rules");
            let names: BTreeSet<_> = rules.iter().map(|rule| rule["name"].to_string()).collect();
            assert_eq!(names.len(), rules.len(), "a name stands once");
            for rule in rules {
                assert_eq!(list(rule, "backendRefs").len(), 1);
            }
        }
        assert_eq!(targeted, routes.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn another_class_gets_one_http_route_that_deals_by_weight() {
    let objects = objects(&on_gateway_api());
    let plain: Vec<_> = of_kind(&objects, "HTTPRoute")
        .filter(|route| list(&route.spec(), "parentRefs")[0]["name"] == "other")
        .collect();
    assert_eq!(plain.len(), 1);
    let spec = plain[0].spec();
    let rules = list(&spec, "rules");
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].get("timeouts"), None);
    assert_eq!(list(&rules[0], "matches")[0].get("headers"), None);
    assert_eq!(
        rules[0]["backendRefs"],
        json!([
            {"namespace": "shop", "name": "chat", "port": 8080, "weight": 1},
            {"namespace": "shop", "name": "other", "port": 8080, "weight": 1},
        ])
    );
}

#[test]
fn a_route_in_another_order_of_manifests_is_the_same_route() {
    let mut manifests = on_gateway_api();
    let before = objects(&manifests);
    manifests.services.push(service("unused"));
    manifests.services.reverse();
    manifests.endpoint_slices.reverse();
    manifests.gateways.reverse();
    manifests.gateway_classes.reverse();
    assert_eq!(objects(&manifests), before);
}

#[test]
fn what_is_installed_knows_a_gateway_and_no_route() {
    let gateway = ObjectName::new("infra", "edge");
    let config = PluginConfig {
        gateway: gateway.to_string(),
        cluster: channel_cluster().to_owned(),
        token: "token".to_owned(),
        failure_mode: FailureMode::Closed,
        access_log: false,
        installation: String::new(),
    };
    let module = Module {
        url: "http://clew.clew-system.svc.cluster.local:8080/clew.wasm".to_owned(),
        sha256: "0".repeat(64),
    };
    let labels = json!({"app.kubernetes.io/managed-by": "clew"});
    let metadata = json!({"name": "edge-clew", "namespace": "infra", "labels": labels});
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}]);
    assert_eq!(
        json!(extension_policy(&gateway, &module, &config)),
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyExtensionPolicy",
            "metadata": metadata,
            "spec": {
                "targetRefs": target,
                "wasm": [{
                    "name": "clew",
                    "code": {"type": "HTTP", "http": {"url": module.url, "sha256": module.sha256}},
                    "config": {
                        "gateway": "infra/edge",
                        "cluster": "clew-channel",
                        "token": "token",
                        "failureMode": "Closed",
                    },
                    "failOpen": false,
                }],
            },
        })
    );
    let placeholder = super::placeholder(&gateway);
    assert_eq!(placeholder.metadata.name, "edge-clew");
    assert!(placeholder.spec()["rules"][0].get("backendRefs").is_none());
    let open = PluginConfig {
        failure_mode: FailureMode::Open,
        ..config
    };
    let open = extension_policy(&gateway, &module, &open);
    assert_eq!(open.spec()["wasm"][0]["failOpen"], true);
    assert_eq!(
        json!(client_traffic_policy(&gateway)),
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "ClientTrafficPolicy",
            "metadata": metadata,
            "spec": {"targetRefs": target, "connection": {"bufferLimit": "4Mi"}},
        })
    );
}

#[test]
fn the_bootstrap_adds_the_channel_and_the_labels_of_metrics() {
    let gateway = ObjectName::new("infra", "edge");
    let proxy = envoy_proxy(&gateway, &ObjectName::new("clew-system", "clew"), 8080);
    assert_eq!(proxy.kind, "EnvoyProxy");
    let bootstrap = &proxy.spec()["bootstrap"];
    assert_eq!(bootstrap["type"], "Merge");
    let added: Value = serde_json::from_str(bootstrap["value"].as_str().unwrap()).unwrap();
    let cluster = &added["static_resources"]["clusters"][0];
    assert_eq!(cluster["name"], channel_cluster());
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    assert_eq!(
        endpoint["address"]["socket_address"],
        json!({"address": "clew.clew-system.svc.cluster.local", "port_value": 8080})
    );
    assert_eq!(list(&added["stats_config"], "stats_tags").len(), 5);
    // Whatever else is Envoy Gateway's stays.
    let fields: Vec<_> = added.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["static_resources", "stats_config"]);
}
