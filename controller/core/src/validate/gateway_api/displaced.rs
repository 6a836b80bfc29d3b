//! Of the EnvoyExtensionPolicies for a route, its listener and its gateway only the nearest counts, unless one for a route has
//! a mergeType, and even then a list of modules in it takes the place of that of the gateway's, which holds the filter (Envoy
//! Gateway 1.9: no list of this kind is merged).

use crate::model::{Hostname, ObjectName};
use crate::objects::{ExtensionPolicySpec, HttpRoute, Listener, PolicyTarget, TargetSelector};
use crate::refusal::Code;
use crate::render::{MANAGED_BY, MANAGER, gateway_api};
use crate::validate::age::name_of;
use crate::validate::attached::{Candidate, Hindrance};
use crate::validate::index::Index;
use crate::validate::listeners::{At, Place};

/// Somebody's policy that takes the filter away from a route at a gateway: without it nothing of the route holds.
pub(in crate::validate) fn displaced(
    candidate: &Candidate<'_>,
    gateway: &ObjectName,
    places: &[Place],
    index: &Index<'_>,
) -> Vec<Hindrance> {
    let rules: Vec<_> = candidate.rules.iter().map(|(rule, _)| rule.clone()).collect();
    let routes = gateway_api::names(candidate.name, &rules);
    let is_of_route = |spec: &ExtensionPolicySpec| {
        targets(spec, "HTTPRoute").any(|target| routes.contains(target.name.as_str()))
            || spec.target_selectors.iter().any(selects)
    };
    let is_of_listener = |listener: &str| is_used(gateway, listener, places, index);
    find(
        &candidate.name.namespace,
        gateway,
        is_of_route,
        is_of_listener,
        index,
    )
}

/// The same, of somebody's HTTPRoute at a gateway.
pub(in crate::validate) fn displaced_on(
    http_route: &HttpRoute,
    gateway: &ObjectName,
    places: &[Place],
    index: &Index<'_>,
) -> Vec<Hindrance> {
    let name = name_of(&http_route.metadata);
    let is_of_route = |spec: &ExtensionPolicySpec| {
        let labels = http_route.metadata.labels.as_ref();
        let mut selectors = spec.target_selectors.iter();
        targets(spec, "HTTPRoute").any(|target| target.name == name.name)
            || selectors.any(|selector| selector.selects("HTTPRoute", labels))
    };
    let is_of_listener = |listener: &str| is_used(gateway, listener, places, index);
    find(&name.namespace, gateway, is_of_route, is_of_listener, index)
}

fn find(
    routes: &str,
    gateway: &ObjectName,
    is_of_route: impl Fn(&ExtensionPolicySpec) -> bool,
    is_of_listener: impl Fn(&str) -> bool,
    index: &Index<'_>,
) -> Vec<Hindrance> {
    let is_of_route = |namespace: &str, spec: &ExtensionPolicySpec| {
        (spec.merge_type.is_none() || !spec.wasm.is_empty()) && namespace == routes && is_of_route(spec)
    };
    let is_of_listener = |namespace: &str, spec: &ExtensionPolicySpec| {
        namespace == gateway.namespace
            && targets(spec, "Gateway")
                .filter(|target| target.name == gateway.name)
                .filter_map(|target| target.section_name.as_deref())
                .any(&is_of_listener)
    };
    let found = index.extension_policies.iter().find_map(|(name, policy)| {
        let spec = &policy.object.spec;
        if is_of_route(&name.namespace, spec) {
            return Some(format!(
                "EnvoyExtensionPolicy {name} is for the route's HTTPRoutes and takes the place of the one that holds Clew's filter; give it mergeType: StrategicMerge, and no wasm of its own"
            ));
        }
        is_of_listener(&name.namespace, spec).then(|| {
            format!(
                "EnvoyExtensionPolicy {name} is for a listener of Gateway {gateway} and takes the place of the one that holds Clew's filter; attach it to HTTPRoutes with mergeType: StrategicMerge and no wasm of its own, or to another Gateway"
            )
        })
    });
    let hindrance = |message| (Code::FilterDisplaced, String::new(), message);
    found.map(hindrance).into_iter().collect()
}

fn targets<'s>(spec: &'s ExtensionPolicySpec, kind: &'s str) -> impl Iterator<Item = &'s PolicyTarget> {
    let all = spec.target_ref.iter().chain(&spec.target_refs);
    all.filter(move |target| target.kind == kind)
}

/// Whether what we write is selected. In doubt it is not.
fn selects(selector: &TargetSelector) -> bool {
    let is_ours = |(label, value): (&String, &String)| label == MANAGED_BY && value == MANAGER;
    selector.kind == "HTTPRoute"
        && selector.match_expressions.is_empty()
        && selector.match_labels.iter().all(is_ours)
}

/// Whether one of the places is of a listener: of those on its port that have the place's hosts, the one with the fewest others.
fn is_used(gateway: &ObjectName, listener: &str, places: &[Place], index: &Index<'_>) -> bool {
    let found = index.gateways.get(gateway);
    let listeners = found.map(|gateway| gateway.object.spec.listeners.as_slice());
    let serving = |place: &Place| {
        let At::Port(_, port) = &place.at else { return None };
        let of = |one: &Listener| one.hostname.as_deref().map_or(Hostname::Any, Hostname::new);
        let on_port = listeners.into_iter().flatten().filter(|one| one.port == *port);
        let has_hosts = on_port.filter(|one| of(one).covers(&place.hostname));
        has_hosts.max_by_key(|one| of(one).specificity())
    };
    let mut serving = places.iter().filter_map(serving);
    serving.any(|one| one.name == listener)
}
