//! BackendTrafficPolicies: what of a rule is a matter of the cluster. Rules of a route that want the same share one, with the
//! HTTPRoutes that it is for, so that an edit of a rule moves it to other HTTPRoutes with a policy of their own, and the policy
//! of a cluster that sessions go through never changes.
//!
//! It is whole, and merged with nothing: a user's policy for the gateway does not hold for these routes, because half of one
//! (passive health checks, a timeout of requests) would end sessions.

use std::collections::{BTreeMap, BTreeSet};

use clew_filter_config::headers;
use serde_json::{Value, json};

use super::http_route::{at_envoy_gateway, ends};
use super::{ENVOY_GATEWAY_API, target};
use crate::decoder;
use crate::model::{AttachedPolicy, GatewayApi, ObjectName, Outlier, Parent, Rule};
use crate::render::http_route::{by_name, duration, object_name, rules};
use crate::render::object::{Object, SUBDOMAIN, digits, name};

/// How Envoy treats the pods of a rule's backends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    connect_retries: u8,
    max_pending: Option<u32>,
    outlier: Option<Outlier>,
}

/// What HTTPRoutes without anything special end with; others have digits behind it.
const NAME: &str = "clew-envoy";
/// No limit: every session is a connection and a request for as long as it lives, and the default is 1024 of each.
const UNLIMITED: u32 = u32::MAX;
/// Never reached, and there is no way to turn the count off: the end of a WebSocket looks like a failure of the connection.
const NEVER: i32 = i32::MAX;
/// Of a host with a hundred ends within one of these Envoy compares the rate of success with that of the others, which
/// cannot be turned off either. To be compared a host would have to end a thousand sessions a second.
const INTERVAL: &str = "100ms";

pub(super) fn objects(gateways: &GatewayApi) -> Vec<Object> {
    let of_policies = of_policies(gateways);
    let of_routes = by_name(at_envoy_gateway(gateways))
        .into_values()
        .flat_map(|at_parents| {
            let Some(route) = at_parents.first() else {
                return Vec::new();
            };
            let rules: Vec<_> = rules(route).into_iter().map(|(rule, _)| rule).collect();
            let mut wanted: BTreeMap<String, (Policy, BTreeSet<String>)> = BTreeMap::new();
            for rule in &rules {
                let policy = Policy::of(rule);
                let for_it = wanted
                    .entry(policy.name())
                    .or_insert_with(|| (policy, BTreeSet::new()));
                for_it.1.extend(ends(rule, rules.iter().copied()));
            }
            let object = |(called, (policy, ends)): (String, (Policy, BTreeSet<String>))| {
                let mut spec = policy.render();
                let targets = ends.iter().map(|end| object_name(&route.name, end).name);
                spec["targetRefs"] = targets.map(|name| target("HTTPRoute", &name)).collect();
                Object::new(
                    ENVOY_GATEWAY_API,
                    "BackendTrafficPolicy",
                    object_name(&route.name, &called),
                    &spec,
                    [route.owner()],
                )
            };
            wanted.into_iter().map(object).collect::<Vec<_>>()
        });
    of_routes.chain(of_policies).collect()
}

/// For HTTPRoutes of others: what has the filter's choice reach its pod, and keeps a socket that says nothing open. All else is theirs to say, so it
/// is added to what they have for the gateway.
fn of_policies(gateways: &GatewayApi) -> impl Iterator<Item = Object> {
    let at_envoy_gateway =
        |policy: &&AttachedPolicy| matches!(policy.parent, Parent::EnvoyGateway(_)) && !policy.is_carried;
    let of_target = |policy: &AttachedPolicy| {
        let mut target = target("HTTPRoute", &policy.http_route);
        let mut called = format!("{}-{}", policy.name.name, policy.http_route);
        let mut whole = format!("{}/{}", policy.name.name, policy.http_route);
        if let Some(section) = &policy.section {
            target["sectionName"] = json!(section);
            called = format!("{called}-{section}");
            whole = format!("{whole}/{section}");
        }
        let spec = json!({
            "targetRefs": [target],
            "mergeType": "StrategicMerge",
            "loadBalancer": load_balancer(),
            "timeout": {"http": {"streamIdleTimeout": "0s"}},
        });
        let end = format!("clew-{}", digits(&whole));
        let called = ObjectName::new(&policy.name.namespace, name(&called, &end, SUBDOMAIN));
        let object = Object::new(
            ENVOY_GATEWAY_API,
            "BackendTrafficPolicy",
            called.clone(),
            &spec,
            [policy.owner()],
        );
        (called, object)
    };
    // One for all the gateways of a target.
    let wanted: BTreeMap<_, _> = gateways
        .policies
        .iter()
        .filter(at_envoy_gateway)
        .map(of_target)
        .collect();
    wanted.into_values()
}

/// What a BackendTrafficPolicy says for pods to be chosen as the filter says.
pub(crate) fn load_balancer() -> Value {
    json!({
        "type": "ConsistentHash",
        "consistentHash": {
            "type": "Headers",
            "headers": [{"name": headers::HOST}],
            "tableSize": decoder::TABLE_SIZE,
        },
    })
}

impl Policy {
    pub(super) fn of(rule: &Rule) -> Self {
        let resilience = &rule.resilience;
        Self {
            connect_retries: resilience.connect_retries,
            max_pending: resilience.max_pending,
            outlier: resilience.outlier,
        }
    }

    /// The end of its name, and of those of the HTTPRoutes that it is for.
    pub(super) fn name(&self) -> String {
        match *self == Self::default() {
            true => NAME.to_owned(),
            false => format!("{NAME}-{}", digits(&format!("{self:?}"))),
        }
    }

    fn render(&self) -> Value {
        let mut spec = json!({
            "loadBalancer": load_balancer(),
            "circuitBreaker": {
                "maxConnections": UNLIMITED,
                "maxParallelRequests": UNLIMITED,
                "maxParallelRetries": UNLIMITED,
                "maxPendingRequests": self.max_pending.unwrap_or(UNLIMITED),
            },
            // The filter ends sessions, with a Close; the timeout of a handshake is the HTTPRoute's. Where a route has any maxStreamDuration, also of 0s, Envoy
            // 1.40 heeds no other timeout of it.
            "timeout": {
                "tcp": {"connectTimeout": "5s"},
                "http": {"requestTimeout": "0s", "streamIdleTimeout": "0s"},
            },
            // A host that is out is never chosen because others are out too.
            "healthCheck": {"panicThreshold": 0},
        });
        if let Some(outlier) = self.outlier {
            spec["healthCheck"]["passive"] = passive(outlier);
        }
        if self.connect_retries > 0 {
            // Only while nothing of the request has reached a backend.
            spec["retry"] = json!({
                "numRetries": self.connect_retries,
                "retryOn": {"triggers": ["connect-failure", "refused-stream", "reset-before-request"]},
            });
        }
        spec
    }
}

fn passive(outlier: Outlier) -> Value {
    json!({
        "splitExternalLocalOriginErrors": true,
        "consecutiveLocalOriginFailures": NEVER,
        "consecutive5XxErrors": outlier.consecutive_failures,
        "baseEjectionTime": duration(outlier.ejection_ms.max(1)),
        "maxEjectionPercent": 50,
        "interval": INTERVAL,
    })
}
