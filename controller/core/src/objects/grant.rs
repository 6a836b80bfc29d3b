//! Gateway API's ReferenceGrant.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// `gateway.networking.k8s.io`, kind `ReferenceGrant`: who may refer to objects of its namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceGrant {
    /// Its namespace is that of what may be referred to.
    pub metadata: ObjectMeta,
    /// Who and what.
    pub spec: ReferenceGrantSpec,
}

/// Any of these may refer to any of those.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceGrantSpec {
    /// Who refers.
    #[serde(default)]
    pub from: Vec<GrantFrom>,
    /// What is referred to.
    #[serde(default)]
    pub to: Vec<GrantTo>,
}

/// A kind of object in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantFrom {
    /// Its group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
}

/// A kind of object, or one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTo {
    /// Its group; empty for core kinds.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Absent: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl ReferenceGrant {
    /// Whether objects of a group and kind and a namespace may refer to a Service of this one.
    #[must_use]
    pub fn permits(&self, (group, kind): (&str, &str), namespace: &str, service: &str) -> bool {
        self.spec
            .from
            .iter()
            .any(|from| from.group == group && from.kind == kind && from.namespace == namespace)
            && self.spec.to.iter().any(|to| {
                to.group.is_empty()
                    && to.kind == "Service"
                    && to.name.as_deref().is_none_or(|name| name == service)
            })
    }
}
