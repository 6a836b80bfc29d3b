//! Envoy Gateway's BackendTrafficPolicy, as far as one of other people's keeps a policy of ours from what it needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::extension_policy::{PolicyTarget, TargetSelector};

/// `gateway.envoyproxy.io`, kind `BackendTrafficPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendTrafficPolicy {
    /// Name, namespace and labels.
    pub metadata: ObjectMeta,
    /// For what it is, and what it says.
    #[serde(default)]
    pub spec: BackendTrafficPolicySpec,
}

/// For what a policy is, how it has pods chosen, and its timeouts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTrafficPolicySpec {
    /// Deprecated by `target_refs`.
    #[serde(default)]
    pub target_ref: Option<PolicyTarget>,
    /// Objects of its namespace, by name.
    #[serde(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// Objects of its namespace, by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
    /// How pods are chosen.
    #[serde(default)]
    pub load_balancer: Option<Value>,
    /// That it is merged into one for the Gateway, and how.
    #[serde(default)]
    pub merge_type: Option<String>,
    /// How long what may take.
    #[serde(default)]
    pub timeout: Option<Value>,
}

impl BackendTrafficPolicySpec {
    /// The objects of a kind that it names.
    pub fn targets<'s>(&'s self, kind: &'s str) -> impl Iterator<Item = &'s PolicyTarget> {
        let all = self.target_ref.iter().chain(&self.target_refs);
        all.filter(move |target| target.kind == kind)
    }
}
