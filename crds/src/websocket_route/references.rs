use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// The group of Gateway API's own kinds, and the default group of a parent.
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A Gateway, or a Service of the mesh, that the route attaches to. Gateway API's ParentReference.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    ".sectionName",
    "self.group != 'networking.istio.io' || !has(self.sectionName)",
    "an Istio Gateway has no sections: use port",
))]
pub struct ParentReference {
    /// The API group of the parent: `gateway.networking.k8s.io`, `networking.istio.io`, or the empty string for a Service.
    #[serde(default = "ParentReference::default_group")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub group: String,

    /// The kind of the parent: `Gateway` or `Service`.
    #[serde(default = "ParentReference::default_kind")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
    )]
    pub kind: String,

    /// The namespace of the parent. Absent: the route's own.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,

    /// The name of the parent.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The listener (or port name) of the parent. Absent: every listener that lets the route attach.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub section_name: Option<String>,

    /// The port of the parent. Absent: every port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

impl ParentReference {
    /// A Gateway API Gateway of this name, in the route's namespace, with all its listeners.
    #[must_use]
    pub fn gateway(name: impl Into<String>) -> Self {
        Self {
            group: Self::default_group(),
            kind: Self::default_kind(),
            namespace: None,
            name: name.into(),
            section_name: None,
            port: None,
        }
    }

    fn default_group() -> String {
        GATEWAY_API.to_owned()
    }

    fn default_kind() -> String {
        "Gateway".to_owned()
    }
}

/// A Service that takes sessions, and its share of them. Gateway API's BackendRef.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    ".port",
    "self.group != '' || self.kind != 'Service' || has(self.port)",
    "is required for a Service",
))]
pub struct BackendRef {
    /// The API group of the backend: the empty string for a Service.
    #[serde(default)]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub group: String,

    /// The kind of the backend.
    #[serde(default = "BackendRef::default_kind")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
    )]
    pub kind: String,

    /// The namespace of the backend. Absent: the route's own; another one needs a ReferenceGrant there.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: Option<String>,

    /// The name of the backend.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// The port of the Service (not the pods' targetPort). Required for a Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// The backend's share of the keys: its weight over the sum of all weights. 0: no new sessions.
    #[serde(default = "BackendRef::default_weight")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: u32,
}

impl BackendRef {
    fn default_kind() -> String {
        "Service".to_owned()
    }

    fn default_weight() -> u32 {
        1
    }

    /// A Service in the route's namespace, of weight 1.
    #[must_use]
    pub fn service(name: impl Into<String>, port: u16) -> Self {
        Self {
            group: String::new(),
            kind: Self::default_kind(),
            namespace: None,
            name: name.into(),
            port: Some(port),
            weight: Self::default_weight(),
        }
    }

    /// Whether it names a core Service, the one kind of backend every target has.
    #[must_use]
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

/// A Secret in the route's namespace.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
