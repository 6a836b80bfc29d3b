//! Gateway API's HTTPRoute, of somebody else's, as far as a policy for its sessions depends on it.

use clew_crds::websocket_route::{BackendRef, ParentReference, RouteMatch};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `gateway.networking.k8s.io/v1`, kind `HTTPRoute`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Name, namespace and labels.
    pub metadata: ObjectMeta,
    /// What it takes, and where that goes.
    #[serde(default)]
    pub spec: HttpRouteSpec,
}

/// What an HTTPRoute takes, and where that goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// Its gateways.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Its hosts; empty: all.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// In the order in which they are written.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Its own name.
    #[serde(default)]
    pub name: Option<String>,
    /// Any of these.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// What happens to its requests.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
    /// Where they go.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
    /// What binds sessions to the pods that they reached; that there is something is all that matters.
    #[serde(default)]
    pub session_persistence: Option<Value>,
    /// How long its requests may take; that there is something is all that matters.
    #[serde(default)]
    pub timeouts: Option<Value>,
}

/// What a request must look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpRouteMatch {
    /// As a WebSocketRoute has it.
    #[serde(flatten)]
    pub of_route: RouteMatch,
    /// None: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

impl HttpRouteMatch {
    /// Whether a WebSocket handshake may be among them (RFC 6455, section 4.1; RFC 8441 for CONNECT).
    #[must_use]
    pub fn takes_handshakes(&self) -> bool {
        self.method
            .as_deref()
            .is_none_or(|method| matches!(method, "GET" | "CONNECT"))
    }
}

/// What happens to requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRouteFilter {
    /// `RequestMirror`, `RequestRedirect` and so on.
    pub r#type: String,
}

/// A backend, and what happens to requests on the way there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpBackendRef {
    /// The backend and its weight.
    #[serde(flatten)]
    pub reference: BackendRef,
    /// What happens on the way.
    #[serde(default)]
    pub filters: Vec<HttpRouteFilter>,
}
