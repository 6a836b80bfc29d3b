//! What a rule asks for and its parent, with this filter, does not do. Nothing is dropped in silence.

use clew_crds::WebSocketRoute;
use clew_crds::websocket_route::{KeySource, RouteRule, Verification};

pub(super) use super::Unsupported;
use super::age::name_of;
use super::index::Index;
use super::{gateway_api, istio, persistence};
use crate::model::Parent;

/// Fields below a rule, and why they are not honoured.
pub(super) type Table = Vec<(String, &'static str)>;

/// The rows that hold.
pub(super) fn written(table: &[(bool, &str, &'static str)]) -> Table {
    let written = table.iter().filter(|(written, ..)| *written);
    written
        .map(|(_, field, why)| ((*field).to_owned(), *why))
        .collect()
}

/// The fields of a route that a parent does not honour.
pub(super) fn at(route: &WebSocketRoute, parent: &Parent, index: &Index<'_>) -> Vec<Unsupported> {
    let anywhere = || anywhere(route, index);
    match parent {
        Parent::Standalone(_) => anywhere(),
        Parent::IstioClass(_) | Parent::IstioGateway(_) => {
            [anywhere(), istio::unsupported(route, parent, index)].concat()
        }
        Parent::EnvoyGateway(_) => [anywhere(), gateway_api::envoy_gateway(route)].concat(),
        // There is no filter there.
        Parent::MeshService(_) => istio::unsupported(route, parent, index),
        Parent::OtherClass(_) => gateway_api::other_class(route, index),
    }
}

/// What the filter itself does not honour.
fn anywhere(route: &WebSocketRoute, index: &Index<'_>) -> Vec<Unsupported> {
    let namespace = name_of(&route.metadata).namespace;
    let rules = route.spec.rules.iter().enumerate();
    rules
        .flat_map(|(i, rule)| of_rule(rule, &namespace, &format!("spec.rules[{i}]"), index))
        .collect()
}

/// The same, of one rule.
pub(super) fn of_rule(rule: &RouteRule, namespace: &str, path: &str, index: &Index<'_>) -> Vec<Unsupported> {
    let mut fields: Vec<_> = fields(rule, path).collect();
    fields.extend(persistence::nameless(rule, namespace, path, index));
    fields
}

fn fields(rule: &RouteRule, path: &str) -> impl Iterator<Item = Unsupported> {
    let limited = rule.policy.limits.max_connections_per_key_per_proxy.is_some();
    let per_key = (limited && !has_key_that_counts(rule)).then(|| Unsupported {
        field: format!("{path}.limits.maxConnectionsPerKeyPerProxy"),
        why:
            "the rule's keys are claims that nobody verifies, which anybody can make up; they are not counted"
                .to_owned(),
    });
    per_key.into_iter()
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
