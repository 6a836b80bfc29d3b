//! What a rule asks for and its parent, with this filter, does not do. Nothing is dropped in silence.

use clew_crds::websocket_route::RouteRule;

use super::Unsupported;

/// The fields of a rule that are not honoured; `path` is the rule's own.
pub(super) fn fields(rule: &RouteRule, path: &str) -> Vec<Unsupported> {
    let policy = &rule.policy;
    let limits = &policy.limits;
    let several_backends = rule.backend_refs.len() > 1;
    let table = [
        (
            limits.max_connections_per_proxy.is_some() && several_backends,
            "limits.maxConnectionsPerProxy",
            "Envoy counts for each backend, and the rule has several; it is not limited",
        ),
        (
            limits.max_connections_per_key_per_proxy.is_some(),
            "limits.maxConnectionsPerKeyPerProxy",
            "sessions of one key are not limited",
        ),
        (
            limits.handshake_rate_per_proxy.is_some(),
            "limits.handshakeRatePerProxy",
            "handshakes are not counted against a rate",
        ),
    ];
    table
        .into_iter()
        .filter(|(written, ..)| *written)
        .map(|(_, field, why)| Unsupported {
            field: format!("{path}.{field}"),
            why: why.to_owned(),
        })
        .collect()
}
