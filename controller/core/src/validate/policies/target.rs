//! One target of a policy: the rules of the HTTPRoute that are left for it, and the Gateways that take them.

use std::collections::{BTreeMap, BTreeSet};

use clew_crds::websocket_policy::PolicyTargetReference;
use clew_crds::websocket_route::{BackendRef, ParentReference, RouteRule, SessionPolicy};
use clew_filter_config::http_route::{Section, on_envoy_gateway, on_istio};

use super::suited::hashes_as_ours;
use super::{Claim, Wrong, of_the_mesh};
use crate::model::{AttachedPolicy, BackendId, Hostname, ObjectName, Parent, Rule, RuleId};
use crate::objects::{BackendTrafficPolicySpec, HttpRoute, HttpRouteRule};
use crate::refusal::Code;
use crate::validate::index::{Index, is_ours};
use crate::validate::listeners::{self, Listeners};
use crate::validate::parents::{self, NoPlace};
use crate::validate::{self, Unsupported, istio, unsupported};

/// A target as it is.
pub(super) struct Read<'a> {
    pub(super) http_route: &'a HttpRoute,
    pub(super) name: ObjectName,
    /// The rules that no other policy names, with their places.
    pub(super) rules: Vec<(usize, &'a HttpRouteRule)>,
}

/// Where a target may be served.
pub(super) struct Place {
    /// The Gateway.
    pub(super) reference: ParentReference,
    /// What it is, and its listeners that take the HTTPRoute.
    pub(super) found: Result<(Parent, Vec<listeners::Place>), NoPlace>,
}

/// A filter of an HTTPRoute's rule that answers requests.
const REDIRECT: &str = "RequestRedirect";

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

    /// The Gateways that the HTTPRoute names, each once, with where it attaches there.
    pub(super) fn places(
        &self,
        served: validate::Target,
        listeners: &Listeners<'_>,
        index: &Index<'_>,
    ) -> Vec<Place> {
        let namespace = &self.name.namespace;
        let hostnames: Vec<_> = self.hostnames().collect();
        let mut places: Vec<Place> = Vec::new();
        for named in &self.http_route.spec.parent_refs {
            let reference = ParentReference {
                namespace: named.namespace.clone().or_else(|| Some(namespace.to_string())),
                section_name: None,
                port: None,
                ..named.clone()
            };
            let served = parents::parent(&reference, namespace, index, served).and_then(has_a_filter);
            let found = served.and_then(|gateway| {
                let here = parents::places(namespace, &gateway, named, &hostnames, listeners, index)?;
                Ok((gateway, here))
            });
            let found = found.map_err(|no_place| NoPlace {
                message: format!("HTTPRoute {}: {}", self.name, no_place.message),
                ..no_place
            });
            match places.iter_mut().find(|known| known.reference == reference) {
                None => places.push(Place { reference, found }),
                // Of several listeners of a Gateway one that takes it is enough.
                Some(known) => match (&mut known.found, found) {
                    (Ok((_, places)), Ok((_, more))) => places.extend(more),
                    (known @ Err(_), found @ Ok(_)) => *known = found,
                    (_, Err(_)) => {}
                },
            }
        }
        places
    }

    /// Somebody's BackendTrafficPolicies for a rule, or for the whole HTTPRoute.
    pub(super) fn theirs<'i>(
        &'i self,
        rule: &'i HttpRouteRule,
        index: &'i Index<'_>,
    ) -> impl Iterator<Item = (&'i ObjectName, &'i BackendTrafficPolicySpec)> {
        let is_of_it = |spec: &BackendTrafficPolicySpec| {
            let mut sections = self.sections(spec);
            sections.any(|section| section.is_none() || section == rule.name.as_deref())
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

    /// What of the policy is not honoured where it is attached.
    pub(super) fn unsupported(
        &self,
        policy: &SessionPolicy,
        attached: &[AttachedPolicy],
        index: &Index<'_>,
    ) -> Vec<Unsupported> {
        let rules = attached.iter().flat_map(|policy| &policy.rules);
        let backends: BTreeSet<&BackendId> = rules
            .flat_map(|rule| &rule.backends)
            .map(|share| &share.id)
            .collect();
        let backend_refs = backends.into_iter().map(|id| BackendRef {
            namespace: Some(id.service.namespace.to_string()),
            ..BackendRef::service(id.service.name.clone(), id.port)
        });
        let as_route = RouteRule {
            backend_refs: backend_refs.collect(),
            policy: policy.clone(),
            ..RouteRule::default()
        };
        let mut found = unsupported::of_rule(&as_route, &self.name.namespace, "spec", index);
        found.extend(of_the_mesh(policy));
        found.extend(self.silence(attached, index));
        found
    }

    /// What somebody's own policy, which carries the sessions, has Envoy Gateway do to those that are silent.
    fn silence(&self, attached: &[AttachedPolicy], index: &Index<'_>) -> Option<Unsupported> {
        let there = attached
            .iter()
            .filter(|policy| matches!(policy.parent, Parent::EnvoyGateway(_)));
        let mut rules = there.flat_map(|policy| {
            let section = policy.section.as_deref();
            let is_of_it = move |rule: &&HttpRouteRule| section.is_none() || section == rule.name.as_deref();
            self.rules.iter().map(|(_, rule)| *rule).filter(is_of_it)
        });
        let why = rules.find_map(|rule| {
            let (name, spec) = self.nearest(rule, index)?;
            let timeout = spec.timeout.as_ref().map(|timeout| &timeout["http"]);
            let says = |field: &str| timeout.and_then(|http| http[field].as_str());
            match says("streamIdleTimeout") {
                Some(idle) if idle.contains(|digit: char| matches!(digit, '1'..='9')) => Some(format!(
                    "BackendTrafficPolicy {name} has Envoy Gateway reset what says nothing for {idle}, without a Close"
                )),
                Some(_) => None,
                // Each of these decides it, too (Envoy Gateway 1.9).
                None if spec.merge_type.is_some() || says("requestTimeout").is_some() || rule.timeouts.is_some() => None,
                None => Some(format!(
                    "BackendTrafficPolicy {name} has no streamIdleTimeout, and unless a ClientTrafficPolicy has one Envoy Gateway resets what says nothing for 5 minutes"
                )),
            }
        })?;
        Some(Unsupported {
            field: "spec.timeouts.idle".to_owned(),
            why: format!("{why}; put this into it: timeout: {{http: {{streamIdleTimeout: 0s}}}}"),
        })
    }

    /// The one of somebody's BackendTrafficPolicies that holds for a rule, where it chooses pods as ours would.
    fn nearest<'i>(
        &'i self,
        rule: &'i HttpRouteRule,
        index: &'i Index<'_>,
    ) -> Option<(&'i ObjectName, &'i BackendTrafficPolicySpec)> {
        let is_whole = |(_, spec): &(_, &BackendTrafficPolicySpec)| {
            !self
                .sections(spec)
                .any(|section| section.is_some() && section == rule.name.as_deref())
        };
        let nearest = self.theirs(rule, index).min_by_key(is_whole);
        nearest.filter(|(_, spec)| hashes_as_ours(spec))
    }

    /// By what the filter knows a rule.
    pub(super) fn id(&self, at: usize, rule: &HttpRouteRule, made: &Rule, gateway: &Parent) -> RuleId {
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

    pub(super) fn what(&self, at: usize, rule: &HttpRouteRule) -> String {
        format!("rule {} of HTTPRoute {}", self.called(at, rule), self.name)
    }

    pub(super) fn called(&self, at: usize, rule: &HttpRouteRule) -> String {
        rule.name.clone().unwrap_or_else(|| at.to_string())
    }

    pub(super) fn hostnames(&self) -> impl Iterator<Item = Hostname> {
        let written = &self.http_route.spec.hostnames;
        let all = written.is_empty().then_some(Hostname::Any);
        written.iter().map(|host| Hostname::new(host)).chain(all)
    }
}

/// Whether a rule has a backend, and lets requests go there.
fn leads_somewhere(rule: &HttpRouteRule) -> bool {
    !rule.backend_refs.is_empty() && !rule.filters.iter().any(|filter| filter.r#type == REDIRECT)
}

/// A Gateway on which the filter can be for HTTPRoutes.
fn has_a_filter(gateway: Parent) -> Result<Parent, NoPlace> {
    match gateway {
        Parent::IstioClass(_) | Parent::EnvoyGateway(_) => Ok(gateway),
        _ => {
            let message = format!("{gateway} has no filter for HTTPRoutes; write a WebSocketRoute for it");
            Err(parents::no_place(Code::ParentNotServed, "", message))
        }
    }
}
