//! `WebSocketPolicy`: what holds for the WebSocket sessions on HTTPRoutes that somebody has already. Gateway API's policy attachment
//! (GEP-713): the HTTPRoutes stay as they are, and so does whatever protects them.
#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, with its visibility, inside a function"
)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::schema::{kubernetes_words, rule};
use crate::status::WebSocketPolicyStatus;
use crate::websocket_route::SessionPolicy;

/// What holds for the WebSocket sessions on HTTPRoutes of the policy's namespace.
#[serde_with::skip_serializing_none]
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "clew.dev",
    version = "v1alpha1",
    kind = "WebSocketPolicy",
    namespaced,
    derive = "PartialEq",
    status = "WebSocketPolicyStatus",
    shortname = "wsp",
    category = "clew",
    label("gateway.networking.k8s.io/policy", "Direct"),
    doc = "A policy for WebSocket sessions on HTTPRoutes that are there already: to which pod each session goes, and how it ends.",
    printcolumn = r#"{"name": "Targets", "type": "string", "jsonPath": ".spec.targetRefs[*].name"}"#,
    printcolumn = r#"{"name": "Accepted", "type": "string", "jsonPath": ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name": "Programmed", "type": "string", "jsonPath": ".status.ancestors[*].conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[schemars(transform = kubernetes_words)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketPolicySpec {
    /// The HTTPRoutes, or single rules of them, whose sessions the policy is for. One that names a rule comes before one that is for the whole
    /// HTTPRoute; of two that are for the same the older policy counts.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rule(
        "",
        "self.all(t, self.exists_one(o, o.name == t.name \
         && (has(o.sectionName) ? o.sectionName : '') == (has(t.sectionName) ? t.sectionName : '')))",
        "must not name the same HTTPRoute and rule twice",
    ))]
    pub target_refs: Vec<PolicyTargetReference>,

    /// What holds for the sessions; written beside `targetRefs`, not in a field of its own.
    #[serde(flatten)]
    pub policy: SessionPolicy,
}

/// An HTTPRoute of the policy's namespace, or one rule of it. Gateway API's LocalPolicyTargetReferenceWithSectionName.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rule(".group", "self.group == 'gateway.networking.k8s.io'", "must be gateway.networking.k8s.io"),
    validation = rule(".kind", "self.kind == 'HTTPRoute'", "must be HTTPRoute")
)]
pub struct PolicyTargetReference {
    /// The API group of the target: `gateway.networking.k8s.io`.
    #[schemars(length(min = 1, max = 253))]
    pub group: String,

    /// The kind of the target: `HTTPRoute`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,

    /// The name of the HTTPRoute.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The name of one of its rules. Absent: every rule that no other policy names.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub section_name: Option<String>,
}
