use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{AttachedPolicy, AttachedRoute, ObjectName, Parent, Rule};

/// Istio's label on the pods that it runs for a Gateway of its class.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// What Istio is to carry out.
#[derive(Clone, Debug, Default)]
pub struct Istio {
    /// The oldest first.
    pub routes: Vec<AttachedRoute>,
    /// For somebody's HTTPRoutes at Gateways of Istio's class.
    pub policies: Vec<AttachedPolicy>,
    /// The Services that a rule of these routes names, and what Istio knows of them already.
    pub services: BTreeMap<ObjectName, IstioService>,
    /// The proxies of each gateway.
    pub proxies: BTreeMap<Parent, Proxies>,
}

/// The pods that a gateway's filter runs in. It displays as what they call themselves on the channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxies {
    /// Those with these labels: an Istio Gateway's, and of every other one that selects the same.
    Selected(BTreeMap<String, String>),
    /// Those that Istio runs for a Gateway of its class.
    Of(ObjectName),
    /// Those that Envoy Gateway runs for a Gateway of its class.
    OfEnvoyGateway(ObjectName),
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(gateway) | Self::OfEnvoyGateway(gateway) => gateway.fmt(f),
            Self::Selected(labels) => {
                for (i, (label, value)) in labels.iter().enumerate() {
                    write!(f, "{}{label}={value}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl Istio {
    /// The rules that the filters of each gateway serve. Gateways on the same pods share a filter.
    #[must_use]
    pub fn rules_by_proxies(&self) -> BTreeMap<&Proxies, Vec<&Arc<Rule>>> {
        rules_by_proxies(&self.proxies, &self.routes, &self.policies)
    }
}

/// The rules of some routes and policies, by the proxies of their parents.
pub(super) fn rules_by_proxies<'w>(
    proxies: &'w BTreeMap<Parent, Proxies>,
    routes: &'w [AttachedRoute],
    policies: &'w [AttachedPolicy],
) -> BTreeMap<&'w Proxies, Vec<&'w Arc<Rule>>> {
    let mut rules: BTreeMap<_, Vec<_>> = proxies.values().map(|proxies| (proxies, Vec::new())).collect();
    for route in routes {
        let proxies = proxies.get(&route.parent);
        if let Some(of_these) = proxies.and_then(|proxies| rules.get_mut(proxies)) {
            of_these.extend(route.rules.iter().map(|attached| &attached.rule));
        }
    }
    for policy in policies {
        let proxies = proxies.get(&policy.parent);
        if let Some(of_these) = proxies.and_then(|proxies| rules.get_mut(proxies)) {
            of_these.extend(&policy.rules);
        }
    }
    rules
}

/// A Service as Istio knows it without us.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IstioService {
    /// The pods. Empty: there is nothing to select them by.
    pub selector: BTreeMap<String, String>,
    /// The ports, as Kubernetes writes them.
    pub ports: Vec<Value>,
    /// Every port's pods are also published while they are not ready.
    pub publish_not_ready: bool,
    /// What holds for its clients already.
    pub rule: UserRule,
}

/// The DestinationRule, of somebody else's, that holds for a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserRule {
    /// The namespaces that see it; empty: all.
    pub export_to: Vec<String>,
    /// Its policy for every subset and none.
    pub traffic_policy: Option<Value>,
    /// Its subsets.
    pub subsets: Vec<Value>,
    /// Whether it is for this very host in the Service's namespace, so that Istio adds our subsets to it. Any other one
    /// counts no more as soon as there is ours, which therefore repeats it.
    pub is_merged: bool,
}

impl UserRule {
    /// What holds for connections to a port.
    #[must_use]
    pub fn connection_pool(&self, port: u16) -> Option<&Value> {
        let policy = self.traffic_policy.as_ref()?;
        let of_port = policy["portLevelSettings"]
            .as_array()
            .and_then(|settings| settings.iter().find(|one| one["port"]["number"] == port));
        of_port.unwrap_or(policy).get("connectionPool")
    }
}
