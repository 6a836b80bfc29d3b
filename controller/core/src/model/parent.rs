use std::fmt;

use super::ObjectName;

/// What a route attaches to, by what becomes of it there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parent {
    /// A Gateway of class `clew`: Envoy on this machine.
    Standalone(ObjectName),
    /// A Gateway of Istio's class: an HTTPRoute to a second Service.
    IstioClass(ObjectName),
    /// A Gateway of Envoy Gateway's class: an HTTPRoute with a BackendTrafficPolicy.
    EnvoyGateway(ObjectName),
    /// A Gateway of any other class: a plain HTTPRoute.
    OtherClass(ObjectName),
    /// Istio's own Gateway: a VirtualService to a subset.
    IstioGateway(ObjectName),
    /// A Service on Istio's mesh: a VirtualService to a subset, carried out by the clients' sidecars.
    MeshService(ObjectName),
}

impl Parent {
    /// Namespace and name.
    #[must_use]
    pub fn name(&self) -> &ObjectName {
        match self {
            Self::Standalone(name)
            | Self::IstioClass(name)
            | Self::EnvoyGateway(name)
            | Self::OtherClass(name)
            | Self::IstioGateway(name)
            | Self::MeshService(name) => name,
        }
    }

    /// Whether a route attaches there by an HTTPRoute of ours.
    #[must_use]
    pub const fn takes_http_routes(&self) -> bool {
        matches!(
            self,
            Self::IstioClass(_) | Self::EnvoyGateway(_) | Self::OtherClass(_)
        )
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::IstioGateway(_) => "Istio Gateway",
            Self::MeshService(_) => "Service",
            _ => "Gateway",
        };
        write!(f, "{kind} {}", self.name())
    }
}
