//! Routes at parents that are not on this machine: what keeps them out, and what is attached so far.

use std::collections::{BTreeMap, BTreeSet};

use clew_crds::WebSocketRoute;
use clew_crds::websocket_route::ParentReference;

use super::index::Index;
use super::listeners::Place;
use super::routes::ReadRule;
use super::{gateway_api, istio};
use crate::model::{
    AttachedPolicy, AttachedRoute, AttachedRule, GatewayApi, Hostname, Istio, Match, ObjectName, Parent,
    Pattern, Section,
};
use crate::objects::Sourced;
use crate::refusal::Code;

/// What keeps a route out of a parent: the field below `spec`, and what to do.
pub(super) type Hindrance = (Code, String, String);

/// The routes that are attached so far, oldest first.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) routes: Vec<AttachedRoute>,
    /// The routes at one parent, by their place among all.
    pub(super) at: BTreeMap<Parent, Vec<usize>>,
}

/// A route that asks to be attached.
pub(super) struct Candidate<'a> {
    pub(super) route: &'a Sourced<WebSocketRoute>,
    pub(super) name: &'a ObjectName,
    pub(super) rules: &'a [ReadRule],
}

impl Attached {
    /// What keeps a route out of a parent where it has places.
    pub(super) fn hindrances(
        &self,
        candidate: &Candidate<'_>,
        parent: &Parent,
        places: &[Place],
        index: &Index<'_>,
    ) -> Vec<Hindrance> {
        let mut found = inexpressible(candidate, parent);
        found.extend(match parent {
            Parent::Standalone(_) => return Vec::new(),
            Parent::EnvoyGateway(gateway) => gateway_api::displaced(candidate, gateway, places, index),
            Parent::OtherClass(_) => Vec::new(),
            Parent::IstioClass(_) | Parent::IstioGateway(_) | Parent::MeshService(_) => {
                istio::hindrances(candidate, parent, places, self.at(parent), index)
            }
        });
        found
    }

    fn at<'s>(&'s self, parent: &Parent) -> impl Iterator<Item = &'s AttachedRoute> + use<'s> {
        let known = self.at.get(parent).map(Vec::as_slice).unwrap_or_default();
        known.iter().filter_map(|i| self.routes.get(*i))
    }

    /// Attaches a route to a parent. Two parentRefs that name one parent are one.
    pub(super) fn attach(
        &mut self,
        candidate: &Candidate<'_>,
        parent: &Parent,
        reference: &ParentReference,
        places: &[Place],
        wanted: &[Hostname],
    ) {
        let section = Section {
            name: reference.section_name.clone(),
            port: reference.port,
        };
        // What the listeners of a Gateway and an HTTPRoute have in common, who serves them finds out by itself.
        let hostnames: BTreeSet<_> = match parent.takes_http_routes() {
            true => wanted.iter().cloned().collect(),
            false => places.iter().map(|place| place.hostname.clone()).collect(),
        };
        let at = self.at.entry(parent.clone()).or_default();
        let known = at.iter().find(|i| {
            self.routes
                .get(**i)
                .is_some_and(|route| route.name == *candidate.name)
        });
        if let Some(route) = known.copied().and_then(|i| self.routes.get_mut(i)) {
            route.sections.insert(section);
            route.hostnames.extend(hostnames);
            return;
        }
        at.push(self.routes.len());
        let mut rules: Vec<_> = candidate
            .rules
            .iter()
            .flat_map(|(rule, matches)| {
                matches.iter().map(|matching| AttachedRule {
                    matching: matching.clone(),
                    rule: rule.clone(),
                })
            })
            .collect();
        rules.sort_by_cached_key(|attached| attached.matching.precedence());
        self.routes.push(AttachedRoute {
            parent: parent.clone(),
            name: candidate.name.clone(),
            sections: [section].into(),
            hostnames,
            rules,
        });
    }

    /// With what there is of policies.
    pub(super) fn finish(self, policies: Vec<AttachedPolicy>, index: &Index<'_>) -> (Istio, GatewayApi) {
        let is_not_istios =
            |parent: &Parent| matches!(parent, Parent::EnvoyGateway(_) | Parent::OtherClass(_));
        let (routes, of_istio) = self
            .routes
            .into_iter()
            .partition(|route| is_not_istios(&route.parent));
        let (policies, on_istio) = policies
            .into_iter()
            .partition(|policy| is_not_istios(&policy.parent));
        (
            istio::finish(of_istio, on_istio, index),
            gateway_api::finish(routes, policies),
        )
    }
}

/// The most header matches of an HTTPRoute's match.
const HTTP_ROUTE_HEADERS: usize = 16;
/// The longest expression of a VirtualService.
const EXPRESSION_BYTES: usize = 1024;

/// Matches that the target's own route cannot say. To leave a part of a match out would let others in.
fn inexpressible(candidate: &Candidate<'_>, parent: &Parent) -> Vec<Hindrance> {
    let has = |matching: &Match, header: &str| matching.headers.iter().any(|(name, _)| name == header);
    let mut found = Vec::new();
    for (i, (rule, matches)) in candidate.rules.iter().enumerate() {
        for (j, matching) in matches.iter().enumerate() {
            let http_route = parent.takes_http_routes();
            // Those of ours: the subprotocol, the backend, the upgrade.
            let headers = matching.headers.len()
                + usize::from(!matching.subprotocols.is_empty())
                + usize::from(rule.backends.len() > 1)
                + 1;
            let why = if !matching.subprotocols.is_empty() && has(matching, "sec-websocket-protocol") {
                "a header is compared once there: write subprotocols, or a match on sec-websocket-protocol, not both"
            } else if !http_route && longest_expression(matching) > EXPRESSION_BYTES {
                "a VirtualService takes expressions of at most 1024 bytes, and subprotocols become one; shorten them"
            } else if http_route && has(matching, "host") {
                "an HTTPRoute does not compare the Host header; write hostnames"
            } else if http_route && headers > HTTP_ROUTE_HEADERS {
                "an HTTPRoute compares at most 16 headers, and up to three of them are Clew's; compare fewer"
            } else {
                continue;
            };
            found.push((
                Code::MatchUnsupported,
                format!("spec.rules[{i}].matches[{j}].headers"),
                why.to_owned(),
            ));
        }
    }
    found
}

fn longest_expression(matching: &Match) -> usize {
    let of = |(_, pattern): &(String, Pattern)| match pattern {
        Pattern::Exact(_) => 0,
        Pattern::Regex(expression) => expression.as_str().len(),
    };
    let subprotocols = matching
        .subprotocol_expression()
        .map(|expression| expression.len());
    let written = matching.headers.iter().chain(&matching.query).map(of);
    written.chain(subprotocols).max().unwrap_or(0)
}
