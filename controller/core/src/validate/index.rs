use std::collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry};

use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::age::{name_of, oldest_first};
use crate::model::ObjectName;
use crate::objects::{
    AuthorizationPolicy, BackendTrafficPolicy, Bystander, DestinationRule, EnvoyFilter, ExtensionPolicy,
    Gateway, HttpRoute, IstioGateway, Objects, ParentKind, ReferenceGrant, RequestAuthentication, Sourced,
    VirtualService,
};
use crate::refusal::{Code, ObjectRef, Refusal};
use crate::render::{MANAGED_BY, MANAGER};
use smol_str::SmolStr;

/// The label by which an EndpointSlice belongs to a Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Every object by its name.
pub(super) struct Index<'a> {
    pub(super) routes: ByName<'a, WebSocketRoute>,
    pub(super) policies: ByName<'a, WebSocketPolicy>,
    pub(super) http_routes: ByName<'a, HttpRoute>,
    /// Other people's.
    pub(super) backend_traffic_policies: ByName<'a, BackendTrafficPolicy>,
    pub(super) gateways: ByName<'a, Gateway>,
    /// Who serves each class.
    pub(super) controllers: BTreeMap<&'a str, &'a str>,
    pub(super) grants: ByName<'a, ReferenceGrant>,
    pub(super) istio_gateways: ByName<'a, IstioGateway>,
    /// Other people's.
    pub(super) virtual_services: ByName<'a, VirtualService>,
    /// Other people's, by their namespace, the oldest first.
    pub(super) destination_rules: HashMap<SmolStr, Vec<&'a Sourced<DestinationRule>>>,
    pub(super) request_authentications: ByName<'a, RequestAuthentication>,
    pub(super) authorization_policies: ByName<'a, AuthorizationPolicy>,
    /// Other people's.
    pub(super) envoy_filters: ByName<'a, EnvoyFilter>,
    pub(super) bystanders: &'a [Bystander],
    /// Kinds of which nobody knows yet what there is.
    pub(super) unknown_parents: &'a BTreeSet<ParentKind>,
    /// Labels, by namespace.
    pub(super) namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
    /// Istio's.
    pub(super) root_namespace: &'a str,
    /// Labels of gateways' pods.
    pub(super) gateway_pods: &'a BTreeMap<ObjectName, BTreeMap<String, String>>,
    /// Other people's.
    pub(super) extension_policies: ByName<'a, ExtensionPolicy>,
    pub(super) services: ByName<'a, Service>,
    pub(super) secrets: ByName<'a, Secret>,
    /// By the Service that they belong to, in the order of their own names.
    pub(super) slices: HashMap<ObjectName, Vec<&'a Sourced<EndpointSlice>>>,
}

type ByName<'a, T> = BTreeMap<ObjectName, &'a Sourced<T>>;

impl<'a> Index<'a> {
    pub(super) fn new(objects: &'a Objects, refusals: &mut Vec<Refusal>) -> Self {
        let mut slices: HashMap<_, Vec<_>> = HashMap::new();
        let unique = by_name(
            "EndpointSlice",
            &objects.endpoint_slices,
            |slice| &slice.metadata,
            refusals,
        );
        for (name, slice) in unique {
            let labels = slice.object.metadata.labels.as_ref();
            if let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) {
                slices
                    .entry(ObjectName::new(name.namespace, service))
                    .or_default()
                    .push(slice);
            }
        }
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        let foreign_rules = foreign(
            by_name(
                "DestinationRule",
                &objects.destination_rules,
                |rule| &rule.metadata,
                refusals,
            ),
            |rule| &rule.metadata,
        );
        for rule in oldest_first(foreign_rules.into_values()) {
            let namespace = name_of(&rule.object.metadata).namespace;
            rules.entry(namespace).or_default().push(rule);
        }
        Self {
            routes: by_name(
                "WebSocketRoute",
                &objects.routes,
                |route| &route.metadata,
                refusals,
            ),
            policies: by_name(
                "WebSocketPolicy",
                &objects.policies,
                |policy| &policy.metadata,
                refusals,
            ),
            http_routes: by_name(
                "HTTPRoute",
                &objects.http_routes,
                |route| &route.metadata,
                refusals,
            ),
            backend_traffic_policies: foreign(
                by_name(
                    "BackendTrafficPolicy",
                    &objects.backend_traffic_policies,
                    |policy| &policy.metadata,
                    refusals,
                ),
                |policy| &policy.metadata,
            ),
            gateways: by_name(
                "Gateway",
                &objects.gateways,
                |gateway| &gateway.metadata,
                refusals,
            ),
            controllers: controllers(objects),
            grants: by_name(
                "ReferenceGrant",
                &objects.grants,
                |grant| &grant.metadata,
                refusals,
            ),
            istio_gateways: by_name(
                "Gateway",
                &objects.istio_gateways,
                |gateway| &gateway.metadata,
                refusals,
            ),
            virtual_services: foreign(
                by_name(
                    "VirtualService",
                    &objects.virtual_services,
                    |service| &service.metadata,
                    refusals,
                ),
                |service| &service.metadata,
            ),
            destination_rules: rules,
            request_authentications: by_name(
                "RequestAuthentication",
                &objects.request_authentications,
                |policy| &policy.metadata,
                refusals,
            ),
            authorization_policies: by_name(
                "AuthorizationPolicy",
                &objects.authorization_policies,
                |policy| &policy.metadata,
                refusals,
            ),
            envoy_filters: foreign(
                by_name(
                    "EnvoyFilter",
                    &objects.envoy_filters,
                    |filter| &filter.metadata,
                    refusals,
                ),
                |filter| &filter.metadata,
            ),
            bystanders: &objects.bystanders,
            unknown_parents: &objects.unknown_parents,
            namespaces: &objects.namespaces,
            root_namespace: objects.root_namespace.name(),
            gateway_pods: &objects.gateway_pods,
            extension_policies: foreign(
                by_name(
                    "EnvoyExtensionPolicy",
                    &objects.extension_policies,
                    |policy| &policy.metadata,
                    refusals,
                ),
                |policy| &policy.metadata,
            ),
            services: by_name(
                "Service",
                &objects.services,
                |service| &service.metadata,
                refusals,
            ),
            secrets: by_name("Secret", &objects.secrets, |secret| &secret.metadata, refusals),
            slices,
        }
    }
}

/// Classes have no namespace; of two of one name the first counts.
fn controllers(objects: &Objects) -> BTreeMap<&str, &str> {
    let mut controllers = BTreeMap::new();
    for class in &objects.gateway_classes {
        let class = &class.object;
        let name = class.metadata.name.as_deref().unwrap_or_default();
        controllers
            .entry(name)
            .or_insert(class.spec.controller_name.as_str());
    }
    controllers
}

/// Without what Clew itself has written.
fn foreign<'a, T>(mut all: ByName<'a, T>, metadata: impl Fn(&T) -> &ObjectMeta) -> ByName<'a, T> {
    all.retain(|_, sourced| !is_ours(metadata(&sourced.object)));
    all
}

/// Whether Clew itself has written an object.
pub(super) fn is_ours(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY))
        .map(String::as_str)
        == Some(MANAGER)
}

fn by_name<'a, T>(
    kind: &'static str,
    objects: &'a [Sourced<T>],
    metadata: impl Fn(&T) -> &ObjectMeta,
    refusals: &mut Vec<Refusal>,
) -> ByName<'a, T> {
    let mut by_name: ByName<'a, T> = BTreeMap::new();
    for sourced in objects {
        match by_name.entry(name_of(metadata(&sourced.object))) {
            Entry::Vacant(vacant) => {
                vacant.insert(sourced);
            }
            Entry::Occupied(first) => refusals.push(Refusal {
                code: Code::DuplicateObject,
                object: ObjectRef {
                    kind,
                    name: first.key().clone(),
                },
                source: sourced.source.clone(),
                field: "metadata.name".to_owned(),
                message: format!(
                    "the same object is at {}, which counts; remove one of them",
                    first.get().source
                ),
                parent: None,
            }),
        }
    }
    by_name
}
