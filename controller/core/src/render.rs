//! World → what each target is told. Nothing here can fail: whatever can, fails in [`validate`](crate::validate).

pub mod envoy;
pub mod gateway_api;
mod grant;
mod http_route;
pub mod istio;
mod object;
pub mod rules;
mod step;

pub use object::{Metadata, Object, generated};

use std::collections::BTreeMap;

use crate::model::World;

/// Every object that a world becomes in a cluster, each once.
#[must_use]
pub fn objects(world: &World) -> Vec<Object> {
    let mut objects = BTreeMap::new();
    for object in istio::render(world).into_iter().chain(gateway_api::render(world)) {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        let key = (object.kind, namespace.clone(), name.clone());
        // Two targets may need the same ReferenceGrant.
        let known = objects.entry(key).or_insert_with(|| object.clone());
        known.owners.extend(object.owners);
    }
    objects.into_values().collect()
}

/// Bytes that a stream may hold, in each direction (Envoy 1.36, where `request_body_buffer_limit` is a limit of the whole
/// stream). The filter has the bytes of a direction that is armed added to Envoy's buffer, and one event brings as much as a
/// connection reads at once: its own limit, 1 MiB, and up to 128 KiB more. Beyond the stream's limit Envoy resets it.
const STREAM_BUFFER_BYTES: u32 = 4 << 20;

/// The label of every object that Clew writes into a cluster.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "clew";
