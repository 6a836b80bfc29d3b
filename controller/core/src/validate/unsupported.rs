//! What a rule asks for and its parent, with this filter, does not do. Nothing is dropped in silence.

use clew_crds::websocket_route::{KeySource, RouteRule, Verification};

use super::Unsupported;

/// The fields of a rule that are not honoured; `path` is the rule's own.
pub(super) fn fields(rule: &RouteRule, path: &str) -> Vec<Unsupported> {
    let policy = &rule.policy;
    let limits = &policy.limits;
    let table = [(
        limits.max_connections_per_key_per_proxy.is_some() && !has_key_that_counts(rule),
        "limits.maxConnectionsPerKeyPerProxy",
        "the rule's keys are claims that nobody verifies, which anybody can make up; they are not counted",
    )];
    table
        .into_iter()
        .filter(|(written, ..)| *written)
        .map(|(_, field, why)| Unsupported {
            field: format!("{path}.{field}"),
            why: why.to_owned(),
        })
        .collect()
}

fn has_key_that_counts(rule: &RouteRule) -> bool {
    let counts = |source: &KeySource| {
        let claim = source.jwt_claim.as_ref();
        claim.is_none_or(|claim| claim.verification == Verification::Required)
    };
    rule.policy
        .session_key
        .as_ref()
        .is_some_and(|key| key.generate.is_some() || key.sources.iter().any(counts))
}
