use clew_crds::websocket_route::ParentReference;

use super::Target;
use super::class::{Class, GATEWAY_CLASS, ISTIO_CLASS};
use super::index::Index;
use super::istio;
use super::listeners::{Listeners, Place, Section};
use crate::model::{Hostname, ObjectName, Parent};
use crate::objects::{AllowedRoutes, ParentKind};
use crate::refusal::Code;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ISTIO: &str = "networking.istio.io";

/// Why a route cannot attach: the field below the parentRef, and what to do.
#[derive(Clone)]
pub(super) struct NoPlace {
    pub(super) code: Code,
    pub(super) field: &'static str,
    pub(super) message: String,
}

pub(super) fn no_place(code: Code, field: &'static str, message: String) -> NoPlace {
    NoPlace { code, field, message }
}

/// What a parentRef names.
pub(super) fn parent(
    reference: &ParentReference,
    namespace: &str,
    index: &Index<'_>,
    target: Target,
) -> Result<Parent, NoPlace> {
    let name = ObjectName::new(
        reference.namespace.as_deref().unwrap_or(namespace),
        &reference.name,
    );
    match (reference.group.as_str(), reference.kind.as_str(), target) {
        (GATEWAY_API, "Gateway", _) => gateway(name, index, target),
        (ISTIO, "Gateway", Target::Every) => {
            if index.istio_gateways.contains_key(&name) {
                Ok(Parent::IstioGateway(name))
            } else {
                not_installed(ParentKind::IstioGateway, index)?;
                Err(not_found("Istio Gateway", &name, index.istio_gateways.keys()))
            }
        }
        ("", "Service", Target::Every) => {
            if index.services.contains_key(&name) {
                Ok(Parent::MeshService(name))
            } else {
                // Of Services there are many, and most are nobody's parent.
                let message = format!("there is no Service {name}; add it, or correct the name");
                Err(no_place(Code::ParentNotFound, ".name", message))
            }
        }
        (group, kind, _) => {
            let served = match target {
                Target::Standalone => {
                    format!("stand-alone Envoy serves Gateways of class {GATEWAY_CLASS} only")
                }
                Target::Every => {
                    "served are Gateways of gateway.networking.k8s.io or networking.istio.io, and Services"
                        .to_owned()
                }
            };
            let message = format!("{kind:?} of group {group:?} is no parent here; {served}");
            Err(no_place(Code::ParentNotServed, ".kind", message))
        }
    }
}

fn not_found<'n>(kind: &str, name: &ObjectName, known: impl Iterator<Item = &'n ObjectName>) -> NoPlace {
    let known = known.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() {
        "there are none at all".to_owned()
    } else {
        format!("there are {known}")
    };
    no_place(
        Code::ParentNotFound,
        ".name",
        format!("there is no {kind} {name}; {known}"),
    )
}

/// Where a kind is not installed, whether there is a parent of it is decided when it is.
fn not_installed(kind: ParentKind, index: &Index<'_>) -> Result<(), NoPlace> {
    if !index.unknown_parents.contains(&kind) {
        return Ok(());
    }
    let (group, whose) = match kind {
        ParentKind::Gateway => (GATEWAY_API, "Gateway API's"),
        ParentKind::IstioGateway => (ISTIO, "Istio's"),
    };
    let message = format!(
        "the API server knows no Gateways of {group} yet; install {whose} kinds, and the route is looked at again, or name another parent"
    );
    Err(no_place(Code::ParentKindMissing, ".kind", message))
}

/// A Gateway of Gateway API is what its class says.
fn gateway(gateway: ObjectName, index: &Index<'_>, target: Target) -> Result<Parent, NoPlace> {
    let Some(found) = index.gateways.get(&gateway) else {
        not_installed(ParentKind::Gateway, index)?;
        return Err(not_found("Gateway", &gateway, index.gateways.keys()));
    };
    let class = found.object.spec.gateway_class_name.as_str();
    match (Class::of(class, index), target) {
        (Class::Standalone, _) => Ok(Parent::Standalone(gateway)),
        (Class::Istio, Target::Every) => Ok(Parent::IstioClass(gateway)),
        (Class::EnvoyGateway, Target::Every) => Ok(Parent::EnvoyGateway(gateway)),
        (Class::Other, Target::Every) => Ok(Parent::OtherClass(gateway)),
        _ => {
            let served = match target {
                Target::Standalone => format!("stand-alone Envoy serves class {GATEWAY_CLASS} only"),
                Target::Every => format!(
                    "known are {GATEWAY_CLASS}, {ISTIO_CLASS} and the GatewayClasses that are there; add its own, whose controllerName says who serves it"
                ),
            };
            let message = format!("Gateway {gateway} is of class {class:?}; {served}");
            Err(no_place(Code::ParentNotServed, ".name", message))
        }
    }
}

/// Where the hosts of a route are looked up at one of its parents; never empty.
pub(super) fn places(
    namespace: &str,
    parent: &Parent,
    reference: &ParentReference,
    hostnames: &[Hostname],
    listeners: &Listeners<'_>,
    index: &Index<'_>,
) -> Result<Vec<Place>, NoPlace> {
    match parent {
        Parent::Standalone(_) | Parent::IstioClass(_) | Parent::EnvoyGateway(_) | Parent::OtherClass(_) => {}
        Parent::IstioGateway(name) => {
            let Some(gateway) = index.istio_gateways.get(name) else {
                return Err(not_found("Istio Gateway", name, index.istio_gateways.keys()));
            };
            return istio::gateway_places(parent, &gateway.object, namespace, reference.port, hostnames);
        }
        Parent::MeshService(_) => {
            return istio::mesh_places(parent, reference.section_name.as_deref(), reference.port, index);
        }
    }
    let sections = listeners.sections(parent).unwrap_or_default();
    let selected: Vec<_> = sections
        .iter()
        .filter(|section| {
            reference
                .section_name
                .as_ref()
                .is_none_or(|name| *name == section.listener.name)
        })
        .filter(|section| reference.port.is_none_or(|port| port == section.listener.port))
        .collect();
    if selected.is_empty() {
        let names = sections
            .iter()
            .map(|section| format!("{} ({})", section.listener.name, section.listener.port));
        let message = format!(
            "{parent} has no such listener; it has {}",
            names.collect::<Vec<_>>().join(", ")
        );
        let field = if reference.section_name.is_some() {
            ".sectionName"
        } else {
            ".port"
        };
        return Err(no_place(Code::SectionNotFound, field, message));
    }
    let taken = |section: &Section<'_>| {
        takes_namespace(
            section.listener.allowed_routes.as_ref(),
            &parent.name().namespace,
            namespace,
            index,
        )
    };
    attach(namespace, parent, hostnames, sections, &selected, taken)
}

fn attach(
    namespace: &str,
    parent: &Parent,
    hostnames: &[Hostname],
    sections: &[Section<'_>],
    selected: &[&Section<'_>],
    takes_namespace: impl Fn(&Section<'_>) -> bool,
) -> Result<Vec<Place>, NoPlace> {
    let bound: Vec<_> = selected.iter().filter(|section| !section.at.is_empty()).collect();
    // By Gateway API's rules a listener's protocol says which kinds of route it takes. Only here is it a mistake of the Gateway.
    if bound.is_empty() && !matches!(parent, Parent::Standalone(_)) {
        let message = format!(
            "no listener of {parent} that the parentRef selects speaks HTTP or HTTPS, so it takes no HTTPRoutes; name another listener"
        );
        return Err(no_place(Code::KindNotAllowed, "", message));
    }
    if bound.is_empty() {
        let message =
            format!("{parent} has this listener, but it is refused itself; its own message says why");
        return Err(no_place(Code::ListenerRefused, "", message));
    }
    // What a foreign controller sees of the route is its HTTPRoute.
    let kind = match parent.takes_http_routes() {
        true => (GATEWAY_API, "HTTPRoute"),
        false => (clew_crds::GROUP, "WebSocketRoute"),
    };
    let fitting: Vec<_> = bound
        .into_iter()
        .filter(|section| takes_kind(section.listener.allowed_routes.as_ref(), kind))
        .collect();
    if fitting.is_empty() {
        let message = format!(
            "no listener of {parent} takes {}s; add {{group: {}, kind: {}}} to its allowedRoutes.kinds, or remove that list",
            kind.1, kind.0, kind.1
        );
        return Err(no_place(Code::KindNotAllowed, "", message));
    }
    let open: Vec<_> = fitting
        .into_iter()
        .filter(|section| takes_namespace(section))
        .collect();
    if open.is_empty() {
        let message = format!(
            "no listener of {parent} takes routes of namespace {namespace}; let it with allowedRoutes.namespaces: {{from: All}}, or by the namespace's labels"
        );
        return Err(no_place(Code::NamespaceNotAllowed, ".namespace", message));
    }
    let mut places: Vec<Place> = Vec::new();
    let mut isolating = None;
    for section in &open {
        for hostname in hostnames {
            let Some(hostname) = hostname.intersection(&section.hostname) else {
                continue;
            };
            for at in &section.at {
                // The hosts of a more specific listener on the socket are that listener's alone.
                let other = sections.iter().find(|other| {
                    other.at.contains(at)
                        && other.hostname != section.hostname
                        && section.hostname.covers(&other.hostname)
                        && other.hostname.covers(hostname)
                });
                let place = Place {
                    at: at.clone(),
                    hostname: hostname.clone(),
                };
                match other {
                    Some(other) => isolating = Some((other, hostname)),
                    None if places.contains(&place) => {}
                    None => places.push(place),
                }
            }
        }
    }
    if let (Some((other, hostname)), []) = (isolating, &*places) {
        let message = format!(
            "listener {} of {parent} has {hostname} for itself, and the parentRef does not select it; name that one, or leave out which",
            other.listener.name
        );
        return Err(no_place(Code::NoMatchingHostname, "", message));
    }
    if places.is_empty() {
        let listed = |hostnames: &mut dyn Iterator<Item = &Hostname>| {
            let hostnames: Vec<_> = hostnames.map(ToString::to_string).collect();
            hostnames.join(", ")
        };
        let served = listed(&mut open.iter().map(|section| &section.hostname));
        let wanted = listed(&mut hostnames.iter());
        let message = format!("the listeners serve {served}, the route wants {wanted}; make them overlap");
        return Err(no_place(Code::NoMatchingHostname, "", message));
    }
    Ok(places)
}

fn takes_kind(allowed: Option<&AllowedRoutes>, (group, kind): (&str, &str)) -> bool {
    allowed.is_none_or(|allowed| {
        allowed.kinds.is_empty()
            || allowed
                .kinds
                .iter()
                .any(|taken| taken.group.as_deref().unwrap_or(GATEWAY_API) == group && taken.kind == kind)
    })
}

fn takes_namespace(allowed: Option<&AllowedRoutes>, gateways: &str, routes: &str, index: &Index<'_>) -> bool {
    let namespaces = allowed.map(|allowed| &allowed.namespaces);
    match namespaces
        .and_then(|namespaces| namespaces.from.as_deref())
        .unwrap_or("Same")
    {
        "All" => true,
        "Same" => gateways == routes,
        "Selector" => namespaces
            .and_then(|namespaces| namespaces.selector.as_ref())
            .is_some_and(|selector| selector.selects(routes, index.namespaces.get(routes))),
        _ => false,
    }
}
