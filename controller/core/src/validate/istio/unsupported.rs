//! What a rule asks for and a parent of Istio's does not do.

use clew_crds::WebSocketRoute;
use clew_crds::websocket_route::{
    Drain, KeySource, KeySourceType, Limits, LoadBalancerType, OnMissing, PathMatchType, RouteRule,
};

use crate::model::Parent;
use crate::validate::age::name_of;
use crate::validate::backends;
use crate::validate::index::Index;
use crate::validate::unsupported::{Table, Unsupported, written};

/// The fields of a route that are not honoured at a parent, beside those that are honoured nowhere.
pub(in crate::validate) fn fields(
    route: &WebSocketRoute,
    parent: &Parent,
    index: &Index<'_>,
) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut add = |field: String, why: &str| {
        found.push(Unsupported {
            field,
            why: why.to_owned(),
        });
    };
    if matches!(parent, Parent::MeshService(_)) && !route.spec.hostnames.is_empty() {
        add(
            "spec.hostnames".to_owned(),
            "on the mesh the Service's own host counts",
        );
    }
    for (i, rule) in route.spec.rules.iter().enumerate() {
        let is_mesh = matches!(parent, Parent::MeshService(_));
        if is_mesh && rule.policy.session_key.is_some() && is_headless(route, rule, index) {
            add(
                format!("spec.rules[{i}].sessionKey"),
                "a backend is headless: sidecars connect to the address that the client has resolved",
            );
        }
        let table = match parent {
            Parent::IstioClass(_) => http_route(route, rule),
            Parent::MeshService(_) => mesh(rule),
            _ => Vec::new(),
        };
        for (field, why) in table {
            add(format!("spec.rules[{i}].{field}"), why);
        }
    }
    found
}

fn http_route(route: &WebSocketRoute, rule: &RouteRule) -> Table {
    let resilience = &rule.policy.resilience;
    let has = |rule: &RouteRule, kind| rule.matches.iter().any(|one| one.path.r#type == kind);
    let has_prefix = |rule: &RouteRule| rule.matches.is_empty() || has(rule, PathMatchType::PathPrefix);
    written(&[
        (
            resilience.connect_retries.is_some(),
            "resilience.connectRetries",
            "an HTTPRoute has no retries; Istio's own hold, two of them, before the 101 only",
        ),
        (
            resilience.fault.is_some(),
            "resilience.fault",
            "an HTTPRoute has no faults; none is injected",
        ),
        (
            has(rule, PathMatchType::RegularExpression) && route.spec.rules.iter().any(has_prefix),
            "matches",
            "Istio tries an HTTPRoute's prefixes before its expressions",
        ),
    ])
}

/// The clients' sidecars have no filter: what is left is what Envoy does by itself.
fn mesh(rule: &RouteRule) -> Table {
    let policy = &rule.policy;
    let limits = &policy.limits;
    let hashes = policy.load_balancer.r#type == LoadBalancerType::ConsistentHash;
    let no_filter = "the sidecars of clients have no filter";
    let mut table = written(&[
        (
            rule.backend_refs.len() > 1 && hashes,
            "backendRefs",
            "on the mesh each handshake is dealt to a backend by weight, and there to any pod, whatever its key",
        ),
        (
            policy.load_balancer.bounded_load.is_some(),
            "loadBalancer.boundedLoad",
            no_filter,
        ),
        (
            policy.drain != Drain::default(),
            "drain",
            "sessions end as the pod ends them",
        ),
        (
            policy.session_persistence.is_some(),
            "sessionPersistence",
            no_filter,
        ),
        (
            policy.on_backend_gone != Default::default(),
            "onBackendGone",
            no_filter,
        ),
        (!policy.timeouts.idle.is_zero(), "timeouts.idle", no_filter),
        (
            !policy.timeouts.max_connection_duration.is_zero(),
            "timeouts.maxConnectionDuration",
            no_filter,
        ),
        (*limits != Limits::default(), "limits", no_filter),
        // Where nothing is written, a gateway's filter compares all the same.
        (
            true,
            "security.origin",
            "the sidecars of clients have no filter, and no Origin is compared",
        ),
        (
            policy.security.close_at_token_expiry,
            "security.closeAtTokenExpiry",
            no_filter,
        ),
    ]);
    let Some(key) = &policy.session_key else {
        return table;
    };
    if key.on_missing != OnMissing::LoadBalance {
        table.push((
            "sessionKey.onMissing".to_owned(),
            "sessions without a key are balanced",
        ));
    }
    if key.generate.is_some() {
        table.push(("sessionKey.generate".to_owned(), no_filter));
    }
    let native = key.sources.iter().position(is_native);
    for (i, _) in key
        .sources
        .iter()
        .enumerate()
        .filter(|(i, _)| Some(*i) != native || !hashes)
    {
        table.push((
            format!("sessionKey.sources[{i}]"),
            "sidecars hash on one cookie, header, query parameter or peer address; this source is not looked at",
        ));
    }
    table
}

/// What Envoy can hash on by itself.
fn is_native(source: &KeySource) -> bool {
    match source.r#type {
        KeySourceType::Cookie | KeySourceType::Header | KeySourceType::QueryParam => true,
        KeySourceType::SourceIp => source
            .source_ip
            .as_ref()
            .is_some_and(|source| source.trusted_hops == 0),
        _ => false,
    }
}

fn is_headless(route: &WebSocketRoute, rule: &RouteRule, index: &Index<'_>) -> bool {
    let namespace = name_of(&route.metadata).namespace;
    rule.backend_refs.iter().any(|reference| {
        let service = index.services.get(&backends::id(reference, &namespace).service);
        service
            .and_then(|service| service.object.spec.as_ref()?.cluster_ip.as_deref())
            .is_some_and(|ip| ip == "None")
    })
}
