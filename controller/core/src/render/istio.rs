//! World → the objects that Istio carries out.
//!
//! Not one of them touches a listener: VirtualServices, HTTPRoutes, DestinationRules and Services become routes, clusters and
//! endpoints. The module is installed once for each gateway, by [`wasm_plugin`] with an [`envoy_filter`], and no route edits these.

mod destination_rule;
mod envoy_filter;
mod policy;
mod second;
mod service;
mod virtual_service;
mod wasm_plugin;

pub use super::object::{Metadata, Object};
pub use envoy_filter::envoy_filter;
pub use wasm_plugin::{Module, wasm_plugin};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::{ObjectName, Parent, Proxies, World};
use smol_str::SmolStr;

/// Every object, in the order in which they must be written: what comes last may refer to what came before.
#[must_use]
pub fn render(world: &World) -> Vec<Object> {
    let istio = &world.istio;
    [
        service::objects(istio),
        destination_rule::objects(istio),
        second::grants(istio),
        virtual_service::objects(istio),
        second::http_routes(istio),
    ]
    .concat()
}

/// How the mesh calls a Service.
fn host(service: &ObjectName) -> String {
    format!("{}.{}.svc.cluster.local", service.name, service.namespace)
}

/// What an object that acts on a gateway's pods is called after, and how it says which pods these are.
fn acts_on(proxies: &Proxies, by_labels: impl Fn(&BTreeMap<String, String>) -> Value) -> (SmolStr, Value) {
    match proxies {
        Proxies::Of(gateway) | Proxies::OfEnvoyGateway(gateway) => {
            let target = json!({
                "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway.name,
            });
            (gateway.name.clone(), json!({"targetRefs": [target]}))
        }
        Proxies::Selected(labels) => {
            let values: Vec<_> = labels.values().map(String::as_str).collect();
            (values.join("-").to_ascii_lowercase().into(), by_labels(labels))
        }
    }
}

/// Whether a parent has routes of Istio's own, which can name a subset.
fn names_subsets(parent: &Parent) -> bool {
    !matches!(parent, Parent::IstioClass(_))
}

#[cfg(test)]
mod tests;
