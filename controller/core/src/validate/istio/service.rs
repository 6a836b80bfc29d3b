//! What Istio knows of a Service without us: whose DestinationRule holds for its clients.

use serde_json::json;

use super::{Candidate, Hindrance, host};
use crate::model::{Hostname, IstioService, ObjectName, Parent, Target, UserRule};
use crate::objects::DestinationRuleSpec;
use crate::refusal::Code;
use crate::validate::age::name_of;
use crate::validate::index::Index;

pub(super) fn read(name: &ObjectName, index: &Index<'_>) -> IstioService {
    let spec = index
        .services
        .get(name)
        .and_then(|service| service.object.spec.clone())
        .unwrap_or_default();
    IstioService {
        selector: spec.selector.unwrap_or_default(),
        ports: spec
            .ports
            .unwrap_or_default()
            .iter()
            .map(|port| json!(port))
            .collect(),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        rule: rule(name, index),
    }
}

/// The rule of the Service's own namespace, the narrowest host first; else that of the whole mesh.
pub(super) fn rule(service: &ObjectName, index: &Index<'_>) -> UserRule {
    let wanted = host(service);
    if let Some((host, spec)) = narrowest(&service.namespace, &wanted, index) {
        return read_rule(spec, host == Hostname::Exact(wanted));
    }
    match narrowest(index.root_namespace, &wanted, index) {
        Some((_, spec)) => UserRule {
            export_to: Vec::new(),
            ..read_rule(spec, false)
        },
        None => UserRule::default(),
    }
}

/// Of the rules of a namespace for a host the one with the narrowest host; of equal ones the oldest.
fn narrowest<'i>(
    namespace: &str,
    host: &str,
    index: &'i Index<'_>,
) -> Option<(Hostname, &'i DestinationRuleSpec)> {
    let mut found: Option<(Hostname, &DestinationRuleSpec)> = None;
    for (_, spec) in rules_of(namespace, host, index) {
        let full = full_host(spec, namespace);
        if found
            .as_ref()
            .is_none_or(|(best, _)| full.specificity() > best.specificity())
        {
            found = Some((full, spec));
        }
    }
    found
}

fn read_rule(spec: &DestinationRuleSpec, is_merged: bool) -> UserRule {
    UserRule {
        export_to: spec.export_to.clone(),
        traffic_policy: spec.traffic_policy.clone(),
        subsets: spec.subsets.clone(),
        is_merged,
    }
}

/// The DestinationRules of a namespace that are for a host and for all clients, the oldest first.
fn rules_of<'i>(
    namespace: &str,
    host: &str,
    index: &'i Index<'_>,
) -> impl Iterator<Item = (ObjectName, &'i DestinationRuleSpec)> {
    all_rules_of(namespace, host, index).filter(|(_, spec)| spec.workload_selector.is_none())
}

/// The same, and those for some clients only.
pub(super) fn all_rules_of<'i>(
    namespace: &str,
    host: &str,
    index: &'i Index<'_>,
) -> impl Iterator<Item = (ObjectName, &'i DestinationRuleSpec)> {
    let all = index.destination_rules.get(namespace).map(Vec::as_slice);
    all.unwrap_or_default()
        .iter()
        .map(|found| (&found.object.metadata, &found.object.spec))
        .filter(move |(_, spec)| full_host(spec, namespace).serves(host))
        .map(|(metadata, spec)| (name_of(metadata), spec))
}

pub(super) fn full_host(spec: &DestinationRuleSpec, namespace: &str) -> Hostname {
    match spec.host.as_str() {
        short if !short.contains(['.', '*']) => Hostname::new(&host(&ObjectName::new(namespace, short))),
        full => Hostname::new(full),
    }
}

/// Services of which there can be no second one, because nothing selects their pods.
pub(super) fn unselected(candidate: &Candidate<'_>, parent: &Parent, index: &Index<'_>) -> Vec<Hindrance> {
    let mut found = Vec::new();
    if !matches!(parent, Parent::IstioClass(_)) {
        return found;
    }
    for (i, (rule, _)) in candidate.rules.iter().enumerate() {
        for share in rule
            .backends
            .iter()
            .filter(|share| share.target == Target::Service)
        {
            if read(&share.id.service, index).selector.is_empty() {
                let message = format!(
                    "Service {} selects no pods, so that Clew's second Service for Istio's Gateway API has none either; give it a selector, or attach the route to an Istio Gateway",
                    share.id.service
                );
                found.push((
                    Code::BackendUnsupported,
                    format!("spec.rules[{i}].backendRefs"),
                    message,
                ));
            }
        }
    }
    found
}
