//! Routes, one after the other, oldest first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use clew_crds::WebSocketRoute;
use clew_crds::websocket_route::RouteRule;

use super::age::name_of;
use super::attached::{Attached, Candidate};
use super::index::Index;
use super::istio;
use super::key_sets::KeySets;
use super::listeners::{Listeners, Place};
use super::matches::matching;
use super::{
    Notice, ParentReport, RouteReport, Target as Served, backends, grants, parents, rules, unsupported,
};
use crate::model::{
    AttachedPolicy, AttachedRoute, Backend, BackendId, BackendShare, GatewayApi, Hostname, Istio, Jwks,
    Match, ObjectName, OwnerKind, Parent, Rule, RuleId, RuleName, Target,
};
use crate::objects::Sourced;
use crate::refusal::{Code, Condition, ObjectRef, Refusal};

/// The routes so far.
pub(super) struct Routes<'i, 'a> {
    index: &'i Index<'a>,
    target: Served,
    reports: BTreeMap<ObjectName, RouteReport>,
    /// Which rule has an id.
    ids: HashMap<RuleId, RuleName>,
    /// The shortest drain timeout of the rules in force, by backend.
    used: BTreeMap<BackendId, u64>,
    attached: Attached,
    key_sets: KeySets<'i, 'a>,
}

/// The reports, the backends that rules in force use, and the key sets.
type Finished = (
    Vec<RouteReport>,
    BTreeMap<BackendId, Backend>,
    (Istio, GatewayApi),
    BTreeMap<ObjectName, Jwks>,
);

/// The name of the one rule of a route that names none.
const ONLY_RULE: &str = "default";

/// A rule and what attaches it.
pub(super) type ReadRule = (Arc<Rule>, Vec<Arc<Match>>);

impl<'i, 'a> Routes<'i, 'a> {
    pub(super) fn new(index: &'i Index<'a>, target: Served) -> Self {
        Self {
            index,
            target,
            reports: BTreeMap::new(),
            ids: HashMap::new(),
            used: BTreeMap::new(),
            attached: Attached::default(),
            key_sets: KeySets::new(index),
        }
    }

    /// Attaches a route wherever it can be.
    pub(super) fn add(&mut self, sourced: &'a Sourced<WebSocketRoute>, listeners: &mut Listeners<'a>) {
        let route = &sourced.object;
        let name = name_of(&route.metadata);
        let mut refusals = Refusals {
            of: sourced,
            name: &name,
            list: Vec::new(),
        };
        let named: Vec<_> = route
            .spec
            .parent_refs
            .iter()
            .map(|reference| parents::parent(reference, &name.namespace, self.index, self.target))
            .collect();
        let is_meshed = |parent: &&Parent| matches!(parent, Parent::IstioClass(_) | Parent::IstioGateway(_));
        let meshed = named.iter().flatten().any(|parent| is_meshed(&parent));
        let rules = self.rules(route, &name, meshed, &mut refusals);
        let hostnames = hostnames(route, &mut refusals);
        self.want_keys(route, &name, &mut refusals);
        let mut found: Vec<(Option<Parent>, Vec<Place>)> = Vec::new();
        let mut unverified = Vec::new();
        for (i, (reference, parent)) in route.spec.parent_refs.iter().zip(named).enumerate() {
            let places = parent.as_ref().map_err(Clone::clone).and_then(|parent| {
                parents::places(
                    &name.namespace,
                    parent,
                    reference,
                    &hostnames,
                    listeners,
                    self.index,
                )
            });
            let places = places
                .map_err(|no_place| {
                    let field = format!("spec.parentRefs[{i}]{}", no_place.field);
                    refusals.add(no_place.code, field, no_place.message, Some(i));
                })
                .ok()
                .filter(|places| !conflict(places, &rules, &name, listeners, i, &mut refusals));
            let mut places = places.unwrap_or_default();
            if let (Ok(parent), false) = (&parent, places.is_empty()) {
                let candidate = Candidate {
                    route: sourced,
                    name: &name,
                    rules: &rules,
                };
                let hindrances = self.attached.hindrances(&candidate, parent, &places, self.index);
                let lacks = tokens(&route.spec.rules, &rules, parent, &places, self.index);
                if let Some((field, message)) = lacks {
                    unverified.push((i, field, message));
                }
                for (code, field, message) in hindrances {
                    // The others are in force without what is missing.
                    if !matches!(code.condition(), Condition::ResolvedRefs(_)) {
                        places.clear();
                    }
                    let field = if field.is_empty() {
                        format!("spec.parentRefs[{i}]")
                    } else {
                        field
                    };
                    refusals.add(code, field, message, Some(i));
                }
            }
            found.push((parent.ok(), places));
        }
        // What no parent verifies is the text's fault, which keeps it from taking the place of a good one.
        let nowhere = unverified.len() == found.len();
        for (i, field, message) in unverified {
            if let Some((_, places)) = found.get_mut(i) {
                places.clear();
            }
            refusals.add(Code::ClaimUnverified, field, message, (!nowhere).then_some(i));
        }
        // What is wrong with the route itself keeps it from every parent.
        let accepted = !refusals.list.iter().any(|refusal| {
            refusal.parent.is_none() && matches!(refusal.code.condition(), Condition::Accepted(_))
        });
        let mut parents = Vec::new();
        for (reference, (parent, places)) in route.spec.parent_refs.iter().zip(found) {
            let in_force = accepted && !places.is_empty();
            if in_force {
                self.attach(&rules, &places, listeners);
                if let Some(parent) = parent
                    .as_ref()
                    .filter(|parent| !matches!(parent, Parent::Standalone(_)))
                {
                    let candidate = Candidate {
                        route: sourced,
                        name: &name,
                        rules: &rules,
                    };
                    self.attached
                        .attach(&candidate, parent, reference, &places, &hostnames);
                }
            }
            let unsupported = parent
                .as_ref()
                .map(|parent| unsupported::at(route, parent, self.index));
            parents.push(ParentReport {
                reference: reference.clone(),
                parent,
                in_force,
                unsupported: unsupported.unwrap_or_default(),
            });
        }
        let refusals = refusals.list;
        self.reports.insert(
            name.clone(),
            RouteReport {
                kind: OwnerKind::Route,
                name,
                source: sourced.source.clone(),
                generation: route.metadata.generation,
                parents,
                refusals,
                truncated: Vec::new(),
            },
        );
    }

    fn attach(&mut self, rules: &[ReadRule], places: &[Place], listeners: &mut Listeners<'a>) {
        for (rule, matches) in rules {
            self.ids
                .entry(rule.id.clone())
                .or_insert_with(|| rule.name.clone());
            self.use_backends(rule);
            for place in places {
                for matching in matches {
                    listeners.attach(place, matching, rule);
                }
            }
        }
    }

    /// The backends of a rule are in force.
    pub(super) fn use_backends(&mut self, rule: &Rule) {
        for share in rule
            .backends
            .iter()
            .filter(|share| share.target == Target::Service)
        {
            let timeout = self.used.entry(share.id.clone()).or_insert(rule.drain_timeout_ms);
            *timeout = rule.drain_timeout_ms.min(*timeout);
        }
    }

    /// The routes at parents that are not on this machine.
    pub(super) fn attached(&self) -> &[AttachedRoute] {
        &self.attached.routes
    }

    /// The rules of a route that make sense.
    fn rules(
        &self,
        route: &WebSocketRoute,
        name: &ObjectName,
        meshed: bool,
        refusals: &mut Refusals<'_>,
    ) -> Vec<ReadRule> {
        let mut seen: HashMap<Match, String> = HashMap::new();
        let mut read: Vec<ReadRule> = Vec::new();
        for (i, written) in route.spec.rules.iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            let Some(rule_name) = self.rule_name(route, written, name, &read, &path, refusals) else {
                continue;
            };
            let mut matches = Vec::new();
            if written.matches.is_empty() {
                matches.extend(matching(&Default::default()));
            }
            for (j, one) in written.matches.iter().enumerate() {
                match matching(one) {
                    Ok(matching) => matches.push(matching),
                    Err((code, below, message)) => {
                        refusals.add(code, format!("{path}.matches[{j}]{below}"), message, None);
                    }
                }
            }
            for (j, matching) in matches.iter().enumerate() {
                let here = format!("{path}.matches[{j}]");
                if let Some(there) = seen.insert(matching.clone(), here.clone()) {
                    let message = format!("it is the same as {there}, which comes first; remove one of them");
                    refusals.add(Code::MatchRepeated, here, message, None);
                }
            }
            let backends = self.backends(written, name, &path, refusals);
            let hostnames = &route.spec.hostnames;
            match rules::rule(rule_name, written, hostnames, &matches, backends, meshed) {
                Ok(rule) => read.push((Arc::new(rule), matches.into_iter().map(Arc::new).collect())),
                Err((code, below, message)) => refusals.add(code, format!("{path}{below}"), message, None),
            }
        }
        read
    }

    fn rule_name(
        &self,
        route: &WebSocketRoute,
        written: &RouteRule,
        name: &ObjectName,
        before: &[ReadRule],
        path: &str,
        refusals: &mut Refusals<'_>,
    ) -> Option<RuleName> {
        let rule = match &written.name {
            Some(rule) => rule.clone(),
            None if route.spec.rules.len() == 1 => ONLY_RULE.to_owned(),
            None => {
                let message = "a route with several rules names each; give this one a name".to_owned();
                refusals.add(Code::RuleNameInvalid, format!("{path}.name"), message, None);
                return None;
            }
        };
        if before.iter().any(|(other, _)| other.name.rule == rule) {
            let message = format!("another rule of the route is named {rule:?}; names are unique");
            refusals.add(Code::RuleNameInvalid, format!("{path}.name"), message, None);
            return None;
        }
        let full = RuleName {
            route: name.clone(),
            rule,
        };
        let id = RuleId::of(&full);
        let same = before
            .iter()
            .map(|(rule, _)| rule)
            .find(|rule| rule.id == id)
            .map(|rule| &rule.name);
        if let Some(other) = self.ids.get(&id).or(same).filter(|other| **other != full) {
            let message = format!("the name has the same hash as {other}; rename the rule");
            refusals.add(Code::RuleIdTaken, format!("{path}.name"), message, None);
            return None;
        }
        Some(full)
    }

    fn backends(
        &self,
        written: &RouteRule,
        name: &ObjectName,
        path: &str,
        refusals: &mut Refusals<'_>,
    ) -> Vec<BackendShare> {
        let mut shares: Vec<BackendShare> = Vec::new();
        for (i, reference) in written.backend_refs.iter().enumerate() {
            let id = backends::id(reference, &name.namespace);
            let target = match backends::port(reference, &id, (grants::ROUTE, &name.namespace), self.index) {
                Ok(_) => Target::Service,
                Err((code, below, message)) => {
                    refusals.add(code, format!("{path}.backendRefs[{i}]{below}"), message, None);
                    Target::Missing
                }
            };
            // Two references to one backend are one, with the sum of their weights.
            match shares.iter_mut().find(|share| share.id == id) {
                Some(share) => share.weight = share.weight.saturating_add(reference.weight),
                None => shares.push(BackendShare {
                    id,
                    weight: reference.weight,
                    target,
                }),
            }
        }
        shares
    }

    /// The Secrets with which a route verifies tokens.
    fn want_keys(&mut self, route: &WebSocketRoute, name: &ObjectName, refusals: &mut Refusals<'_>) {
        for (i, rule) in route.spec.rules.iter().enumerate() {
            let Some(jwt) = &rule.policy.security.jwt else {
                continue;
            };
            let secret = ObjectName::new(&name.namespace, &jwt.jwks_secret_ref.name);
            if let Err((code, message)) = self.key_sets.want(&secret) {
                let field = format!("spec.rules[{i}].security.jwt.jwksSecretRef.name");
                refusals.add(code, field, message, None);
            }
        }
    }

    /// Other people's objects beside the routes that are attached.
    pub(super) fn notices(&self) -> Vec<Notice> {
        self.attached.notices(self.index)
    }

    /// With what there is of policies.
    pub(super) fn finish(self, policies: Vec<AttachedPolicy>, others: &mut Vec<Refusal>) -> Finished {
        let attached = self.attached.finish(policies, self.index);
        let mut backends = BTreeMap::new();
        for (id, drain_timeout_ms) in self.used {
            let service = self.index.services.get(&id.service);
            let ports = service
                .and_then(|service| service.object.spec.as_ref()?.ports.as_deref())
                .unwrap_or_default();
            let Some(port) = ports.iter().find(|port| port.port == i32::from(id.port)) else {
                continue;
            };
            let pods = backends::pods(&id.service, port, self.index, others);
            backends.insert(
                id,
                Backend {
                    pods,
                    drain_timeout_ms,
                },
            );
        }
        (
            self.reports.into_values().collect(),
            backends,
            attached,
            self.key_sets.read(),
        )
    }
}

/// Tokens that are to be verified, and are not at a parent: there the claims would be anybody's.
pub(super) fn tokens(
    written: &[RouteRule],
    rules: &[ReadRule],
    parent: &Parent,
    places: &[Place],
    index: &Index<'_>,
) -> Option<(String, String)> {
    let verifies = |rule: &RouteRule| rule.policy.security.jwt.is_some();
    match written.iter().position(verifies) {
        Some(rule) if !matches!(parent, Parent::Standalone(_)) => {
            let message = "only stand-alone Envoy verifies tokens by this field; remove it here, and let the mesh's own policy verify them";
            Some((format!("spec.rules[{rule}].security.jwt"), message.to_owned()))
        }
        _ => istio::unverified(written, rules, parent, places, index),
    }
}

/// The mistakes of one route.
struct Refusals<'r> {
    of: &'r Sourced<WebSocketRoute>,
    name: &'r ObjectName,
    list: Vec<Refusal>,
}

impl Refusals<'_> {
    fn add(&mut self, code: Code, field: String, message: String, parent: Option<usize>) {
        self.list.push(Refusal {
            code,
            object: ObjectRef {
                kind: "WebSocketRoute",
                name: self.name.clone(),
            },
            source: self.of.source.clone(),
            field,
            message,
            parent,
        });
    }
}

/// Whether an older route has one of the matches at one of the places.
fn conflict(
    places: &[Place],
    rules: &[ReadRule],
    name: &ObjectName,
    listeners: &Listeners<'_>,
    parent: usize,
    refusals: &mut Refusals<'_>,
) -> bool {
    for place in places {
        for (i, (_, matches)) in rules.iter().enumerate() {
            for (j, matching) in matches.iter().enumerate() {
                // Two parentRefs that reach one listener are no conflict.
                if let Some(winner) = listeners.owner(place, matching).filter(|owner| *owner != name) {
                    let message = format!(
                        "WebSocketRoute {winner} is older and has the same match on hostname {} of {}; change the match or remove one of the routes",
                        place.hostname, place.at
                    );
                    refusals.add(
                        Code::MatchTaken,
                        format!("spec.rules[{i}].matches[{j}]"),
                        message,
                        Some(parent),
                    );
                    return true;
                }
            }
        }
    }
    false
}

fn hostnames(route: &WebSocketRoute, refusals: &mut Refusals<'_>) -> Vec<Hostname> {
    if route.spec.hostnames.is_empty() {
        return vec![Hostname::Any];
    }
    let mut hostnames = Vec::new();
    for (i, text) in route.spec.hostnames.iter().enumerate() {
        let host = text.strip_prefix("*.").unwrap_or(text);
        if host.is_empty() || host.contains(['*', ':', '/', ' ']) || host.parse::<std::net::IpAddr>().is_ok()
        {
            let message = format!(
                "{text:?} is not a hostname; write chat.example.com or *.example.com, without a port"
            );
            refusals.add(
                Code::HostnameInvalid,
                format!("spec.hostnames[{i}]"),
                message,
                None,
            );
        } else {
            hostnames.push(Hostname::new(text));
        }
    }
    hostnames
}
