//! A Service on the mesh: the clients' sidecars route, and each host has one VirtualService.

use k8s_openapi::api::core::v1::ServicePort;

use super::{Hindrance, at, host};
use crate::model::{AttachedRoute, Hostname, ObjectName, Parent};
use crate::refusal::Code;
use crate::validate::index::Index;
use crate::validate::listeners::Place;
use crate::validate::parents::{NoPlace, no_place};

/// The ports of the Service; never empty. The hostnames of a route mean nothing here: the Service has one.
pub(in crate::validate) fn places(
    parent: &Parent,
    section: Option<&str>,
    port: Option<u16>,
    index: &Index<'_>,
) -> Result<Vec<Place>, NoPlace> {
    let service = index.services.get(parent.name());
    let ports = service
        .and_then(|service| service.object.spec.as_ref()?.ports.as_deref())
        .unwrap_or_default();
    let selected: Vec<_> = ports
        .iter()
        .filter(|known| section.is_none_or(|name| known.name.as_deref() == Some(name)))
        .filter(|known| port.is_none_or(|port| i32::from(port) == known.port))
        .collect();
    if selected.is_empty() {
        let known: Vec<_> = ports.iter().map(|port| port.port.to_string()).collect();
        let message = format!("{parent} has no such port; it has {}", known.join(", "));
        let field = if section.is_some() {
            ".sectionName"
        } else {
            ".port"
        };
        return Err(no_place(Code::SectionNotFound, field, message));
    }
    let places: Vec<_> = selected
        .into_iter()
        .filter(|port| speaks_http(port))
        .filter_map(|port| u16::try_from(port.port).ok())
        .map(|port| Place {
            at: at(parent, port),
            hostname: Hostname::Any,
        })
        .collect();
    if places.is_empty() {
        let message = format!(
            "to Istio no such port of {parent} speaks HTTP; say so with appProtocol: http, or a port name that begins with http"
        );
        return Err(no_place(Code::ServerUnsuited, ".port", message));
    }
    Ok(places)
}

/// What Istio takes a port for: its appProtocol, else the first part of its name; what it does not know it looks into.
fn speaks_http(port: &ServicePort) -> bool {
    let by_name = || port.name.as_deref().and_then(|name| name.split('-').next());
    !matches!(
        port.app_protocol.as_deref().or_else(by_name),
        Some("tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" | "udp" | "kubernetes.io/wss")
    ) && port.protocol.as_deref().unwrap_or("TCP") == "TCP"
}

/// Who has the Service's host already.
pub(super) fn taken<'a>(
    route: &ObjectName,
    service: &ObjectName,
    mut others: impl Iterator<Item = &'a AttachedRoute>,
    index: &Index<'_>,
) -> Option<Hindrance> {
    let host = host(service);
    let refused = |who: String| {
        let message = format!(
            "{who} routes {host} on the mesh already, and only one counts there; put the rules into it, or attach the route to a Gateway"
        );
        Some((Code::MeshHostTaken, String::new(), message))
    };
    // A route of the Service's namespace is for all clients, any other one for those of its own.
    let is_same = |other: &ObjectName| other != route && (other.namespace == route.namespace);
    if let Some(other) = others.find(|other| is_same(&other.name)) {
        return refused(format!("WebSocketRoute {}", other.name));
    }
    let theirs = index.virtual_services.iter().find(|(name, found)| {
        let spec = &found.object.spec;
        let full = |written: &str| match written {
            short if !short.contains('.') => format!("{short}.{}.svc.cluster.local", name.namespace),
            long => long.to_owned(),
        };
        (spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == "mesh"))
            && spec.hosts.iter().any(|written| full(written) == host)
    });
    theirs.and_then(|(name, _)| refused(format!("VirtualService {name}")))
}
