//! What a rule asks for and its parent, with this filter, does not do. Nothing is dropped in silence.

use clew_crds::websocket_route::{KeySource, RouteRule, Verification};

use super::Unsupported;

/// The fields of a rule that are not honoured; `path` is the rule's own.
pub(super) fn fields(rule: &RouteRule, path: &str) -> Vec<Unsupported> {
    let limited = rule.policy.limits.max_connections_per_key_per_proxy.is_some();
    let per_key = (limited && !has_key_that_counts(rule)).then(|| Unsupported {
        field: format!("{path}.limits.maxConnectionsPerKeyPerProxy"),
        why:
            "the rule's keys are claims that nobody verifies, which anybody can make up; they are not counted"
                .to_owned(),
    });
    per_key.into_iter().collect()
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
