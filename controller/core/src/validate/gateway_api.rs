//! Gateways of Gateway API that are not Istio's: which of other people's objects keep a route out, and what of a route they
//! cannot do.

mod displaced;
mod unsupported;

pub(super) use displaced::displaced;
pub(super) use unsupported::{envoy_gateway, other_class};

#[cfg(test)]
pub(super) mod tests;
