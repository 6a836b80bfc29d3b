//! The rules of a target that a policy can be for at a gateway, each judged by itself: one that it cannot be for takes it from no other.

use std::sync::Arc;

use clew_crds::websocket_route::{BackendRef, RouteRule, SessionPolicy};
use clew_filter_config::headers::HOST;
use serde_json::Value;

use super::Wrong;
use super::target::Read;
use crate::model::{
    AttachedPolicy, AttachedRoute, BackendShare, Match, ObjectName, Parent, Resilience, Rule, RuleName,
    Target, Way,
};
use crate::objects::{BackendTrafficPolicySpec, HttpRouteMatch, HttpRouteRule};
use crate::refusal::Code;
use crate::render::gateway_api::load_balancer;
use crate::validate::index::Index;
use crate::validate::listeners::Place;
use crate::validate::matches::matching;
use crate::validate::routes::{ReadRule, tokens};
use crate::validate::{backends, gateway_api, grants, istio, rules};

/// A filter of an HTTPRoute's rule that sends copies of requests elsewhere.
const MIRROR: &str = "RequestMirror";

/// A policy that asks for a target at a gateway.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a ObjectName,
    pub(super) says: &'a SessionPolicy,
    /// The one rule that the target is.
    pub(super) section: Option<&'a str>,
    pub(super) gateway: &'a Parent,
    /// The listeners that take the HTTPRoute.
    pub(super) places: &'a [Place],
}

/// A rule that the policy can be for: as the HTTPRoute has it, as a WebSocketRoute would, and what is read of it.
struct Suited<'a> {
    at: usize,
    rule: &'a HttpRouteRule,
    as_route: RouteRule,
    read: ReadRule,
}

impl Asked<'_> {
    /// What is attached, and what is wrong with the rest. A field of the policy's own in what is wrong begins with `spec`, another one is below the
    /// target.
    pub(super) fn attach(
        &self,
        target: &Read<'_>,
        index: &Index<'_>,
        routes: &[AttachedRoute],
    ) -> (Vec<AttachedPolicy>, Vec<Wrong>) {
        let mut wrongs = match self.gateway {
            Parent::EnvoyGateway(of) => gateway_api::displaced_on(target.http_route, of, self.places, index),
            _ => Vec::new(),
        };
        let has_no_filter = !wrongs.is_empty();
        let mut suited = Vec::new();
        for (at, rule) in &target.rules {
            match self.suited(target, (*at, rule), index, routes) {
                Ok(one) => suited.push(one),
                Err(wrong) => wrongs.push(wrong),
            }
        }
        // What the policy says is said of all of them.
        if has_no_filter || wrongs.iter().any(|(_, field, _)| field.starts_with("spec")) {
            return (Vec::new(), wrongs);
        }
        let written: Vec<_> = suited.iter().map(|one| one.as_route.clone()).collect();
        let read: Vec<_> = suited.iter().map(|one| one.read.clone()).collect();
        if let Some((field, message)) = tokens(&written, &read, self.gateway, self.places, index) {
            let below = field.split_once("].").map_or(&*field, |(_, below)| below);
            wrongs.push((Code::ClaimUnverified, format!("spec.{below}"), message));
            return (Vec::new(), wrongs);
        }
        // Somebody's own for a rule comes before ours for all of the HTTPRoute.
        let is_for_the_rest = wrongs.iter().all(|(code, ..)| *code == Code::TrafficPolicyTaken);
        let attached = match is_for_the_rest {
            true => self.whole(target, suited, index).into_iter().collect(),
            false => self.in_part(target, suited, index, &mut wrongs),
        };
        (attached, wrongs)
    }

    /// For every rule of the target.
    fn whole(&self, target: &Read<'_>, suited: Vec<Suited<'_>>, index: &Index<'_>) -> Option<AttachedPolicy> {
        let is_carried = suited.iter().all(|one| self.is_carried(target, one.rule, index));
        (!suited.is_empty()).then(|| self.attached(target, self.section, is_carried, suited))
    }

    /// For some of the rules of an HTTPRoute. What carries a policy on Envoy Gateway is for all of an HTTPRoute, or for a rule that has a name.
    fn in_part(
        &self,
        target: &Read<'_>,
        suited: Vec<Suited<'_>>,
        index: &Index<'_>,
        wrongs: &mut Vec<Wrong>,
    ) -> Vec<AttachedPolicy> {
        if !matches!(self.gateway, Parent::EnvoyGateway(_)) {
            return self.whole(target, suited, index).into_iter().collect();
        }
        let mut attached = Vec::new();
        for one in suited {
            let is_carried = self.is_carried(target, one.rule, index);
            let section = one.rule.name.as_deref();
            if section.is_none() && !is_carried {
                let message = format!(
                    "{} has no name, so that a BackendTrafficPolicy cannot be for it alone, and the policy is not for every rule of the HTTPRoute; give it one",
                    target.what(one.at, one.rule)
                );
                wrongs.push((Code::TargetUnsuited, String::new(), message));
                continue;
            }
            attached.push(self.attached(target, section, is_carried, vec![one]));
        }
        attached
    }

    fn attached(
        &self,
        target: &Read<'_>,
        section: Option<&str>,
        is_carried: bool,
        suited: Vec<Suited<'_>>,
    ) -> AttachedPolicy {
        AttachedPolicy {
            hostnames: target.hostnames().collect(),
            ways: ways(target, &suited),
            parent: self.gateway.clone(),
            name: self.policy.clone(),
            http_route: target.name.name.clone(),
            section: section.map(str::to_owned),
            rules: suited.into_iter().map(|one| one.read.0).collect(),
            is_carried,
        }
    }

    /// Whether somebody's policy, which says the same as ours would, is for a rule.
    fn is_carried(&self, target: &Read<'_>, rule: &HttpRouteRule, index: &Index<'_>) -> bool {
        matches!(self.gateway, Parent::EnvoyGateway(_)) && target.theirs(rule, index).next().is_some()
    }

    fn suited<'r>(
        &self,
        target: &Read<'_>,
        (at, rule): (usize, &'r HttpRouteRule),
        index: &Index<'_>,
        routes: &[AttachedRoute],
    ) -> Result<Suited<'r>, Wrong> {
        let backend = backend(target, (at, rule), index)?;
        let matches = read_matches(rule);
        let name = RuleName {
            route: self.policy.clone(),
            rule: format!("{}.{}", target.name.name, target.called(at, rule)),
        };
        let as_route = RouteRule {
            name: Some(name.rule.clone()),
            backend_refs: vec![backend.clone()],
            policy: self.says.clone(),
            ..RouteRule::default()
        };
        let share = BackendShare {
            id: backends::id(&backend, &target.name.namespace),
            weight: 1,
            target: Target::Service,
        };
        let hindrance = self.hindrance(target, rule, &share, index, routes);
        let meshed = matches!(self.gateway, Parent::IstioClass(_));
        let hostnames = &target.http_route.spec.hostnames;
        let made = rules::rule(name, &as_route, hostnames, &matches, vec![share], meshed).map_err(of_text)?;
        if let Some(wrong) = hindrance {
            return Err(wrong);
        }
        let made = Rule {
            id: target.id(at, rule, &made, self.gateway),
            // What the mesh does is the HTTPRoute's own affair.
            resilience: Resilience::default(),
            handshake_timeout_ms: 0,
            ..made
        };
        Ok(Suited {
            at,
            rule,
            as_route,
            read: (Arc::new(made), matches.into_iter().map(Arc::new).collect()),
        })
    }

    /// What of other people's keeps the policy from a rule.
    fn hindrance(
        &self,
        target: &Read<'_>,
        rule: &HttpRouteRule,
        to: &BackendShare,
        index: &Index<'_>,
        routes: &[AttachedRoute],
    ) -> Option<Wrong> {
        let wrong = |code, message| (code, String::new(), message);
        match self.gateway {
            Parent::EnvoyGateway(_) => {
                let mut theirs = target.theirs(rule, index);
                let (name, _) = theirs.find(|(_, spec)| !hashes_as_ours(spec))?;
                let message = format!(
                    "BackendTrafficPolicy {name} is for the HTTPRoute, and of two only one holds; put this into it: loadBalancer: {{type: ConsistentHash, consistentHash: {{type: Headers, headers: [{{name: {HOST}}}]}}}}, timeout: {{http: {{streamIdleTimeout: 0s}}}}"
                );
                Some(wrong(Code::TrafficPolicyTaken, message))
            }
            Parent::IstioClass(of) => {
                if let Some(message) = istio::taken(&to.id.service, self.gateway, routes, index) {
                    return Some(wrong(Code::DestinationRuleTaken, message));
                }
                let section = rule.name.as_deref()?;
                let other = istio::called_the_same((&target.name, section), &to.id, of, index)?;
                let message = format!(
                    "HTTPRoute {other} has a rule named {section} to the same backend at {}, and Istio calls both by that name alone; rename one of them",
                    self.gateway
                );
                Some(wrong(Code::RouteNameTaken, message))
            }
            _ => None,
        }
    }
}

/// What is not understood may be any request.
fn read_matches(rule: &HttpRouteRule) -> Vec<Match> {
    let read = |one: &HttpRouteMatch| matching(&one.of_route).unwrap_or_else(|_| Match::any());
    rule.matches.iter().map(read).collect()
}

/// The matches of all rules of a target's HTTPRoute, and to which of these they lead.
fn ways(target: &Read<'_>, suited: &[Suited<'_>]) -> Vec<Way> {
    let all = target.http_route.spec.rules.iter().enumerate();
    let of = |(at, rule): (usize, &HttpRouteRule)| {
        let to = suited
            .iter()
            .find(|one| one.at == at)
            .map(|one| one.read.0.clone());
        let handshakes = rule.matches.iter().filter(|one| one.takes_handshakes());
        // What is not understood may be any request of the policy's, and takes none away from it.
        let read = |one: &HttpRouteMatch| match (matching(&one.of_route), &to) {
            (Ok(read), _) => Some(read),
            (Err(_), Some(_)) => Some(Match::any()),
            (Err(_), None) => None,
        };
        let mut matches: Vec<_> = handshakes.filter_map(read).collect();
        if rule.matches.is_empty() {
            matches.push(Match::any());
        }
        matches.into_iter().map(move |matching| Way {
            matching: Arc::new(matching),
            rule: to.clone(),
        })
    };
    all.flat_map(of).collect()
}

/// Whether what a policy says can hold for anything. Whose claims are verified is a matter of the gateways.
pub(super) fn text(policy: &ObjectName, says: &SessionPolicy) -> Result<(), Wrong> {
    let name = RuleName {
        route: policy.clone(),
        rule: String::new(),
    };
    let as_route = RouteRule {
        policy: says.clone(),
        ..RouteRule::default()
    };
    rules::rule(name, &as_route, &[], &[Match::any()], Vec::new(), true)
        .map(drop)
        .map_err(of_text)
}

/// The field is the policy's own.
fn of_text((code, below, message): Wrong) -> Wrong {
    (code, format!("spec{below}"), message)
}

/// The one Service that a rule leads to.
fn backend(
    target: &Read<'_>,
    (at, rule): (usize, &HttpRouteRule),
    index: &Index<'_>,
) -> Result<BackendRef, Wrong> {
    let what = target.what(at, rule);
    let split = |message: String| Err((Code::BackendsSplit, String::new(), message));
    let mut weighted = rule.backend_refs.iter().filter(|to| to.reference.weight > 0);
    let (Some(backend), None) = (weighted.next(), weighted.next()) else {
        let message = format!(
            "{what} does not lead to one backend alone, and what is dealt by weight follows no key; write a WebSocketRoute, which does splits, or name another rule"
        );
        return split(message);
    };
    let filters = rule.filters.iter().chain(&backend.filters);
    if filters.into_iter().any(|filter| filter.r#type == MIRROR) {
        let message = format!(
            "{what} mirrors requests, and a session cannot be mirrored; take the filter out, or name another rule"
        );
        return split(message);
    }
    if rule.session_persistence.is_some() {
        let message = format!(
            "{what} has sessionPersistence, which the mesh carries out before the filter is asked, so that sessions would not be where their keys say; take it out of the rule, and write it into the policy"
        );
        return Err((Code::TargetUnsuited, String::new(), message));
    }
    let reference = &backend.reference;
    let id = backends::id(reference, &target.name.namespace);
    let from = (grants::HTTP_ROUTE, target.name.namespace.as_str());
    match backends::port(reference, &id, from, index) {
        Ok(_) => Ok(reference.clone()),
        Err((code, _, message)) => Err((code, String::new(), format!("{what}: {message}"))),
    }
}

/// Whether somebody's policy has pods chosen by what the filter says.
pub(super) fn hashes_as_ours(spec: &BackendTrafficPolicySpec) -> bool {
    let ours = load_balancer();
    let Some(theirs) = &spec.load_balancer else {
        return false;
    };
    let has = |field: &str| theirs[field] == ours[field];
    let hash = |field: &str| theirs["consistentHash"][field] == ours["consistentHash"][field];
    // Envoy Gateway's default is the same.
    let has_size = matches!(theirs["consistentHash"]["tableSize"], Value::Null) || hash("tableSize");
    has("type") && hash("type") && hash("headers") && has_size
}
