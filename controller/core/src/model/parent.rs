use std::fmt;

use super::ObjectName;

/// What a route attaches to, by what becomes of it there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parent {
    /// A Gateway of class `clew`: Envoy on this machine.
    Standalone(ObjectName),
    /// A Gateway of Istio's class: an HTTPRoute to a second Service.
    IstioClass(ObjectName),
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
            | Self::IstioGateway(name)
            | Self::MeshService(name) => name,
        }
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Standalone(_) | Self::IstioClass(_) => "Gateway",
            Self::IstioGateway(_) => "Istio Gateway",
            Self::MeshService(_) => "Service",
        };
        write!(f, "{kind} {}", self.name())
    }
}
