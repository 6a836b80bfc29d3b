//! What of a rule is a matter of the cluster: what a subset, or a second Service, is for. Rules that want the same share it.

use clew_filter_config::headers;
use clew_filter_config::rule::{Balancer, KeySource};
use serde_json::{Map, Value, json};

use crate::decoder;
use crate::model::{BackendShare, Istio, IstioService, ObjectName, Outlier, Parent, Rule};
use crate::render::envoy::seconds;
use crate::render::object::{LABEL, digits, name};

/// How Envoy treats the pods of a Service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    balancing: Balancing,
    outlier: Option<Outlier>,
    /// None: the user's.
    connection_pool: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Balancing {
    /// Where the filter says.
    Placed,
    /// By what Envoy reads itself.
    Native(KeySource),
    LeastRequests,
    Random,
}

/// What the first subset and the second Service are called; others have digits behind it.
const NAME: &str = "clew";

impl Policy {
    pub(super) fn of(rule: &Rule, share: &BackendShare, parent: &Parent, istio: &Istio) -> Self {
        let service = istio.services.get(&share.id.service);
        let pool = service.and_then(|service| service.rule.connection_pool(share.id.port));
        Self {
            balancing: match parent {
                Parent::MeshService(_) => Balancing::native(rule),
                _ => Balancing::Placed,
            },
            outlier: rule.resilience.outlier,
            connection_pool: rule.resilience.max_pending.map(|most| pending(pool, most)),
        }
    }

    /// The name of the subset for it, and the end of the second Service's name.
    pub(super) fn name(&self) -> String {
        if self.balancing == Balancing::Placed && self.outlier.is_none() && self.connection_pool.is_none() {
            return NAME.to_owned();
        }
        format!("{NAME}-{}", digits(&format!("{self:?}")))
    }

    /// The Service's name beside the user's.
    pub(super) fn second_service(&self, service: &ObjectName) -> ObjectName {
        ObjectName::new(&service.namespace, name(&service.name, &self.name(), LABEL))
    }

    /// As a subset says it: what is missing is the user's.
    pub(super) fn of_subset(&self) -> Value {
        let mut policy = Map::new();
        policy.insert("loadBalancer".to_owned(), self.balancing.render());
        policy.insert("outlierDetection".to_owned(), outlier(self.outlier));
        if let Some(pool) = &self.connection_pool {
            policy.insert("connectionPool".to_owned(), pool.clone());
        }
        policy.into()
    }

    /// As a rule of its own says it: with the user's TLS, timeouts and what else is theirs.
    pub(super) fn of_second_service(&self, service: &IstioService) -> Value {
        let user = service.rule.traffic_policy.as_ref().and_then(Value::as_object);
        let mut policy = user.cloned().unwrap_or_default();
        self.overwrite(&mut policy);
        let ports = policy.get_mut("portLevelSettings").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            self.overwrite(port);
        }
        policy.into()
    }

    fn overwrite(&self, policy: &mut Map<String, Value>) {
        if let Value::Object(ours) = self.of_subset() {
            policy.extend(ours);
        }
    }
}

impl Balancing {
    fn native(rule: &Rule) -> Self {
        let key = rule.session_key.iter().find(|source| {
            matches!(
                source,
                KeySource::Cookie { .. }
                    | KeySource::Header { .. }
                    | KeySource::QueryParam { .. }
                    | KeySource::SourceIp { trusted_hops: 0 }
            )
        });
        match (rule.balancer, key) {
            (Balancer::ConsistentHash, Some(key)) => Self::Native(key.clone()),
            (Balancer::Random, _) => Self::Random,
            (Balancer::ConsistentHash | Balancer::LeastSessions, _) => Self::LeastRequests,
        }
    }

    /// Locality failover, which outlier detection switches on, would hash over one zone only.
    fn render(&self) -> Value {
        let hash = match self {
            Self::LeastRequests => {
                return json!({"simple": "LEAST_REQUEST", "localityLbSetting": {"enabled": false}});
            }
            Self::Random => return json!({"simple": "RANDOM", "localityLbSetting": {"enabled": false}}),
            Self::Native(KeySource::Cookie { name }) => ("httpCookie", json!({"name": name})),
            Self::Native(KeySource::Header { name }) => ("httpHeaderName", json!(name)),
            Self::Native(KeySource::QueryParam { name }) => ("httpQueryParameterName", json!(name)),
            Self::Native(_) => ("useSourceIp", json!(true)),
            Self::Placed => ("httpHeaderName", json!(headers::HOST)),
        };
        json!({
            "consistentHash": {hash.0: hash.1, "maglev": {"tableSize": decoder::TABLE_SIZE}},
            "localityLbSetting": {"enabled": false},
        })
    }
}

/// How pods are chosen where the filter says.
pub(super) fn placed() -> Value {
    Balancing::Placed.render()
}

/// The end of a WebSocket looks to Envoy like a failure of the connection and must eject nobody: Istio drops a zero here, and
/// the largest number is never reached. Said in any case, because a user's or the mesh's own would hold else.
fn outlier(outlier: Option<Outlier>) -> Value {
    let mut rendered = json!({
        "splitExternalLocalOriginErrors": true,
        "consecutiveLocalOriginFailures": u32::MAX,
        "consecutiveGatewayErrors": 0,
        "consecutive5xxErrors": outlier.map_or(0, |outlier| outlier.consecutive_failures),
    });
    if let Some(outlier) = outlier {
        // Istio takes no time of zero.
        rendered["baseEjectionTime"] = seconds(outlier.ejection_ms.max(1)).into();
        rendered["maxEjectionPercent"] = 50.into();
    }
    rendered
}

fn pending(user: Option<&Value>, most: u32) -> Value {
    let mut pool = user.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut http = pool
        .get("http")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    http.insert("http1MaxPendingRequests".to_owned(), most.into());
    pool.insert("http".to_owned(), http.into());
    pool.into()
}
