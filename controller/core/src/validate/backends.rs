//! backendRefs → Services → pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use clew_crds::websocket_route::BackendRef;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::age::name_of;
use super::grants;
use super::index::Index;
use crate::model::{BackendId, ObjectName, Pod};
use crate::objects::Sourced;
use crate::refusal::{Code, ObjectRef, Refusal};

/// What is wrong with a backendRef: the field below it, and what to do.
pub(super) type Wrong = (Code, &'static str, String);

/// What a backendRef is called, whether it exists or not.
pub(super) fn id(reference: &BackendRef, namespace: &str) -> BackendId {
    BackendId {
        service: ObjectName::new(
            reference.namespace.as_deref().unwrap_or(namespace),
            &reference.name,
        ),
        port: reference.port.unwrap_or(0),
    }
}

/// The Service's port that a backendRef means.
pub(super) fn port<'a>(
    reference: &BackendRef,
    id: &BackendId,
    (from, namespace): (grants::From, &str),
    index: &Index<'a>,
) -> Result<&'a ServicePort, Wrong> {
    let service = &id.service;
    if !reference.is_service() {
        let message = format!(
            "no {} of group {:?} can be reached; name a Service",
            reference.kind, reference.group
        );
        return Err((Code::BackendUnsupported, ".kind", message));
    }
    if !grants::permits(index, from, namespace, service) {
        let message = format!(
            "Service {service} is in another namespace, where no ReferenceGrant lets {}s of {namespace} use it; add one there, or put route and Service into one namespace",
            from.1
        );
        return Err((Code::BackendForeign, ".namespace", message));
    }
    let Some(found) = index.services.get(service) else {
        return Err((
            Code::BackendMissing,
            ".name",
            format!("there is no Service {service}; add it, or correct the name"),
        ));
    };
    let spec = found.object.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        let message =
            format!("Service {service} is an ExternalName, which has no pods; name a Service with endpoints");
        return Err((Code::BackendUnsupported, ".name", message));
    }
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(port) = ports.iter().find(|port| port.port == i32::from(id.port)) else {
        let known = ports
            .iter()
            .map(|port| port.port.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!(
            "Service {service} has no port {}; it has {}",
            id.port,
            if known.is_empty() { "none" } else { &known }
        );
        return Err((Code::PortMissing, ".port", message));
    };
    if port.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
        return Err((
            Code::BackendUnsupported,
            ".port",
            format!(
                "port {} of Service {service} is not TCP; WebSockets need TCP",
                id.port
            ),
        ));
    }
    if let Some(protocol @ ("https" | "kubernetes.io/wss")) = port.app_protocol.as_deref() {
        let message = format!(
            "port {} of Service {service} speaks TLS (appProtocol {protocol}), which is not done toward backends; name a port without TLS",
            id.port
        );
        return Err((Code::BackendUnsupported, ".port", message));
    }
    Ok(port)
}

/// The pods behind a Service's port.
pub(super) fn pods(
    service: &ObjectName,
    port: &ServicePort,
    index: &Index<'_>,
    refusals: &mut Vec<Refusal>,
) -> Vec<Pod> {
    let mut by_address: BTreeMap<SocketAddr, Pod> = BTreeMap::new();
    for slice in index.slices.get(service).into_iter().flatten() {
        let wanted = port.name.as_deref().unwrap_or_default();
        let number = slice
            .object
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_deref().unwrap_or_default() == wanted)
            .and_then(|port| u16::try_from(port.port?).ok());
        let Some(number) = number else { continue };
        for (i, endpoint) in slice.object.endpoints.iter().flatten().enumerate() {
            match pod(endpoint, number) {
                Ok(Some(pod)) => match by_address.get(&pod.address) {
                    // While endpoints move from slice to slice, one can be in two; what serves somewhere serves.
                    Some(known) if !known.terminating => {}
                    _ => drop(by_address.insert(pod.address, pod)),
                },
                Ok(None) => {}
                Err(address) => refusals.push(no_address(slice, i, &address)),
            }
        }
    }
    // One pod with two addresses (dual stack) is one pod: the smaller address stands for it, and IPv4 is smaller.
    let mut serving = BTreeSet::new();
    let mut pods: Vec<_> = by_address
        .into_values()
        .filter(|pod| pod.terminating || serving.insert(pod.name.clone()))
        .collect();
    pods.sort_unstable();
    pods
}

/// A ready or terminating endpoint; None for one that is neither. The error is what stands where an address should.
fn pod(endpoint: &Endpoint, port: u16) -> Result<Option<Pod>, String> {
    let conditions = endpoint.conditions.as_ref();
    let terminating = conditions
        .and_then(|conditions| conditions.terminating)
        .unwrap_or(false);
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    if !ready && !terminating {
        return Ok(None);
    }
    // The addresses of one endpoint are alike; Kubernetes gives one.
    let written = endpoint.addresses.first().map(String::as_str).unwrap_or_default();
    let ip: IpAddr = written.parse().map_err(|_| written.to_owned())?;
    let address = SocketAddr::new(ip, port);
    let target = endpoint.target_ref.as_ref();
    Ok(Some(Pod {
        name: target
            .and_then(|target| target.name.clone())
            .unwrap_or_else(|| address.to_string()),
        uid: target.and_then(|target| target.uid.clone()).unwrap_or_default(),
        address,
        terminating,
    }))
}

fn no_address(slice: &Sourced<EndpointSlice>, i: usize, address: &str) -> Refusal {
    Refusal {
        code: Code::EndpointInvalid,
        object: ObjectRef {
            kind: "EndpointSlice",
            name: name_of(&slice.object.metadata),
        },
        source: slice.source.clone(),
        field: format!("endpoints[{i}].addresses[0]"),
        message: format!("{address:?} is not an IP address; write one, IPv4 or IPv6"),
        parent: None,
    }
}
