//! EDS: one file for each backend. A pod that leaves is not in it: Envoy keeps the streams that it has there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::file::{File, file_name};
use crate::model::{Backend, BackendId, World};
use crate::render::rules::Drains;

pub(super) fn files(world: &World, drains: &Drains) -> BTreeMap<String, File> {
    world
        .backends
        .iter()
        .map(|(id, backend)| (path(id), file(id, backend, drains)))
        .collect()
}

/// Where the endpoints of a backend are.
pub(super) fn path(id: &BackendId) -> String {
    let service = &id.service;
    format!(
        "endpoints/{}.{}.{}.json",
        file_name(&service.namespace),
        file_name(&service.name),
        id.port
    )
}

fn file(id: &BackendId, backend: &Backend, drains: &Drains) -> File {
    let mut addresses: Vec<_> = backend
        .pods
        .iter()
        .filter(|pod| !drains.is_leaving(id, pod))
        .map(|pod| pod.address)
        .collect();
    addresses.sort_unstable();
    let hosts: Vec<_> = addresses.into_iter().map(host).collect();
    File::new(&[json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": id.to_string(),
        "endpoints": [{"lb_endpoints": hosts}],
    })])
}

/// An endpoint at an address.
pub(super) fn host(address: SocketAddr) -> Value {
    json!({"endpoint": {"address": super::address(address)}})
}
