//! Istio's own kinds, as far as a route depends on them. What is not named here is read over: these objects are other
//! people's.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::security::Selector;

/// `networking.istio.io`, kind `Gateway`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IstioGateway {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it listens on, and who.
    pub spec: IstioGatewaySpec,
}

/// What an Istio Gateway listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IstioGatewaySpec {
    /// Labels of the pods that listen.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// At least one.
    #[serde(default)]
    pub servers: Vec<Server>,
}

/// One port and protocol, for some hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// What is bound.
    pub port: ServerPort,
    /// `host`, or `namespace/host` for the routes of one namespace; `.` is the Gateway's own.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Absent: as the protocol says.
    #[serde(default)]
    pub tls: Option<ServerTls>,
}

/// The port of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerPort {
    /// The number.
    pub number: u16,
    /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `TLS`, `TCP` and so on.
    pub protocol: String,
}

/// How a server ends TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// Absent: `PASSTHROUGH`, as in Istio.
    #[serde(default)]
    pub mode: Option<String>,
    /// Every request is answered with a redirect.
    #[serde(default)]
    pub https_redirect: bool,
}

/// `networking.istio.io`, kind `VirtualService`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VirtualService {
    /// Name, namespace and age.
    pub metadata: ObjectMeta,
    /// What it routes.
    pub spec: VirtualServiceSpec,
}

/// What a VirtualService routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Hosts; short names are Services of its namespace.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// `name`, `namespace/name`, or `mesh`; empty: the mesh.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// In the order in which they are tried.
    #[serde(default)]
    pub http: Vec<VirtualServiceRoute>,
}

/// What a VirtualService does with some requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VirtualServiceRoute {
    /// Any of these; empty: every request.
    #[serde(default)]
    pub r#match: Vec<VirtualServiceMatch>,
}

/// All of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceMatch {
    /// The path.
    #[serde(default)]
    pub uri: Option<StringMatch>,
    /// A name; it matches nothing.
    #[serde(default)]
    pub name: Option<String>,
    /// Whatever else must hold.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// One of the three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// This text.
    Exact(String),
    /// What begins so, character by character.
    Prefix(String),
    /// What matches as a whole.
    Regex(String),
}

/// `networking.istio.io`, kind `DestinationRule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationRule {
    /// Name, namespace and age.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: DestinationRuleSpec,
}

/// What a DestinationRule says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRuleSpec {
    /// A host, a wildcard, or the short name of a Service of its namespace.
    pub host: String,
    /// For every subset and for none.
    #[serde(default)]
    pub traffic_policy: Option<Value>,
    /// Parts of the host, each with a policy of its own.
    #[serde(default)]
    pub subsets: Vec<Value>,
    /// Namespaces that see it, `.` for its own, `*` for all; empty: all.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Only for clients with these labels.
    #[serde(default)]
    pub workload_selector: Option<Selector>,
}
