//! Gateway API's Gateway, as far as stand-alone Envoy can follow it.
//!
//! Our own types, because the published bindings stand on an older kube and k8s-openapi than the rest of the
//! project, and two sets of Kubernetes types in one process disagree in silence.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `gateway.networking.k8s.io/v1`, kind `Gateway`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What it listens on.
    pub spec: GatewaySpec,
}

/// What a Gateway listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewaySpec {
    /// `clew` for stand-alone Envoy.
    pub gateway_class_name: String,
    /// Where to bind. Empty: 127.0.0.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Of the class's infrastructure; nothing of it means anything to a local Envoy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub infrastructure: Option<Value>,
    /// ListenerSets; not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<Value>,
    /// Client certificates and backend TLS; not known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Value>,
}

/// Where to bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Address {
    /// `IPAddress` is the only type that can be bound.
    #[serde(default = "Address::default_type")]
    pub r#type: String,
    /// The address.
    #[serde(default)]
    pub value: String,
}

impl Address {
    fn default_type() -> String {
        "IPAddress".to_owned()
    }
}

/// One port and protocol, for one hostname or all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique in the Gateway; what `sectionName` of a parentRef means.
    pub name: String,
    /// Absent: every hostname.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The port to bind.
    pub port: u16,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// With `HTTPS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which routes may attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
}

/// How TLS ends at a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// `Terminate` is the only mode for routes that read HTTP. Absent: `Terminate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Secrets of type `kubernetes.io/tls`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<CertificateRef>,
    /// Implementation-specific; none is known here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A Secret that holds a certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateRef {
    /// Empty for a Secret.
    #[serde(default)]
    pub group: String,
    /// Absent: `Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The Secret's name.
    pub name: String,
    /// Absent: the Gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedRoutes {
    /// Absent: the Gateway's own namespace.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
    /// Empty: every kind that fits the protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteKind>,
}

/// From which namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteNamespaces {
    /// `All`, `Same`, `Selector` or `None`. Absent: `Same`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// With `Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Labels of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// All of them must be equal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// All of them must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Label>,
}

/// One condition on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Label {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// With `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteKind {
    /// Absent: Gateway API's own group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
}

impl NamespaceSelector {
    /// Whether a namespace of this name and with these labels is selected. It has the label of its name in any case.
    #[must_use]
    pub fn selects(&self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        const NAME: &str = "kubernetes.io/metadata.name";
        let of = |key: &str| match key {
            NAME => Some(namespace),
            key => labels?.get(key).map(String::as_str),
        };
        self.match_labels
            .iter()
            .all(|(key, value)| of(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|label| label.holds(of(&label.key)))
    }
}

impl Label {
    /// Whether it holds of an object that has this value of the label, or none.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let listed = || self.values.iter().any(|one| Some(one.as_str()) == value);
        match self.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NamespaceSelector;
    use serde_json::{Value, json};

    #[test]
    fn a_namespace_is_selected_by_all_that_is_asked_of_its_labels() {
        let labels = [("team".to_owned(), "red".to_owned())].into();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let selects = |selector: &Value, labels| {
            let selector: NamespaceSelector = serde_json::from_value(selector.clone()).unwrap();
            selector.selects("shop", labels)
        };
        for (selector, selected, without_labels) in [
            (json!({}), true, true),
            (json!({"matchLabels": {"team": "red"}}), true, false),
            (json!({"matchLabels": {"team": "blue"}}), false, false),
            (
                json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}}),
                true,
                true,
            ),
            (expression("team", "In", &["blue", "red"]), true, false),
            (expression("team", "NotIn", &["red"]), false, true),
            (expression("team", "NotIn", &["blue"]), true, true),
            (expression("team", "Exists", &[]), true, false),
            (expression("team", "DoesNotExist", &[]), false, true),
            (
                expression("kubernetes.io/metadata.name", "In", &["shop"]),
                true,
                true,
            ),
            (expression("team", "Near", &["red"]), false, false),
        ] {
            assert_eq!(selects(&selector, Some(&labels)), selected, "{selector}");
            assert_eq!(
                selects(&selector, None),
                without_labels,
                "{selector} without labels"
            );
        }
    }
}
