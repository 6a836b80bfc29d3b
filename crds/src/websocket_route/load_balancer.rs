use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// How a pod is chosen for a session without a valid persistence token.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    ".boundedLoad",
    "!has(self.boundedLoad) || self.type == 'ConsistentHash'",
    "needs type ConsistentHash: the other types have no popular keys",
))]
pub struct LoadBalancer {
    /// The way of choosing.
    #[serde(default)]
    pub r#type: LoadBalancerType,

    /// Keeps a pod with popular keys from being overrun, at the price of sending some of its keys elsewhere. With ConsistentHash only.
    pub bounded_load: Option<BoundedLoad>,
}

/// The ways of choosing a pod.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum LoadBalancerType {
    /// Equal keys to the same pod; when pods come and go, only the keys that must move do. Sessions without a key: LeastSessions.
    #[default]
    ConsistentHash,
    /// The pod with fewer of this proxy's sessions, of two drawn at random.
    LeastSessions,
    /// Any pod.
    Random,
}

/// The most that one pod takes.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BoundedLoad {
    /// No pod above this many percent of the mean of this proxy's sessions.
    #[schemars(range(min = 101, max = 1000))]
    pub percent: u16,
}
