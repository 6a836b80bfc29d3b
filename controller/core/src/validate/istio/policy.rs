//! What keeps a policy from somebody's HTTPRoute at a Gateway of Istio's class. The DestinationRule that it needs is in the gateway's namespace, where
//! Istio looks first, and what Istio finds there it takes whole: for that gateway nothing else that anybody says of the Service would hold any more.

use super::host;
use super::service::all_rules_of;
use super::workloads::Workloads;
use crate::model::{AttachedRoute, BackendId, ObjectName, Parent};
use crate::objects::{DestinationRuleSpec, HttpRoute, Scope, Sourced};
use crate::validate::age::name_of;
use crate::validate::grants;
use crate::validate::index::Index;

/// Whose DestinationRule ours would take the place of.
pub(in crate::validate) fn taken(
    service: &ObjectName,
    gateway: &Parent,
    routes: &[AttachedRoute],
    index: &Index<'_>,
) -> Option<String> {
    let pods = Workloads::of(gateway, index)?;
    let host = host(service);
    for clients in pods.namespaces() {
        let holds = |namespace: &str, spec: &DestinationRuleSpec| match &spec.workload_selector {
            // Of its own namespace's pods only.
            Some(selector) => {
                let scope = Scope {
                    selector: selector.clone(),
                    ..Scope::default()
                };
                namespace == clients && pods.some_in(clients, &scope)
            }
            None => {
                let reaches = |to: &String| to == "*" || to == clients || (to == "." && namespace == clients);
                spec.export_to.is_empty() || spec.export_to.iter().any(reaches)
            }
        };
        for namespace in [clients, &service.namespace, index.root_namespace] {
            let found = all_rules_of(namespace, &host, index).find(|(_, spec)| holds(namespace, spec));
            if let Some((name, spec)) = found {
                return Some(format!(
                    "DestinationRule {name} for {} holds for Service {service} at {gateway}, and the one that the policy needs would take its place there; remove it, or write a WebSocketRoute, which goes along with it",
                    spec.host
                ));
            }
        }
    }
    // Ours for a WebSocketRoute is a part of the Service that other gateways' pods there, too, have to find.
    let is_subset = |route: &&AttachedRoute| {
        matches!(route.parent, Parent::IstioGateway(_) | Parent::MeshService(_))
            && route
                .rules
                .iter()
                .flat_map(|attached| &attached.rule.backends)
                .any(|share| share.id.service == *service)
    };
    routes.iter().find(is_subset).map(|route| {
        format!(
            "WebSocketRoute {} has a DestinationRule for Service {service}, and the one that the policy needs would take its place at {gateway}; write a WebSocketRoute for this HTTPRoute's sessions too",
            route.name
        )
    })
}

/// Another HTTPRoute of a Gateway with a rule of the same name to the same backend, which Istio calls as it calls this one.
pub(in crate::validate) fn called_the_same(
    (of, section): (&ObjectName, &str),
    backend: &BackendId,
    gateway: &ObjectName,
    index: &Index<'_>,
) -> Option<ObjectName> {
    let is_there = |other: &&Sourced<HttpRoute>| {
        let name = name_of(&other.object.metadata);
        let is_at = other.object.spec.parent_refs.iter().any(|parent| {
            let namespace = parent.namespace.as_deref().unwrap_or(&name.namespace);
            parent.name == gateway.name && gateway.namespace == namespace
        });
        is_at
            && name != *of
            && other.object.spec.rules.iter().any(|rule| {
                let leads_there = rule.backend_refs.iter().any(|to| {
                    let reference = &to.reference;
                    let namespace = reference.namespace.as_deref().unwrap_or(&name.namespace);
                    let is_it = reference.name == backend.service.name
                        && backend.service.namespace == namespace
                        && reference.port == Some(backend.port);
                    // What leads nowhere for want of a grant is nobody's rule, and takes nothing from anybody.
                    is_it && grants::permits(index, grants::HTTP_ROUTE, &name.namespace, &backend.service)
                });
                rule.name.as_deref() == Some(section) && leads_there
            })
    };
    let mut all = index.http_routes.values().copied();
    all.find(is_there).map(|other| name_of(&other.object.metadata))
}
