//! EDS: one file for each backend. A pod that leaves is not in it: Envoy keeps the streams that it has there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::Address;
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
    File::new(&[ClusterLoadAssignment {
        r#type: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name: id.to_string(),
        endpoints: [Locality {
            lb_endpoints: addresses.into_iter().map(host).collect(),
        }],
    }])
}

#[derive(Serialize)]
struct ClusterLoadAssignment {
    #[serde(rename = "@type")]
    r#type: &'static str,
    cluster_name: String,
    endpoints: [Locality; 1],
}

#[derive(Serialize)]
struct Locality {
    lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Serialize)]
pub(super) struct LbEndpoint {
    endpoint: Endpoint,
}

#[derive(Serialize)]
struct Endpoint {
    address: Address,
}

/// An endpoint at an address.
pub(super) fn host(address: SocketAddr) -> LbEndpoint {
    LbEndpoint {
        endpoint: Endpoint {
            address: super::address(address),
        },
    }
}
