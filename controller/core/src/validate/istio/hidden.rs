//! DestinationRules of other people's that a gateway would follow instead of ours. Istio looks into the namespace of the
//! client first (unless that is the root namespace), then into the Service's, then into the root namespace, and takes what
//! it finds first whole: also for clients whose labels a rule there does not select, which then have none.

use std::collections::BTreeSet;

use super::service::{all_rules_of, full_host, rule};
use super::workloads::Workloads;
use super::{Candidate, Hindrance, host};
use crate::model::{Hostname, ObjectName, Parent, Target};
use crate::objects::{DestinationRuleSpec, Scope};
use crate::refusal::Code;
use crate::validate::index::Index;

/// Istio's annotation of a Service: the namespaces that know it, with commas.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What hides the rules that a route needs at a parent.
pub(super) fn rules(candidate: &Candidate<'_>, parent: &Parent, index: &Index<'_>) -> Vec<Hindrance> {
    let pods = Workloads::of(parent, index);
    let clients = match &pods {
        Some(pods) => pods.namespaces(),
        None => [candidate.name.namespace.as_str()].into(),
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (i, (rule, _)) in candidate.rules.iter().enumerate() {
        for share in &rule.backends {
            if share.target == Target::Service && seen.insert(&share.id.service) {
                let mut clients = clients.iter();
                let service = &share.id.service;
                let why =
                    clients.find_map(|clients| why_hidden(service, parent, (clients, pods.as_ref()), index));
                found.extend(why.map(|why| (Code::RuleHidden, format!("spec.rules[{i}].backendRefs"), why)));
            }
        }
    }
    found
}

/// Where a Service says that it is known.
fn services_reach<'i>(service: &ObjectName, index: &'i Index<'_>) -> Option<&'i str> {
    let annotations = index
        .services
        .get(service)?
        .object
        .metadata
        .annotations
        .as_ref()?;
    annotations
        .get(EXPORT_TO)
        .map(String::as_str)
        .filter(|to| !to.is_empty())
}

fn why_hidden(
    service: &ObjectName,
    parent: &Parent,
    (clients, pods): (&str, Option<&Workloads<'_>>),
    index: &Index<'_>,
) -> Option<String> {
    // The second Service has a rule for itself alone, and a name that only a wildcard meets.
    let host = match parent {
        Parent::IstioClass(_) => host(&ObjectName::new(
            &service.namespace,
            format!("{}-clew", service.name),
        )),
        _ => host(service),
    };
    if clients != service.namespace {
        let theirs = all_rules_of(clients, &host, index).find(|(_, spec)| {
            clients != index.root_namespace || spec.export_to == ["."] || spec.workload_selector.is_some()
        });
        if let Some((name, spec)) = theirs {
            return Some(format!(
                "DestinationRule {name} for {} is in the namespace of the clients, where Istio looks first, and hides the one that Clew writes into {}; narrow its host, or move it there",
                spec.host, service.namespace
            ));
        }
    }
    // Where ours is, a rule of the very same host for some clients is for these before ours. Of a wildcard ours is the more specific.
    let is_for_them = |spec: &DestinationRuleSpec| {
        let selector = spec.workload_selector.clone()?;
        let scope = Scope {
            selector,
            ..Scope::default()
        };
        pods?.some_in(clients, &scope).then_some(())
    };
    if clients == service.namespace
        && let Some((name, spec)) = all_rules_of(clients, &host, index)
            .filter(|(_, spec)| full_host(spec, clients) == Hostname::new(&host))
            .find(|(_, spec)| is_for_them(spec).is_some())
    {
        return Some(format!(
            "DestinationRule {name} for {} selects the gateway's pods, and Istio takes it there instead of the one that Clew writes beside it; narrow its host, or its workloadSelector",
            spec.host
        ));
    }
    if matches!(parent, Parent::IstioClass(_)) {
        return None;
    }
    if let Some(to) = services_reach(service, index)
        && !to
            .split(',')
            .map(str::trim)
            .any(|to| to == "*" || to == clients || (to == "." && clients == service.namespace))
    {
        return Some(format!(
            "Service {service} is exported to {to} only (its annotation {EXPORT_TO}), so the proxies in namespace {clients} know neither it nor Clew's rule for it; export it there too"
        ));
    }
    let exported = rule(service, index).export_to;
    let reaches = |to: &String| to == "*" || to == clients || (to == "." && clients == service.namespace);
    (!exported.is_empty() && !exported.iter().any(reaches)).then(|| {
        format!(
            "the DestinationRule for {host} is exported to {} only; Clew's must be exported as it is, and does not reach namespace {clients}; export it there too",
            exported.join(", ")
        )
    })
}
