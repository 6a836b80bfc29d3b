//! Gateways of Gateway API that are not Istio's: which of other people's objects keep a route out, and what of a route they
//! cannot do.

mod displaced;
mod unsupported;

pub(super) use displaced::{displaced, displaced_on};
pub(super) use unsupported::{envoy_gateway, other_class};

use crate::model::{AttachedPolicy, AttachedRoute, GatewayApi, Parent, Proxies};

/// What these gateways are to carry out of these routes.
pub(super) fn finish(routes: Vec<AttachedRoute>, policies: Vec<AttachedPolicy>) -> GatewayApi {
    let of_envoy_gateway = |parent: &Parent| match parent {
        Parent::EnvoyGateway(gateway) => Some((parent.clone(), Proxies::OfEnvoyGateway(gateway.clone()))),
        _ => None,
    };
    let parents = routes.iter().map(|route| &route.parent);
    let parents = parents.chain(policies.iter().map(|policy| &policy.parent));
    GatewayApi {
        proxies: parents.filter_map(of_envoy_gateway).collect(),
        routes,
        policies,
    }
}

#[cfg(test)]
pub(super) mod tests;
