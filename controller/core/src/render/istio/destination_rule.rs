//! DestinationRules. Of two for one host Istio takes the older one's policy whole and adds the younger one's subsets, so ours
//! for the user's Service has subsets only, in the Service's namespace, exported as the user's is: what the user wrote goes
//! on for everything that does not ask for our subset.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::policy::{Policy, placed};
use super::{host, names_subsets};
use crate::model::{GATEWAY_NAME, Istio, IstioService, ObjectName, Owner, Parent, Target};
use crate::render::object::{LABEL, Object, SUBDOMAIN, name};
use smol_str::SmolStr;

pub(super) const API: &str = "networking.istio.io/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_policy: Option<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subsets: Vec<Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    export_to: &'a [String],
}

/// A policy for a Service, and who wants it.
pub(super) struct Wanted {
    pub(super) policy: Policy,
    pub(super) owners: BTreeSet<Owner>,
    /// The namespaces of the gateways that ask for it.
    pub(super) gateways: BTreeSet<SmolStr>,
}

/// By Service and the policy's name; subsets, or second Services.
pub(super) fn wanted(istio: &Istio, subsets: bool) -> BTreeMap<(&ObjectName, String), Wanted> {
    let mut all: BTreeMap<_, Wanted> = BTreeMap::new();
    for route in istio
        .routes
        .iter()
        .filter(|route| names_subsets(&route.parent) == subsets)
    {
        for rule in route.rules.iter().map(|attached| &attached.rule) {
            for share in rule
                .backends
                .iter()
                .filter(|share| share.target == Target::Service)
            {
                let policy = Policy::of(rule, share, &route.parent, istio);
                let wanted = all
                    .entry((&share.id.service, policy.name()))
                    .or_insert_with(|| Wanted {
                        policy,
                        owners: BTreeSet::new(),
                        gateways: BTreeSet::new(),
                    });
                wanted.owners.insert(route.owner());
                if let Parent::IstioClass(gateway) = &route.parent {
                    wanted.gateways.insert(gateway.namespace.clone());
                }
            }
        }
    }
    all
}

pub(super) fn objects(istio: &Istio) -> Vec<Object> {
    let mut by_service: BTreeMap<&ObjectName, Vec<(String, Wanted)>> = BTreeMap::new();
    for ((service, subset), wanted) in wanted(istio, true) {
        by_service.entry(service).or_default().push((subset, wanted));
    }
    let of_subsets = by_service
        .into_iter()
        .filter_map(|(service, subsets)| Some(with_subsets(service, istio.services.get(service)?, subsets)));
    let of_services = wanted(istio, false)
        .into_iter()
        .filter_map(|((service, _), wanted)| Some(of_second(service, istio.services.get(service)?, wanted)));
    of_subsets.chain(of_services).chain(of_policies(istio)).collect()
}

fn with_subsets(service: &ObjectName, known: &IstioService, subsets: Vec<(String, Wanted)>) -> Object {
    let user = &known.rule;
    // A rule that Istio does not merge with ours holds no more beside it, so ours says what it said.
    let repeated = if user.is_merged { &[][..] } else { &user.subsets };
    let ours = subsets
        .iter()
        .map(|(subset, wanted)| json!({"name": subset, "trafficPolicy": wanted.policy.of_subset()}));
    let spec = Spec {
        host: host(service),
        traffic_policy: user.traffic_policy.as_ref().filter(|_| !user.is_merged),
        subsets: repeated.iter().cloned().chain(ours).collect(),
        export_to: &user.export_to,
    };
    let owners: BTreeSet<_> = subsets
        .iter()
        .flat_map(|(_, wanted)| wanted.owners.clone())
        .collect();
    let called = ObjectName::new(&service.namespace, name(&service.name, "clew", SUBDOMAIN));
    Object::new(API, "DestinationRule", called, &spec, owners)
}

/// For the second Service alone, so all of it is ours.
fn of_second(service: &ObjectName, known: &IstioService, wanted: Wanted) -> Object {
    let second = wanted.policy.second_service(service);
    let export_to: Vec<_> = wanted.gateways.into_iter().map(String::from).collect();
    let policy = wanted.policy.of_second_service(known);
    let spec = Spec {
        host: host(&second),
        traffic_policy: Some(&policy),
        subsets: Vec::new(),
        export_to: &export_to,
    };
    let called = ObjectName::new(&second.namespace, name(&second.name, "second", LABEL + 10));
    Object::new(API, "DestinationRule", called, &spec, wanted.owners)
}

/// For the backends of somebody's HTTPRoutes, and for the pods of one gateway alone: every other client goes on as it was.
fn of_policies(istio: &Istio) -> impl Iterator<Item = Object> {
    let mut wanted: BTreeMap<(&ObjectName, &ObjectName), BTreeSet<Owner>> = BTreeMap::new();
    for policy in &istio.policies {
        for share in policy.rules.iter().flat_map(|rule| &rule.backends) {
            let of_backend = wanted.entry((policy.parent.name(), &share.id.service));
            of_backend.or_default().insert(policy.owner());
        }
    }
    wanted.into_iter().map(|((gateway, service), owners)| {
        let spec = json!({
            "host": host(service),
            "workloadSelector": {"matchLabels": {GATEWAY_NAME: gateway.name}},
            "trafficPolicy": {"loadBalancer": placed()},
        });
        // No label has a dot.
        let called = format!("{}.{}.{}", gateway.name, service.namespace, service.name);
        let called = ObjectName::new(&gateway.namespace, name(&called, "clew", SUBDOMAIN));
        Object::new(API, "DestinationRule", called, &spec, owners)
    })
}

/// Where a VirtualService sends what a rule takes.
pub(super) fn destination(policy: &Policy, share: &crate::model::BackendShare) -> Map<String, Value> {
    let mut destination = Map::new();
    destination.insert("host".to_owned(), host(&share.id.service).into());
    destination.insert("subset".to_owned(), policy.name().into());
    destination.insert("port".to_owned(), json!({"number": share.id.port}));
    destination
}
