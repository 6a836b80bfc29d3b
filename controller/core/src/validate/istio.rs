//! Istio's parents: where routes attach to them, and which of other people's objects keep a route out.

mod beside;
mod gateway;
mod hidden;
mod mesh;
mod older;
mod policy;
mod service;
mod tokens;
mod unsupported;
mod workloads;

use std::collections::BTreeSet;

pub(super) use gateway::places as gateway_places;
pub(super) use mesh::places as mesh_places;
pub(super) use policy::{called_the_same, taken};
pub(super) use tokens::unverified;
pub(super) use unsupported::fields as unsupported;

use super::attached::{Candidate, Hindrance};
use super::index::Index;
use super::listeners::{At, Place};
use crate::model::{AttachedPolicy, AttachedRoute, Istio, ObjectName, Parent, Proxies, Target};

/// What of other people's keeps a route out of a parent where it has places; `others` are attached there.
pub(super) fn hindrances<'a>(
    candidate: &Candidate<'_>,
    parent: &Parent,
    places: &[Place],
    others: impl Iterator<Item = &'a AttachedRoute>,
    index: &Index<'_>,
) -> Vec<Hindrance> {
    let mut found = Vec::new();
    match parent {
        Parent::IstioGateway(gateway) => {
            found.extend(older::virtual_service(candidate, gateway, places, index));
            found.extend(older::route(candidate, places, others));
        }
        Parent::MeshService(service) => {
            found.extend(mesh::taken(candidate.name, service, others, index));
        }
        _ => {}
    }
    found.extend(hidden::rules(candidate, parent, index));
    found.extend(service::unselected(candidate, parent, index));
    found
}

/// What Istio is to carry out of these routes.
pub(super) fn finish(routes: Vec<AttachedRoute>, policies: Vec<AttachedPolicy>, index: &Index<'_>) -> Istio {
    let used: BTreeSet<_> = routes
        .iter()
        .flat_map(|route| &route.rules)
        .flat_map(|attached| &attached.rule.backends)
        .filter(|share| share.target == Target::Service)
        .map(|share| &share.id.service)
        .collect();
    let services = used
        .into_iter()
        .map(|name| (name.clone(), service::read(name, index)))
        .collect();
    let proxies = |parent: &Parent| match parent {
        Parent::IstioClass(gateway) => Some(Proxies::Of(gateway.clone())),
        Parent::IstioGateway(gateway) => {
            let found = index.istio_gateways.get(gateway)?;
            Some(Proxies::Selected(found.object.spec.selector.clone()))
        }
        _ => None,
    };
    let parents = routes.iter().map(|route| &route.parent);
    let parents = parents.chain(policies.iter().map(|policy| &policy.parent));
    Istio {
        proxies: parents
            .filter_map(|parent| Some((parent.clone(), proxies(parent)?)))
            .collect(),
        services,
        routes,
        policies,
    }
}

/// Where the matches of one of Istio's parents contend.
fn at(parent: &Parent, port: u16) -> At {
    At::Port(parent.clone(), port)
}

/// How the mesh calls a Service.
pub(super) fn host(service: &ObjectName) -> String {
    format!("{}.{}.svc.cluster.local", service.name, service.namespace)
}

#[cfg(test)]
pub(super) mod tests;
