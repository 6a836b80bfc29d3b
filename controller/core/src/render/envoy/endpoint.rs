//! The endpoints inside a cluster. A pod that leaves is not among them: Envoy keeps the streams that it has there.
//!
//! They are not EDS: Envoy 1.40 opens an inotify instance for each file that it subscribes to, and aborts where the
//! kernel's limit (128 a user by default) is reached.

use std::net::SocketAddr;

use serde::Serialize;

use super::Address;
use crate::model::{Backend, BackendId};
use crate::render::rules::Drains;

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
#[derive(Serialize)]
pub(super) struct LoadAssignment {
    cluster_name: String,
    endpoints: [Locality; 1],
}

impl LoadAssignment {
    /// The pods of a backend that take new sessions, in the order of their addresses.
    pub(super) fn of(cluster: &str, id: &BackendId, backend: &Backend, drains: &Drains) -> Self {
        let mut addresses: Vec<_> = backend
            .pods
            .iter()
            .filter(|pod| !drains.is_leaving(id, pod))
            .map(|pod| pod.address)
            .collect();
        addresses.sort_unstable();
        Self::at(cluster, addresses)
    }

    /// Endpoints at these addresses.
    pub(super) fn at(cluster: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let lb_endpoints = addresses.into_iter().map(host).collect();
        Self {
            cluster_name: cluster.to_owned(),
            endpoints: [Locality { lb_endpoints }],
        }
    }
}

#[derive(Serialize)]
struct Locality {
    lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Serialize)]
struct LbEndpoint {
    endpoint: Endpoint,
}

#[derive(Serialize)]
struct Endpoint {
    address: Address,
}

fn host(address: SocketAddr) -> LbEndpoint {
    LbEndpoint {
        endpoint: Endpoint {
            address: super::address(address),
        },
    }
}
