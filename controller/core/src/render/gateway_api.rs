//! World → the objects that gateways of Gateway API carry out which are not Istio's: Envoy Gateway's, and those of any other
//! class.
//!
//! Not one of the objects of a route touches a listener: HTTPRoutes, ReferenceGrants and BackendTrafficPolicies become routes,
//! clusters and endpoints. The module is installed once for each gateway ([`extension_policy`], with [`envoy_proxy`],
//! [`client_traffic_policy`] and [`placeholder`]), and no route edits these.

mod backend_traffic_policy;
mod client_traffic_policy;
mod envoy_proxy;
mod extension_policy;
mod http_route;
mod placeholder;

pub(crate) use backend_traffic_policy::load_balancer;
pub use client_traffic_policy::{BUFFER_BYTES, client_traffic_policy};
pub use envoy_proxy::{channel_cluster, envoy_proxy};
pub use extension_policy::extension_policy;
pub(crate) use http_route::names;
pub use placeholder::placeholder;

use serde_json::{Value, json};

use super::grant;
use super::object::Object;
use crate::model::{GatewayApi, ObjectName, World};

/// Envoy Gateway's own kinds (1.9).
const ENVOY_GATEWAY_API: &str = "gateway.envoyproxy.io/v1alpha1";

/// Every object, in the order in which they must be written: what comes last may refer to what came before.
#[must_use]
pub fn render(world: &World) -> Vec<Object> {
    let gateways = &world.gateway_api;
    [
        grants(gateways),
        backend_traffic_policy::objects(gateways),
        http_route::objects(gateways),
    ]
    .concat()
}

/// The user's own ReferenceGrants are for WebSocketRoutes, and what is written are HTTPRoutes.
fn grants(gateways: &GatewayApi) -> Vec<Object> {
    grant::objects(gateways.routes.iter(), |_, _, share| share.id.service.clone())
}

/// A policy's way to name an object of its own namespace.
fn target(kind: &str, name: &str) -> Value {
    json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": name})
}

/// What every object of a gateway's installation is called.
#[must_use]
pub fn installed(gateway: &ObjectName) -> ObjectName {
    ObjectName::new(
        &gateway.namespace,
        super::object::name(&gateway.name, "clew", super::object::SUBDOMAIN),
    )
}

#[cfg(test)]
mod tests;
