use std::collections::BTreeSet;

use clew_filter_config::plugin::{FailureMode, PluginConfig};
use serde_json::{Value, json};

use super::{Module, Object, envoy_filter, render, wasm_plugin};
use crate::fixture::{Manifests, edits, on_istio, service};
use crate::model::{ObjectName, Proxies};
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

/// What became of live sockets under each kind of edit was tried; these become routes, clusters and endpoints.
const WITHOUT_LISTENERS: [&str; 5] = [
    "DestinationRule",
    "HTTPRoute",
    "ReferenceGrant",
    "Service",
    "VirtualService",
];

#[test]
fn no_edit_of_a_route_renders_what_touches_a_listener() {
    let before = objects(&on_istio());
    assert!(before.len() >= 8, "{before:#?}");
    for (pointer, value) in edits() {
        let mut edited = on_istio();
        Manifests::set(&mut edited.routes, pointer, value);
        let after = objects(&edited);
        assert_ne!(before, after, "{pointer} changes something");
        for object in &after {
            assert!(WITHOUT_LISTENERS.contains(&object.kind), "{pointer}: {object:?}");
        }
    }
}

/// Every place in a value where a key stands.
fn all<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(name, inner)| {
                let mut found = all(inner, key);
                found.extend((name == key).then_some(inner));
                found
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| all(item, key)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn whatever_is_routed_to_is_there() {
    let objects = objects(&on_istio());
    let subsets: BTreeSet<_> = of_kind(&objects, "DestinationRule")
        .flat_map(|rule| {
            let of = |subset: &Value| (rule.spec()["host"].to_string(), subset["name"].to_string());
            rule.spec()["subsets"]
                .as_array()
                .into_iter()
                .flatten()
                .map(of)
                .collect::<Vec<_>>()
        })
        .collect();
    let mut routed = 0;
    for route in of_kind(&objects, "VirtualService") {
        for destination in all(&route.spec(), "destination") {
            let to = (destination["host"].to_string(), destination["subset"].to_string());
            assert!(subsets.contains(&to), "{to:?} of {subsets:?}");
            routed += 1;
        }
    }
    let services: BTreeSet<_> = of_kind(&objects, "Service")
        .map(|service| service.metadata.name.as_str())
        .collect();
    for route in of_kind(&objects, "HTTPRoute") {
        for reference in all(&route.spec(), "backendRefs")
            .into_iter()
            .flat_map(|refs| refs.as_array().unwrap())
        {
            assert!(
                services.contains(reference["name"].as_str().unwrap()),
                "{reference} of {services:?}"
            );
            routed += 1;
        }
    }
    assert!(routed >= 12, "{routed} destinations");
}

/// Istio sets no hash policy where it deals by weight, so that no route at a gateway may have two destinations.
#[test]
fn at_a_gateway_each_route_has_one_backend_and_on_the_mesh_all() {
    let objects = objects(&on_istio());
    for object in of_kind(&objects, "VirtualService") {
        let is_mesh = object.spec()["gateways"] == json!(["mesh"]);
        for http in object.spec()["http"].as_array().unwrap() {
            assert_eq!(
                http["route"].as_array().unwrap().len(),
                if is_mesh { 2 } else { 1 }
            );
        }
    }
    let names: Vec<_> = of_kind(&objects, "HTTPRoute")
        .map(|route| route.spec()["rules"].clone())
        .collect();
    assert_eq!(
        names.len(),
        6,
        "two backends and the last route, each for upgrades and for plain HTTP"
    );
    assert!(
        names.iter().all(|rules| rules.as_array().unwrap().len() == 1),
        "a name stands once"
    );
}

#[test]
fn what_clew_wrote_is_not_somebody_elses() {
    let mut manifests = on_istio();
    let ours = objects(&manifests);
    let as_read = |kind: &str| {
        of_kind(&ours, kind)
            .map(|object| json!(object))
            .collect::<Vec<_>>()
    };
    manifests.virtual_services = as_read("VirtualService");
    manifests.destination_rules = as_read("DestinationRule");
    assert_eq!(objects(&manifests), ours);
}

#[test]
fn a_route_in_another_order_of_manifests_is_the_same_route() {
    let mut manifests = on_istio();
    let before = objects(&manifests);
    manifests.services.push(service("unused"));
    manifests.services.reverse();
    manifests.endpoint_slices.reverse();
    assert_eq!(objects(&manifests), before);
}

#[test]
fn the_plugin_knows_a_gateway_and_no_route() {
    let config = PluginConfig {
        gateway: "istio=ingressgateway".to_owned(),
        cluster: "outbound|9900||clew.clew.svc.cluster.local".to_owned(),
        token: "token".to_owned(),
        failure_mode: FailureMode::Closed,
        access_log: false,
        installation: String::new(),
    };
    let module = Module {
        url: "http://clew.clew:9900/clew.wasm".to_owned(),
        sha256: "0".repeat(64),
    };
    let selected = Proxies::Selected([("istio".to_owned(), "ingressgateway".to_owned())].into());
    assert_eq!(selected.to_string(), config.gateway);
    let plugin = json!(wasm_plugin(&selected, "istio-system", &module, &config));
    assert_eq!(
        plugin,
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": {
                "name": "ingressgateway-clew",
                "namespace": "istio-system",
                "labels": {"app.kubernetes.io/managed-by": "clew"},
            },
            "spec": {
                "selector": {"matchLabels": {"istio": "ingressgateway"}},
                "url": module.url,
                "sha256": module.sha256,
                "phase": "STATS",
                "failStrategy": "FAIL_RELOAD",
                "pluginName": "clew",
                "pluginConfig": {
                    "gateway": "istio=ingressgateway",
                    "cluster": config.cluster,
                    "token": "token",
                    "failureMode": "Closed",
                },
            },
        })
    );
    let filter = json!(envoy_filter(&selected, "istio-system"));
    assert_eq!(filter["metadata"], plugin["metadata"]);
    assert_eq!(
        filter["spec"],
        json!({
            "workloadSelector": {"labels": {"istio": "ingressgateway"}},
            // Routes, so that no listener changes.
            "configPatches": [{
                "applyTo": "VIRTUAL_HOST",
                "match": {"context": "GATEWAY"},
                "patch": {"operation": "MERGE", "value": {"request_body_buffer_limit": 4_194_304}},
            }],
        })
    );
    let of_class = Proxies::Of(ObjectName::new("infra", "edge"));
    let filter = envoy_filter(&of_class, "infra");
    assert_eq!(filter.spec()["targetRefs"][0]["name"], "edge");
    let plugin = wasm_plugin(&of_class, "infra", &module, &config);
    assert_eq!(plugin.spec()["targetRefs"][0]["name"], "edge");
    assert!(plugin.spec().get("selector").is_none());
}
