//! Gateways of Gateway API that are not Istio's: which of other people's objects keep a route out, and what of a route they
//! cannot do.

mod displaced;
mod unsupported;

pub(super) use displaced::displaced;
pub(super) use unsupported::{envoy_gateway, other_class};

use crate::model::{AttachedRoute, GatewayApi, Parent, Proxies};

/// What these gateways are to carry out of these routes.
pub(super) fn finish(routes: Vec<AttachedRoute>) -> GatewayApi {
    let of_envoy_gateway = |route: &AttachedRoute| match &route.parent {
        Parent::EnvoyGateway(gateway) => {
            Some((route.parent.clone(), Proxies::OfEnvoyGateway(gateway.clone())))
        }
        _ => None,
    };
    GatewayApi {
        proxies: routes.iter().filter_map(of_envoy_gateway).collect(),
        routes,
    }
}

#[cfg(test)]
pub(super) mod tests;
