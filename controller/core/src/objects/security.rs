//! Istio's policies, as far as a route depends on them: whose pods they are for, which tokens they verify, and who may pass.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::ObjectName;

/// Whose pods a policy is for: neither, all of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Of a policy of `security.istio.io`.
    #[serde(default)]
    pub selector: Selector,
    /// Of an EnvoyFilter.
    #[serde(default)]
    pub workload_selector: Selector,
    /// The older way to name one target.
    #[serde(default)]
    pub target_ref: Option<TargetRef>,
    /// Objects of the policy's namespace.
    #[serde(default)]
    pub target_refs: Vec<TargetRef>,
}

/// Labels that pods must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// As policies write them; EnvoyFilters call them `labels`.
    #[serde(default, alias = "labels")]
    pub match_labels: BTreeMap<String, String>,
}

/// An object that a policy is attached to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRef {
    /// Empty for core kinds.
    #[serde(default)]
    pub group: String,
    /// The kind.
    #[serde(default)]
    pub kind: String,
    /// The name.
    #[serde(default)]
    pub name: String,
}

/// `security.istio.io`, kind `RequestAuthentication`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestAuthentication {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it verifies. A token that is there must be good; none need be there.
    #[serde(default)]
    pub spec: RequestAuthenticationSpec,
}

/// What a RequestAuthentication verifies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestAuthenticationSpec {
    /// Of which pods.
    #[serde(flatten)]
    pub scope: Scope,
    /// Each for the tokens of one issuer.
    #[serde(default)]
    pub jwt_rules: Vec<JwtRule>,
}

/// The tokens of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtRule {
    /// Headers that may have the token.
    #[serde(default)]
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that may.
    #[serde(default)]
    pub from_params: Vec<String>,
    /// Cookies that may.
    #[serde(default)]
    pub from_cookies: Vec<String>,
    /// A header that gets the payload of the token once it is verified, and that nobody else can set.
    #[serde(default)]
    pub output_payload_to_header: String,
}

/// A header that may have a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
}

/// `security.istio.io`, kind `AuthorizationPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationPolicy {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// Who may pass. Absent: nobody.
    #[serde(default)]
    pub spec: AuthorizationPolicySpec,
}

/// Who may pass, or may not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationPolicySpec {
    /// Of which pods.
    #[serde(flatten)]
    pub scope: Scope,
    /// `ALLOW` (absent), `DENY`, `AUDIT` or `CUSTOM`.
    #[serde(default)]
    pub action: Option<String>,
    /// Any of these.
    #[serde(default)]
    pub rules: Vec<AuthorizationRule>,
}

/// Requests: all three must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthorizationRule {
    /// Any of these; empty: whoever it is.
    #[serde(default)]
    pub from: Vec<RuleFrom>,
    /// Any of these; empty: whatever it is.
    #[serde(default)]
    pub to: Vec<RuleTo>,
    /// All of these.
    #[serde(default)]
    pub when: Vec<When>,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleFrom {
    /// All of it must hold.
    #[serde(default)]
    pub source: Principals,
}

/// Who asks, by its token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principals {
    /// `issuer/subject`, with an asterisk at one end; `*`: of any token.
    #[serde(default)]
    pub request_principals: Vec<String>,
    /// Not of these; `*`: without a token.
    #[serde(default)]
    pub not_request_principals: Vec<String>,
    /// Whatever else must hold.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleTo {
    /// All of it must hold.
    #[serde(default)]
    pub operation: Operation,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Hosts, with an asterisk at one end.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Paths, with an asterisk at one end.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Methods.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Whatever else must hold.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A condition on something of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct When {
    /// `request.auth.principal`, `request.auth.claims[sub]` and so on.
    #[serde(default)]
    pub key: String,
    /// Any of these.
    #[serde(default)]
    pub values: Vec<String>,
    /// None of these.
    #[serde(default)]
    pub not_values: Vec<String>,
}

/// `networking.istio.io`, kind `EnvoyFilter`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvoyFilter {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it patches.
    #[serde(default)]
    pub spec: EnvoyFilterSpec,
}

/// What an EnvoyFilter patches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyFilterSpec {
    /// Of which pods.
    #[serde(flatten)]
    pub scope: Scope,
    /// In this order.
    #[serde(default)]
    pub config_patches: Vec<ConfigPatch>,
}

/// One patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    /// `HTTP_FILTER`, `HTTP_ROUTE`, `CLUSTER` and so on.
    #[serde(default)]
    pub apply_to: String,
    /// Which of them; null: all.
    #[serde(default)]
    pub r#match: Value,
    /// What is done to them: `operation` and `value`.
    #[serde(default)]
    pub patch: Value,
}

/// An object of a kind of which nothing matters but where it acts.
#[derive(Clone, Debug, PartialEq)]
pub struct Bystander {
    /// Its kind.
    pub kind: &'static str,
    /// Name and namespace.
    pub name: ObjectName,
    /// Where.
    pub reach: Reach,
}

/// Where an object of somebody else's acts.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// On these pods, as Istio's policies say it.
    Pods(Scope),
    /// On the listeners of these Gateways of Envoy Gateway's class.
    Gateways(BTreeSet<ObjectName>),
}
