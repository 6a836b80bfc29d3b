use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AttachedRoute, ObjectName, Parent, Rule};

/// What gateways of Gateway API are to carry out that are not Istio's.
#[derive(Clone, Debug, Default)]
pub struct GatewayApi {
    /// The oldest first.
    pub routes: Vec<AttachedRoute>,
}

impl GatewayApi {
    /// The rules that the filters of each of Envoy Gateway's gateways serve. Other classes have no filter.
    #[must_use]
    pub fn rules_by_gateway(&self) -> BTreeMap<&ObjectName, Vec<&Arc<Rule>>> {
        let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for route in &self.routes {
            if let Parent::EnvoyGateway(gateway) = &route.parent {
                let attached = route.rules.iter().map(|attached| &attached.rule);
                rules.entry(gateway).or_default().extend(attached);
            }
        }
        rules
    }
}
