//! What Envoy may hold for a stream of a gateway, for which Istio has no word of its own. It is installed with the module.

use serde_json::json;

use super::acts_on;
use crate::model::{ObjectName, Proxies};
use crate::render::STREAM_BUFFER_BYTES;
use crate::render::object::{Object, SUBDOMAIN, name};

/// The limit of what a stream may hold on a gateway's pods, where a [`wasm_plugin`](super::wasm_plugin) of theirs acts. It goes
/// into the routes, which cuts nothing.
#[must_use]
pub fn envoy_filter(proxies: &Proxies, namespace: &str) -> Object {
    let (stem, mut spec) = acts_on(proxies, |labels| json!({"workloadSelector": {"labels": labels}}));
    spec["configPatches"] = json!([{
        "applyTo": "VIRTUAL_HOST",
        "match": {"context": "GATEWAY"},
        "patch": {"operation": "MERGE", "value": {"request_body_buffer_limit": STREAM_BUFFER_BYTES}},
    }]);
    let called = ObjectName::new(namespace, name(&stem, "clew", SUBDOMAIN));
    Object::new("networking.istio.io/v1alpha3", "EnvoyFilter", called, &spec, [])
}
