//! HTTPRoutes to the user's own Services.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::backend_traffic_policy::Policy;
use crate::model::{AttachedRoute, BackendShare, GatewayApi, ObjectName, Parent, Rule, Target};
use crate::render::http_route::{Part, backend_ref, by_name, in_steps, object_name, of_route};
use crate::render::object::Object;
use crate::render::step::steps;
use smol_str::SmolStr;

pub(super) fn objects(gateways: &GatewayApi) -> Vec<Object> {
    let placed = by_name(at_envoy_gateway(gateways))
        .into_values()
        .flat_map(|at_parents| {
            let Some(route) = at_parents.first() else {
                return Vec::new();
            };
            let to = |_: &Rule, share: &BackendShare| share.id.service.clone();
            of_route(&at_parents, in_steps(route, |rule| Policy::of(rule).name(), to))
        });
    let others = gateways
        .routes
        .iter()
        .filter(|route| matches!(route.parent, Parent::OtherClass(_)));
    let plain = by_name(others)
        .into_values()
        .flat_map(|at_parents| of_route(&at_parents, |rule| vec![plain(rule)]));
    placed.chain(plain).collect()
}

pub(super) fn at_envoy_gateway(gateways: &GatewayApi) -> impl Iterator<Item = &AttachedRoute> {
    gateways
        .routes
        .iter()
        .filter(|route| matches!(route.parent, Parent::EnvoyGateway(_)))
}

/// The ends of the names of the HTTPRoutes that a rule has a part in, as one of a route.
pub(super) fn ends<'a>(rule: &Rule, of_route: impl Iterator<Item = &'a Rule>) -> Vec<String> {
    let several = of_route.into_iter().any(|rule| steps(rule).len() > 1);
    let stem = Policy::of(rule).name();
    match several {
        true => (0..steps(rule).len()).map(|i| format!("{stem}-{i}")).collect(),
        false => vec![stem],
    }
}

/// What the HTTPRoutes of a route at Envoy Gateway's gateways are called.
pub(crate) fn names(route: &ObjectName, rules: &[Arc<Rule>]) -> BTreeSet<SmolStr> {
    let all = || rules.iter().map(|rule| &**rule);
    all()
        .flat_map(|rule| ends(rule, all()))
        .map(|end| object_name(route, &end).name)
        .collect()
}

/// The most that a backendRef may weigh.
const MOST_WEIGHT: u32 = 1_000_000;

/// Without a filter nobody chooses, so the gateway deals by weight; and without the upgrade's own timeout, because a class
/// may count the whole session as the request.
fn plain(rule: &Rule) -> Part {
    let known: Vec<_> = rule
        .backends
        .iter()
        .filter(|share| share.target == Target::Service)
        .collect();
    let weighed = |share: &&BackendShare| -> Value {
        let mut to = backend_ref(&share.id.service, share.id.port);
        if known.len() > 1 {
            to["weight"] = json!(share.weight.min(MOST_WEIGHT));
        }
        to
    };
    Part {
        into: "clew-plain".to_owned(),
        name: rule.name.rule.clone(),
        backend: None,
        upgrade: false,
        timeout_ms: None,
        backend_refs: known.iter().map(weighed).collect(),
    }
}
