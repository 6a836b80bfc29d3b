use std::collections::BTreeMap;
use std::sync::Arc;

use super::istio::rules_by_proxies;
use super::{AttachedPolicy, AttachedRoute, Parent, Proxies, Rule};

/// What gateways of Gateway API are to carry out that are not Istio's.
#[derive(Clone, Debug, Default)]
pub struct GatewayApi {
    /// The oldest first.
    pub routes: Vec<AttachedRoute>,
    /// For somebody's HTTPRoutes.
    pub policies: Vec<AttachedPolicy>,
    /// The proxies of each of Envoy Gateway's gateways. Other classes have no filter.
    pub proxies: BTreeMap<Parent, Proxies>,
}

impl GatewayApi {
    /// The rules that the filters of each of Envoy Gateway's gateways serve.
    #[must_use]
    pub fn rules_by_proxies(&self) -> BTreeMap<&Proxies, Vec<&Arc<Rule>>> {
        rules_by_proxies(&self.proxies, &self.routes, &self.policies)
    }
}
