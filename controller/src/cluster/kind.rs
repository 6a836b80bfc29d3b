//! The kinds of object that a turn looks at, and those that it writes.

use clew_core::model::{ObjectName, Owner, OwnerKind};
use kube::core::{ApiResource, GroupVersionKind};

/// A kind that is watched or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    WebSocketRoute,
    WebSocketPolicy,
    Service,
    EndpointSlice,
    Pod,
    Secret,
    GatewayClass,
    Gateway,
    HttpRoute,
    ReferenceGrant,
    IstioGateway,
    VirtualService,
    DestinationRule,
    WasmPlugin,
    /// Other people's; ours are written with a WasmPlugin.
    EnvoyFilter,
    RequestAuthentication,
    AuthorizationPolicy,
    Namespace,
    BackendTrafficPolicy,
    EnvoyExtensionPolicy,
    /// Written by an installation, and not watched.
    EnvoyProxy,
    /// The same.
    ClientTrafficPolicy,
}

impl Kind {
    /// Those that are watched.
    pub(crate) const ALL: [Self; 20] = [
        Self::WebSocketRoute,
        Self::WebSocketPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Secret,
        Self::GatewayClass,
        Self::Gateway,
        Self::HttpRoute,
        Self::ReferenceGrant,
        Self::IstioGateway,
        Self::VirtualService,
        Self::DestinationRule,
        Self::WasmPlugin,
        Self::EnvoyFilter,
        Self::RequestAuthentication,
        Self::AuthorizationPolicy,
        Self::Namespace,
        Self::BackendTrafficPolicy,
        Self::EnvoyExtensionPolicy,
    ];

    /// Group, version, kind and plural.
    const fn names(self) -> [&'static str; 4] {
        const GATEWAY_API: &str = "gateway.networking.k8s.io";
        const ISTIO: &str = "networking.istio.io";
        const ENVOY_GATEWAY: &str = "gateway.envoyproxy.io";
        const ISTIO_SECURITY: &str = "security.istio.io";
        match self {
            Self::WebSocketRoute => [
                clew_crds::GROUP,
                clew_crds::VERSION,
                "WebSocketRoute",
                "websocketroutes",
            ],
            Self::WebSocketPolicy => [
                clew_crds::GROUP,
                clew_crds::VERSION,
                "WebSocketPolicy",
                "websocketpolicies",
            ],
            Self::Service => ["", "v1", "Service", "services"],
            Self::EndpointSlice => ["discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"],
            Self::Pod => ["", "v1", "Pod", "pods"],
            Self::Secret => ["", "v1", "Secret", "secrets"],
            Self::GatewayClass => [GATEWAY_API, "v1", "GatewayClass", "gatewayclasses"],
            Self::Gateway => [GATEWAY_API, "v1", "Gateway", "gateways"],
            Self::HttpRoute => [GATEWAY_API, "v1", "HTTPRoute", "httproutes"],
            Self::ReferenceGrant => [GATEWAY_API, "v1beta1", "ReferenceGrant", "referencegrants"],
            Self::IstioGateway => [ISTIO, "v1", "Gateway", "gateways"],
            Self::VirtualService => [ISTIO, "v1", "VirtualService", "virtualservices"],
            Self::DestinationRule => [ISTIO, "v1", "DestinationRule", "destinationrules"],
            Self::WasmPlugin => ["extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins"],
            Self::EnvoyFilter => [ISTIO, "v1alpha3", "EnvoyFilter", "envoyfilters"],
            Self::RequestAuthentication => [
                ISTIO_SECURITY,
                "v1",
                "RequestAuthentication",
                "requestauthentications",
            ],
            Self::AuthorizationPolicy => [
                ISTIO_SECURITY,
                "v1",
                "AuthorizationPolicy",
                "authorizationpolicies",
            ],
            Self::Namespace => ["", "v1", "Namespace", "namespaces"],
            Self::BackendTrafficPolicy => [
                ENVOY_GATEWAY,
                "v1alpha1",
                "BackendTrafficPolicy",
                "backendtrafficpolicies",
            ],
            Self::EnvoyExtensionPolicy => [
                ENVOY_GATEWAY,
                "v1alpha1",
                "EnvoyExtensionPolicy",
                "envoyextensionpolicies",
            ],
            Self::EnvoyProxy => [ENVOY_GATEWAY, "v1alpha1", "EnvoyProxy", "envoyproxies"],
            Self::ClientTrafficPolicy => [
                ENVOY_GATEWAY,
                "v1alpha1",
                "ClientTrafficPolicy",
                "clienttrafficpolicies",
            ],
        }
    }

    /// The kind of what has rules.
    pub(crate) const fn of_owner(owner: &Owner) -> Self {
        match owner.kind {
            OwnerKind::Route => Self::WebSocketRoute,
            OwnerKind::Policy => Self::WebSocketPolicy,
        }
    }

    /// What an object of the kind has rules as, if it has any.
    pub(crate) fn owner(self, name: &ObjectName) -> Option<Owner> {
        match self {
            Self::WebSocketRoute => Some(Owner::route(name.clone())),
            Self::WebSocketPolicy => Some(Owner::policy(name.clone())),
            _ => None,
        }
    }

    /// How the API server knows it.
    pub(crate) fn resource(self) -> ApiResource {
        let [group, version, kind, plural] = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// What objects of it say of themselves.
    pub(crate) const fn name(self) -> &'static str {
        let [_, _, kind, _] = self.names();
        kind
    }

    /// The kind of an object that was rendered.
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL
            .into_iter()
            .find(|known| matches!(known.names(), [of, _, called, _] if of == group && called == kind))
    }

    /// Whether a turn writes objects of it, and removes those that are no longer wanted.
    pub(crate) const fn is_generated(self) -> bool {
        matches!(
            self,
            Self::Service
                | Self::HttpRoute
                | Self::ReferenceGrant
                | Self::VirtualService
                | Self::DestinationRule
                | Self::BackendTrafficPolicy
        )
    }

    /// Whether it says where handshakes go, by what other kinds say.
    pub(crate) const fn is_route(self) -> bool {
        matches!(self, Self::HttpRoute | Self::VirtualService)
    }

    /// Whether its objects have no namespace.
    pub(crate) const fn is_of_cluster(self) -> bool {
        matches!(self, Self::GatewayClass | Self::Namespace)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [group, _, kind, plural] = self.names();
        match group {
            "" => write!(f, "{kind} ({plural})"),
            group => write!(f, "{kind} ({plural}.{group})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn what_is_rendered_is_of_a_kind_that_is_watched() {
        assert_eq!(Kind::of("v1", "Service"), Some(Kind::Service));
        assert_eq!(
            Kind::of("networking.istio.io/v1", "Gateway"),
            Some(Kind::IstioGateway)
        );
        assert_eq!(Kind::of("apps/v1", "Deployment"), None);
    }
}
