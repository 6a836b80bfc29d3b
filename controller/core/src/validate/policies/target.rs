//! One target of a policy: the rules of the HTTPRoute that it is for, the gateways that serve them, and what keeps the policy out.

use std::collections::BTreeMap;
use std::sync::Arc;

use clew_crds::websocket_policy::PolicyTargetReference;
use clew_crds::websocket_route::{BackendRef, ParentReference, RouteRule, SessionPolicy};
use clew_filter_config::headers::HOST;
use clew_filter_config::http_route::{Section, on_envoy_gateway, on_istio};
use serde_json::Value;

use super::{Claim, Wrong, of_the_mesh};
use crate::model::{
    AttachedRoute, BackendShare, Hostname, Match, ObjectName, Parent, Resilience, Rule, RuleId, RuleName,
    Target,
};
use crate::objects::{BackendTrafficPolicySpec, HttpRoute, HttpRouteRule};
use crate::refusal::Code;
use crate::render::gateway_api::load_balancer;
use crate::validate::index::{Index, is_ours};
use crate::validate::listeners::{self, At};
use crate::validate::matches::matching;
use crate::validate::parents::{self, NoPlace};
use crate::validate::routes::tokens;
use crate::validate::{self, Unsupported, backends, gateway_api, grants, istio, rules, unsupported};

/// A target as it is.
pub(super) struct Read<'a> {
    http_route: &'a HttpRoute,
    name: ObjectName,
    /// The rules that no other policy names, with their places.
    rules: Vec<(usize, &'a HttpRouteRule)>,
}

/// Where a target may be served.
pub(super) enum Place {
    /// By nobody here.
    Unserved(ParentReference, NoPlace),
    /// By a gateway.
    At(ParentReference, Parent),
}

/// Filters of an HTTPRoute's rule that answer requests, or send copies of them elsewhere.
const REDIRECT: &str = "RequestRedirect";
const MIRROR: &str = "RequestMirror";

impl<'a> Read<'a> {
    /// The HTTPRoute of a target and those of its rules that are left for it.
    pub(super) fn of(
        name: &ObjectName,
        target: &PolicyTargetReference,
        index: &Index<'a>,
        claims: &BTreeMap<Claim, ObjectName>,
    ) -> Result<Self, Wrong> {
        let missing = |below: &str, message: String| Err((Code::TargetMissing, below.to_owned(), message));
        let Some(found) = index.http_routes.get(name) else {
            let message = format!(
                "there is no HTTPRoute {name}; add it, and the policy is looked at again, or correct the name"
            );
            return missing(".name", message);
        };
        let http_route = &*found.object;
        if is_ours(&http_route.metadata) {
            let message = format!(
                "HTTPRoute {name} is what Clew made of a WebSocketRoute; write what is to hold for its sessions there"
            );
            return Err((Code::TargetUnsuited, ".name".to_owned(), message));
        }
        let all = http_route.spec.rules.iter().enumerate();
        let rules: Vec<_> = match &target.section_name {
            Some(section) => all
                .filter(|(_, rule)| rule.name.as_ref() == Some(section))
                .collect(),
            None => all
                .filter(|(_, rule)| {
                    rule.name.is_none() || !claims.contains_key(&(name.clone(), rule.name.clone()))
                })
                .filter(|(_, rule)| leads_somewhere(rule))
                .collect(),
        };
        if let (Some(section), []) = (&target.section_name, &*rules) {
            let message = format!(
                "HTTPRoute {name} has no rule named {section}; correct the name, or give it to a rule"
            );
            return missing(".sectionName", message);
        }
        if rules.is_empty() {
            let message = format!(
                "HTTPRoute {name} has no rule left with a backend that the policy could be for; take the target out"
            );
            return Err((Code::TargetUnsuited, ".name".to_owned(), message));
        }
        Ok(Self {
            http_route,
            name: name.clone(),
            rules,
        })
    }

    /// The gateways of the HTTPRoute, each once.
    pub(super) fn places(&self, served: validate::Target, index: &Index<'_>) -> Vec<Place> {
        let mut seen = Vec::new();
        let mut places = Vec::new();
        for parent in &self.http_route.spec.parent_refs {
            let reference = ParentReference {
                namespace: parent
                    .namespace
                    .clone()
                    .or_else(|| Some(self.name.namespace.clone())),
                section_name: None,
                port: None,
                ..parent.clone()
            };
            if seen.contains(&reference) {
                continue;
            }
            seen.push(reference.clone());
            let not_served = |message: String| parents::no_place(Code::ParentNotServed, "", message);
            let place = match parents::parent(&reference, &self.name.namespace, index, served) {
                Err(no_place) => Place::Unserved(reference, no_place),
                Ok(gateway @ (Parent::IstioClass(_) | Parent::EnvoyGateway(_))) => {
                    Place::At(reference, gateway)
                }
                Ok(gateway) => {
                    let message =
                        format!("{gateway} has no filter for HTTPRoutes; write a WebSocketRoute for it");
                    Place::Unserved(reference, not_served(message))
                }
            };
            places.push(place);
        }
        places
    }

    /// What holds for each of the rules at a gateway. A field of the policy's own in what is wrong begins with `spec`, another one is below the target.
    pub(super) fn rules(
        &self,
        policy: &ObjectName,
        says: &SessionPolicy,
        gateway: &Parent,
        index: &Index<'_>,
        routes: &[AttachedRoute],
    ) -> Result<Vec<Arc<Rule>>, Vec<Wrong>> {
        let mut wrongs = Vec::new();
        let mut read = Vec::new();
        let mut written = Vec::new();
        for (at, rule) in &self.rules {
            let backend = match self.backend(*at, rule, index) {
                Ok(backend) => backend,
                Err(wrong) => {
                    wrongs.push(wrong);
                    continue;
                }
            };
            // What is not understood may be any request.
            let read_match = |one| matching(one).unwrap_or_else(|_| Match::any());
            let matches: Vec<Match> = rule.matches.iter().map(read_match).collect();
            let name = RuleName {
                route: policy.clone(),
                rule: format!("{}.{}", self.name.name, self.called(*at, rule)),
            };
            let as_route = RouteRule {
                name: Some(name.rule.clone()),
                backend_refs: vec![backend.clone()],
                policy: says.clone(),
                ..RouteRule::default()
            };
            let share = BackendShare {
                id: backends::id(&backend, &self.name.namespace),
                weight: 1,
                target: Target::Service,
            };
            wrongs.extend(self.hindrances(rule, &share, gateway, index, routes));
            let meshed = matches!(gateway, Parent::IstioClass(_));
            let hostnames = &self.http_route.spec.hostnames;
            match rules::rule(name, &as_route, hostnames, &matches, vec![share], meshed) {
                Ok(made) => {
                    let made = Rule {
                        id: self.id(*at, rule, &made, gateway),
                        // What the mesh does is the HTTPRoute's own affair.
                        resilience: Resilience::default(),
                        handshake_timeout_ms: 0,
                        ..made
                    };
                    read.push((Arc::new(made), matches.into_iter().map(Arc::new).collect()));
                    written.push(as_route);
                }
                Err((code, below, message)) => wrongs.push((code, format!("spec{below}"), message)),
            }
        }
        let places = self.hostnames().map(|hostname| listeners::Place {
            at: At::Port(gateway.clone(), 0),
            hostname,
        });
        let places: Vec<_> = places.collect();
        if let Some((field, message)) = tokens(&written, &read, gateway, &places, index) {
            let below = field.split_once("].").map_or(&*field, |(_, below)| below);
            wrongs.push((Code::ClaimUnverified, format!("spec.{below}"), message));
        }
        match wrongs.is_empty() {
            true => Ok(read.into_iter().map(|(rule, _)| rule).collect()),
            false => Err(wrongs),
        }
    }

    /// The one Service that a rule leads to.
    fn backend(&self, at: usize, rule: &HttpRouteRule, index: &Index<'_>) -> Result<BackendRef, Wrong> {
        let what = format!("rule {} of HTTPRoute {}", self.called(at, rule), self.name);
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
        let id = backends::id(reference, &self.name.namespace);
        let from = (grants::HTTP_ROUTE, self.name.namespace.as_str());
        match backends::port(reference, &id, from, index) {
            Ok(_) => Ok(reference.clone()),
            Err((code, _, message)) => Err((code, String::new(), format!("{what}: {message}"))),
        }
    }

    /// What of other people's keeps the policy out of a gateway.
    fn hindrances(
        &self,
        rule: &HttpRouteRule,
        to: &BackendShare,
        gateway: &Parent,
        index: &Index<'_>,
        routes: &[AttachedRoute],
    ) -> Vec<Wrong> {
        let below = |code, message| (code, String::new(), message);
        match gateway {
            Parent::EnvoyGateway(of) => {
                let displaced = gateway_api::displaced_on(self.http_route, of, index);
                let theirs = self.theirs(index).find(|(_, spec)| !hashes_as_ours(spec));
                let theirs = theirs.map(|(name, _)| {
                    let message = format!(
                        "BackendTrafficPolicy {name} is for the HTTPRoute, and of two only one holds; put this into it: loadBalancer: {{type: ConsistentHash, consistentHash: {{type: Headers, headers: [{{name: {HOST}}}]}}}}"
                    );
                    below(Code::TrafficPolicyTaken, message)
                });
                displaced.into_iter().chain(theirs).collect()
            }
            Parent::IstioClass(of) => {
                let taken = istio::taken(&to.id.service, gateway, routes, index);
                let taken = taken.map(|message| below(Code::DestinationRuleTaken, message));
                let section = rule.name.as_deref();
                let other = section.and_then(|section| {
                    let other = istio::called_the_same((&self.name, section), &to.id, of, index)?;
                    let message = format!(
                        "HTTPRoute {other} has a rule named {section} to the same backend at {gateway}, and Istio calls both by that name alone; rename one of them"
                    );
                    Some(below(Code::RouteNameTaken, message))
                });
                taken.into_iter().chain(other).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Somebody's BackendTrafficPolicies for what the target is.
    fn theirs<'i>(
        &'i self,
        index: &'i Index<'_>,
    ) -> impl Iterator<Item = (&'i ObjectName, &'i BackendTrafficPolicySpec)> {
        let is_of_it = |spec: &BackendTrafficPolicySpec| {
            let mut sections = self.sections(spec);
            sections.any(|section| {
                // One for a rule concerns a policy for the whole HTTPRoute as far as the rule is the policy's.
                section.is_none_or(|section| {
                    self.rules
                        .iter()
                        .any(|(_, rule)| rule.name.as_deref() == Some(section))
                })
            })
        };
        let all = index.backend_traffic_policies.iter();
        all.filter(|(name, _)| name.namespace == self.name.namespace)
            .map(|(name, policy)| (name, &policy.object.spec))
            .filter(move |(_, spec)| is_of_it(spec))
    }

    /// For what of the HTTPRoute a BackendTrafficPolicy is: a rule, or all of it.
    fn sections<'s>(&'s self, spec: &'s BackendTrafficPolicySpec) -> impl Iterator<Item = Option<&'s str>> {
        let named = spec
            .targets("HTTPRoute")
            .filter(|target| target.name == self.name.name)
            .map(|target| target.section_name.as_deref());
        let labels = self.http_route.metadata.labels.as_ref();
        let is_selected = spec
            .target_selectors
            .iter()
            .any(|selector| selector.selects("HTTPRoute", labels));
        named.chain(is_selected.then_some(None))
    }

    /// Whether somebody's policies, which say the same as ours would, are for every rule of the target.
    pub(super) fn is_carried(&self, gateway: &Parent, index: &Index<'_>) -> bool {
        let is_covered = |rule: &HttpRouteRule| {
            self.theirs(index).any(|(_, spec)| {
                let mut sections = self.sections(spec);
                sections.any(|section| section.is_none() || section == rule.name.as_deref())
            })
        };
        matches!(gateway, Parent::EnvoyGateway(_)) && self.rules.iter().all(|(_, rule)| is_covered(rule))
    }

    /// What of the policy is not honoured at a gateway.
    pub(super) fn unsupported(
        &self,
        policy: &SessionPolicy,
        rules: &[Arc<Rule>],
        index: &Index<'_>,
    ) -> Vec<Unsupported> {
        let backend_refs = rules.iter().flat_map(|rule| &rule.backends);
        let backend_refs = backend_refs.map(|share| BackendRef {
            namespace: Some(share.id.service.namespace.clone()),
            ..BackendRef::service(&share.id.service.name, share.id.port)
        });
        let as_route = RouteRule {
            backend_refs: backend_refs.collect(),
            policy: policy.clone(),
            ..RouteRule::default()
        };
        let mut found = unsupported::of_rule(&as_route, &self.name.namespace, "spec", index);
        found.extend(of_the_mesh(policy));
        found
    }

    /// By what the filter knows a rule.
    fn id(&self, at: usize, rule: &HttpRouteRule, made: &Rule, gateway: &Parent) -> RuleId {
        let section = rule.name.as_deref().map_or(Section::At(at), Section::Named);
        let (namespace, name) = (self.name.namespace.as_str(), self.name.name.as_str());
        RuleId::foreign(match (gateway, made.backends.first()) {
            (Parent::IstioClass(_), Some(to)) => {
                let host = istio::host(&to.id.service);
                on_istio(namespace, name, section, (&host, to.id.port))
            }
            _ => on_envoy_gateway(namespace, name, section),
        })
    }

    fn called(&self, at: usize, rule: &HttpRouteRule) -> String {
        rule.name.clone().unwrap_or_else(|| at.to_string())
    }

    fn hostnames(&self) -> impl Iterator<Item = Hostname> {
        let written = &self.http_route.spec.hostnames;
        let all = written.is_empty().then_some(Hostname::Any);
        written.iter().map(|host| Hostname::new(host)).chain(all)
    }
}

/// Whether a rule has a backend, and lets requests go there.
fn leads_somewhere(rule: &HttpRouteRule) -> bool {
    !rule.backend_refs.is_empty() && !rule.filters.iter().any(|filter| filter.r#type == REDIRECT)
}

/// Whether somebody's policy has pods chosen by what the filter says.
fn hashes_as_ours(spec: &BackendTrafficPolicySpec) -> bool {
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
