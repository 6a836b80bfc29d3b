//! Who serves the Gateways of a class.

use super::index::Index;

/// The one class that stand-alone Envoy serves.
pub(super) const GATEWAY_CLASS: &str = "clew";
/// Istio's own name for its class.
pub const ISTIO_CLASS: &str = "istio";
/// Istio, as its GatewayClasses name it.
pub const ISTIO: &str = "istio.io/gateway-controller";
/// And Envoy Gateway.
pub const ENVOY_GATEWAY: &str = "gateway.envoyproxy.io/gatewayclass-controller";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Standalone,
    Istio,
    EnvoyGateway,
    Other,
    /// There is no such class.
    Unknown,
}

impl Class {
    /// By who says that the class is theirs; two classes are known by their names alone.
    pub(super) fn of(name: &str, index: &Index<'_>) -> Self {
        if name == GATEWAY_CLASS {
            return Self::Standalone;
        }
        match index.controllers.get(name).copied() {
            Some(ISTIO) => Self::Istio,
            Some(ENVOY_GATEWAY) => Self::EnvoyGateway,
            // Stand-alone Envoy serves the one class only.
            Some(clew_crds::status::STANDALONE_CONTROLLER_NAME) => Self::Unknown,
            Some(_) => Self::Other,
            None if name == ISTIO_CLASS => Self::Istio,
            None => Self::Unknown,
        }
    }
}
