//! What a rule asks for, and gateways of Gateway API cannot do.

use clew_crds::WebSocketRoute;
use clew_crds::websocket_route::{Limits, LoadBalancerType, PathMatchType, RouteRule, StringMatchType};

use crate::validate::age::name_of;
use crate::validate::index::Index;
use crate::validate::unsupported::{Table, Unsupported, written};
use crate::validate::{backends, grants};

/// With the filter, and a policy for the cluster, all but this.
pub(in crate::validate) fn envoy_gateway(route: &WebSocketRoute) -> Vec<Unsupported> {
    of_rules(route, |rule| {
        written(&[(
            rule.policy.resilience.fault.is_some(),
            "resilience.fault",
            "the first fault of a gateway changes its listeners, which would end every session there; none is injected",
        )])
    })
}

/// Without a filter, and without any policy: what an HTTPRoute says is all.
pub(in crate::validate) fn other_class(route: &WebSocketRoute, index: &Index<'_>) -> Vec<Unsupported> {
    let mut found = of_rules(route, plain);
    let namespace = name_of(&route.metadata).namespace;
    for (i, rule) in route.spec.rules.iter().enumerate() {
        let usable = |reference| {
            let id = backends::id(reference, &namespace);
            backends::port(reference, &id, (grants::ROUTE, &namespace), index).is_ok()
        };
        if rule.backend_refs.iter().any(usable) {
            let lost = rule
                .backend_refs
                .iter()
                .enumerate()
                .filter(|(_, reference)| !usable(reference));
            found.extend(lost.map(|(j, _)| Unsupported {
                field: format!("spec.rules[{i}].backendRefs[{j}]"),
                why: "it cannot be used, and the others get its share".to_owned(),
            }));
        }
    }
    found
}

fn of_rules(route: &WebSocketRoute, table: impl Fn(&RouteRule) -> Table) -> Vec<Unsupported> {
    let rules = route.spec.rules.iter().enumerate();
    rules
        .flat_map(|(i, rule)| {
            table(rule).into_iter().map(move |(field, why)| Unsupported {
                field: format!("spec.rules[{i}].{field}"),
                why: why.to_owned(),
            })
        })
        .collect()
}

fn plain(rule: &RouteRule) -> Table {
    let policy = &rule.policy;
    let resilience = &policy.resilience;
    let no_filter = "gateways of this class have no filter";
    let no_policy = "an HTTPRoute does not have it";
    written(&[
        (
            true,
            "loadBalancer",
            match policy.load_balancer.r#type {
                LoadBalancerType::ConsistentHash => {
                    "placement is not available: the gateway chooses the pods by itself, and no key keeps its pod"
                }
                _ => "placement is not available: the gateway chooses the pods by itself",
            },
        ),
        (policy.session_key.is_some(), "sessionKey", no_filter),
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
        (
            rule.backend_refs.len() > 1,
            "backendRefs",
            "each handshake is dealt to a backend by weight, whatever its key",
        ),
        (
            has_expressions(rule),
            "matches",
            "whether, and how, the class compares by regular expressions, which subprotocols become too, is its own affair",
        ),
        (
            !policy.timeouts.handshake.is_zero(),
            "timeouts.handshake",
            "a class may take the whole session for the request, so that none is set",
        ),
        (!policy.timeouts.idle.is_zero(), "timeouts.idle", no_filter),
        (
            !policy.timeouts.max_connection_duration.is_zero(),
            "timeouts.maxConnectionDuration",
            no_filter,
        ),
        (policy.limits != Limits::default(), "limits", no_filter),
        (
            true,
            "security.origin",
            "gateways of this class have no filter, and no Origin is compared",
        ),
        (
            policy.security.close_at_token_expiry,
            "security.closeAtTokenExpiry",
            no_filter,
        ),
        (true, "drain", "sessions end as the pod ends them"),
        (
            resilience.connect_retries.is_some(),
            "resilience.connectRetries",
            no_policy,
        ),
        (
            resilience.max_pending_handshakes.is_some(),
            "resilience.maxPendingHandshakes",
            no_policy,
        ),
        (
            resilience.outlier_detection.is_some(),
            "resilience.outlierDetection",
            no_policy,
        ),
        (resilience.fault.is_some(), "resilience.fault", no_policy),
    ])
}

fn has_expressions(rule: &RouteRule) -> bool {
    rule.matches.iter().any(|one| {
        one.path.r#type == PathMatchType::RegularExpression
            || !one.subprotocols.is_empty()
            || one
                .headers
                .iter()
                .any(|header| header.r#type == StringMatchType::RegularExpression)
            || one
                .query_params
                .iter()
                .any(|query| query.r#type == StringMatchType::RegularExpression)
    })
}
