//! Envoy Gateway's EnvoyExtensionPolicy, as far as one of other people's can take the place of ours.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::gateway::Label;

/// `gateway.envoyproxy.io`, kind `EnvoyExtensionPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExtensionPolicy {
    /// Name, namespace and age.
    pub metadata: ObjectMeta,
    /// For what it is.
    pub spec: ExtensionPolicySpec,
}

/// For what a policy is, and whether it is added to that of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionPolicySpec {
    /// Absent: it takes the place of the gateway's.
    #[serde(default)]
    pub merge_type: Option<String>,
    /// Modules; they take the place of the gateway's even where the policy is merged, because lists are not.
    #[serde(default)]
    pub wasm: Vec<Value>,
    /// Deprecated by `target_refs`.
    #[serde(default)]
    pub target_ref: Option<PolicyTarget>,
    /// Objects of its namespace, by name.
    #[serde(default)]
    pub target_refs: Vec<PolicyTarget>,
    /// Objects of its namespace, by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
}

/// An object, or a section of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    /// `HTTPRoute`, `Gateway` and so on.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// A rule of a route, or a listener of a Gateway.
    #[serde(default)]
    pub section_name: Option<String>,
}

/// Objects that have all of these labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSelector {
    /// `HTTPRoute`, `Gateway` and so on.
    pub kind: String,
    /// Equal labels.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(default)]
    pub match_expressions: Vec<Label>,
}

impl TargetSelector {
    /// Whether an object of this kind and with these labels is selected.
    #[must_use]
    pub fn selects(&self, kind: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let of = |key: &str| labels?.get(key).map(String::as_str);
        self.kind == kind
            && self
                .match_labels
                .iter()
                .all(|(key, value)| of(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|label| label.holds(of(&label.key)))
    }
}
