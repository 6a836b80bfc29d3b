//! What goes in: the manifests as they were read, each with the place where it was written.

mod backend_traffic_policy;
mod extension_policy;
mod gateway;
mod gateway_class;
mod grant;
mod http_route;
mod istio;
mod pod;
mod security;

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, sync::Arc};

use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use backend_traffic_policy::{BackendTrafficPolicy, BackendTrafficPolicySpec};
pub use extension_policy::{ExtensionPolicy, ExtensionPolicySpec, PolicyTarget, TargetSelector};
pub use gateway::{
    Address, AllowedRoutes, CertificateRef, Gateway, GatewaySpec, Label, Listener, NamespaceSelector,
    RouteKind, RouteNamespaces, Tls,
};
pub use gateway_class::{GatewayClass, GatewayClassSpec};

pub use grant::{GrantFrom, GrantTo, ReferenceGrant, ReferenceGrantSpec};
pub use http_route::{
    HttpBackendRef, HttpRoute, HttpRouteFilter, HttpRouteMatch, HttpRouteRule, HttpRouteSpec,
};
pub use istio::{
    DestinationRule, DestinationRuleSpec, IstioGateway, IstioGatewaySpec, Server, ServerPort, ServerTls,
    StringMatch, VirtualService, VirtualServiceMatch, VirtualServiceRoute, VirtualServiceSpec,
};

pub use pod::PodEnd;
pub use security::{
    AuthorizationPolicy, AuthorizationPolicySpec, AuthorizationRule, Bystander, ConfigPatch, EnvoyFilter,
    EnvoyFilterSpec, JwtHeader, JwtRule, Operation, Principals, Reach, RequestAuthentication,
    RequestAuthenticationSpec, RuleFrom, RuleTo, Scope, Selector, TargetRef, When,
};

use crate::model::{BackendId, ObjectName};

/// Everything that a gateway can be made of. The order does not matter, except that of two objects of one
/// kind, namespace and name the first one counts.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// `clew.dev/v1alpha1` WebSocketRoutes.
    pub routes: Vec<Sourced<WebSocketRoute>>,
    /// `clew.dev/v1alpha1` WebSocketPolicies.
    pub policies: Vec<Sourced<WebSocketPolicy>>,
    /// `gateway.networking.k8s.io/v1` HTTPRoutes: other people's, and of ours those that a policy names.
    pub http_routes: Vec<Sourced<HttpRoute>>,
    /// `gateway.envoyproxy.io` BackendTrafficPolicies of other people's.
    pub backend_traffic_policies: Vec<Sourced<BackendTrafficPolicy>>,
    /// `gateway.networking.k8s.io/v1` Gateways.
    pub gateways: Vec<Sourced<Gateway>>,
    /// `gateway.networking.k8s.io` GatewayClasses.
    pub gateway_classes: Vec<Sourced<GatewayClass>>,
    /// `gateway.networking.k8s.io` ReferenceGrants.
    pub grants: Vec<Sourced<ReferenceGrant>>,
    /// `networking.istio.io` Gateways.
    pub istio_gateways: Vec<Sourced<IstioGateway>>,
    /// `networking.istio.io` VirtualServices.
    pub virtual_services: Vec<Sourced<VirtualService>>,
    /// `networking.istio.io` DestinationRules.
    pub destination_rules: Vec<Sourced<DestinationRule>>,
    /// `security.istio.io` RequestAuthentications.
    pub request_authentications: Vec<Sourced<RequestAuthentication>>,
    /// `security.istio.io` AuthorizationPolicies.
    pub authorization_policies: Vec<Sourced<AuthorizationPolicy>>,
    /// `networking.istio.io` EnvoyFilters.
    pub envoy_filters: Vec<Sourced<EnvoyFilter>>,
    /// Telemetries and other people's WasmPlugins, where somebody has looked for them: no turn does.
    pub bystanders: Vec<Bystander>,
    /// `gateway.envoyproxy.io` EnvoyExtensionPolicies.
    pub extension_policies: Vec<Sourced<ExtensionPolicy>>,
    /// Core Services.
    pub services: Vec<Sourced<Service>>,
    /// `discovery.k8s.io/v1` EndpointSlices.
    pub endpoint_slices: Vec<Sourced<EndpointSlice>>,
    /// Core Secrets.
    pub secrets: Vec<Sourced<Secret>>,
    /// Backends that sessions are on, whether a rule leads to them or not.
    pub lingering: BTreeMap<BackendId, Lingering>,
    /// How pods end, as far as anybody knows.
    pub pods: BTreeMap<ObjectName, PodEnd>,
    /// The labels of the pods of Istio's gateways, as far as anybody knows. None of a gateway: they are taken to be in its
    /// namespace, with the labels that it selects.
    pub gateway_pods: BTreeMap<ObjectName, BTreeMap<String, String>>,
    /// Where what Istio has for the whole mesh is.
    pub root_namespace: RootNamespace,
    /// Kinds of parents that are not installed, so that nobody can say yet which there are.
    pub unknown_parents: BTreeSet<ParentKind>,
    /// The labels of namespaces. One that is not here has the one label that every namespace has, its name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// How the sessions on a backend came there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lingering {
    /// By these rules: `namespace/route/rule`.
    pub rules: BTreeSet<String>,
    /// The shortest drain timeout of them as they last were, where that is known.
    pub drain_timeout_ms: Option<u64>,
}

/// The namespace whose policies, rules and plugins Istio holds for the whole mesh, as its mesh configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootNamespace(Arc<str>);

impl RootNamespace {
    /// Of this name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for RootNamespace {
    /// Istio's default.
    fn default() -> Self {
        Self::new("istio-system")
    }
}

/// A kind of parent that a cluster may lack. Every cluster has Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParentKind {
    /// A Gateway of Gateway API.
    Gateway,
    /// A Gateway of Istio.
    IstioGateway,
}

/// An object and where it was written.
#[derive(Clone, Debug, Default)]
pub struct Sourced<T> {
    /// The object; shared, because a turn looks at all of them and changes none.
    pub object: Arc<T>,
    /// Where it was written.
    pub source: Source,
}

/// Where an object was written: a file and the line on which its document begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// As it was given; empty where the object did not come from a file.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
