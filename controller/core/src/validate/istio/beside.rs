//! Other people's objects for the pods of a gateway that has routes of ours: an edit of them ends its sessions, or they change
//! what we write. They are named, and left as they are.

mod harm;

use std::collections::BTreeSet;

use super::host;
use super::workloads::Workloads;
use crate::model::{AttachedRoute, Hostname, ObjectName, Parent};
use crate::objects::{ConfigPatch, Reach, Scope, Source};
use crate::refusal::ObjectRef;
use crate::validate::attached::Attached;
use crate::validate::index::Index;
use crate::validate::{Concern, Notice};

/// What begins the names of the routes that we write.
const OUR_ROUTES: &str = "clew.";

impl Attached {
    /// Everything of others that is worth knowing, each object once.
    pub(in crate::validate) fn notices(&self, index: &Index<'_>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (parent, routes) in &self.at {
            let pods = Workloads::of(parent, index);
            let routes: Vec<_> = routes.iter().filter_map(|i| self.routes.get(*i)).collect();
            let mut add = |kind, name: &ObjectName, source: &Source, concern, message| {
                let object = ObjectRef {
                    kind,
                    name: name.clone(),
                };
                if !notices
                    .iter()
                    .any(|one: &Notice| one.object == object && one.concern == concern)
                {
                    notices.push(Notice {
                        concern,
                        object,
                        source: source.clone(),
                        message,
                    });
                }
            };
            let is_here = |name: &ObjectName, scope: &Scope| {
                let pods = pods.as_ref();
                pods.is_some_and(|pods| pods.some_in(&name.namespace, scope))
            };
            let cuts = || {
                format!(
                    "it is for the pods of {parent}, where every edit of it, and its removal, ends all open sessions; give WebSockets a gateway of their own, or edit it when that does no harm"
                )
            };
            for (name, found) in &index.request_authentications {
                if is_here(name, &found.object.spec.scope) {
                    add(
                        "RequestAuthentication",
                        name,
                        &found.source,
                        Concern::Cuts,
                        cuts(),
                    );
                }
            }
            for (name, found) in &index.authorization_policies {
                if is_here(name, &found.object.spec.scope) {
                    add("AuthorizationPolicy", name, &found.source, Concern::Cuts, cuts());
                }
            }
            for (name, found) in &index.envoy_filters {
                let spec = &found.object.spec;
                if !is_here(name, &spec.scope) {
                    continue;
                }
                for patch in &spec.config_patches {
                    let Some(concern) = touches(patch, parent, &routes) else {
                        continue;
                    };
                    let harms = harm::harms(patch);
                    if concern == Concern::Cuts {
                        add("EnvoyFilter", name, &found.source, Concern::Cuts, cuts());
                    } else if harms.is_empty() {
                        let message = format!(
                            "it patches {} at {parent}, also what Clew writes there; what that does to sessions nobody checks; narrow its match",
                            patch.apply_to
                        );
                        add("EnvoyFilter", name, &found.source, Concern::Patches, message);
                    }
                    for (concern, message) in harms {
                        let message = format!("at {parent} {message}");
                        add("EnvoyFilter", name, &found.source, concern, message);
                    }
                }
            }
            for other in index.bystanders {
                let (is_here, message) = match &other.reach {
                    Reach::Pods(scope) => (is_here(&other.name, scope), cuts()),
                    Reach::Gateways(names) => (is_named(parent, names), may_cut(parent)),
                };
                if is_here {
                    add(
                        other.kind,
                        &other.name,
                        &Source::default(),
                        Concern::Cuts,
                        message,
                    );
                }
            }
        }
        notices
    }
}

fn is_named(parent: &Parent, gateways: &BTreeSet<ObjectName>) -> bool {
    matches!(parent, Parent::EnvoyGateway(name) if gateways.contains(name))
}

fn may_cut(parent: &Parent) -> String {
    format!(
        "it acts on the listeners of {parent}, and an edit that changes these, as its removal does, ends all open sessions there; give WebSockets a gateway of their own, or edit it when that does no harm"
    )
}

/// What a patch of a gateway's pods does to what is ours.
fn touches(patch: &ConfigPatch, parent: &Parent, routes: &[&AttachedRoute]) -> Option<Concern> {
    let matching = &patch.r#match;
    let context = matching["context"].as_str().unwrap_or("ANY");
    if !matches!(context, "ANY" | "GATEWAY") {
        return None;
    }
    match patch.apply_to.as_str() {
        "LISTENER" | "LISTENER_FILTER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER" => {
            Some(Concern::Cuts)
        }
        "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE" => {
            let host = &matching["routeConfiguration"]["vhost"];
            let is_route = host["route"]["name"]
                .as_str()
                .is_none_or(|name| name.starts_with(OUR_ROUTES));
            // A virtual host is called as its host and port.
            let is_host = host["name"].as_str().is_none_or(|name| {
                let name = name.rsplit_once(':').map_or(name, |(host, _)| host);
                routes
                    .iter()
                    .flat_map(|route| &route.hostnames)
                    .any(|hostname| *hostname == Hostname::new(name))
            });
            (is_route && is_host).then_some(Concern::Patches)
        }
        "CLUSTER" => is_our_cluster(matching, parent, routes).then_some(Concern::Patches),
        _ => None,
    }
}

fn is_our_cluster(matching: &serde_json::Value, parent: &Parent, routes: &[&AttachedRoute]) -> bool {
    let cluster = &matching["cluster"];
    let backends = routes
        .iter()
        .flat_map(|route| &route.rules)
        .flat_map(|attached| &attached.rule.backends);
    let mut hosts = backends.map(|share| {
        let service = &share.id.service;
        match parent {
            Parent::IstioClass(_) => host(&ObjectName::new(
                &service.namespace,
                format!("{}-clew", service.name),
            )),
            _ => host(service),
        }
    });
    let named = [&cluster["service"], &cluster["name"]];
    let mut named = named.iter().filter_map(|value| value.as_str()).peekable();
    match named.peek() {
        None => true,
        Some(_) => {
            let named: Vec<_> = named.collect();
            hosts.any(|host| {
                named
                    .iter()
                    .all(|name| *name == host || name.ends_with(&format!("|{host}")))
            })
        }
    }
}
