use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// A handshake matches when everything that is written here holds.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// The path of the handshake, without its query. Absent: every path.
    #[serde(default)]
    pub path: PathMatch,

    /// Headers of the handshake; all of them must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Vec<HeaderMatch>,

    /// Query parameters of the handshake; all of them must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub query_params: Vec<QueryParamMatch>,

    /// Subprotocols, of which the client must offer at least one in `Sec-WebSocket-Protocol`. Empty: whatever it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub subprotocols: Vec<String>,
}

/// How the path of a handshake is compared. Gateway API's HTTPPathMatch.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rule(
        ".value",
        "self.type == 'RegularExpression' || self.value.startsWith('/')",
        "must start with '/'",
    ),
    validation = rule(
        ".value",
        "self.type == 'RegularExpression' || !(self.value.contains('//') || self.value.contains('/./') \
         || self.value.contains('/../') || self.value.contains('%2f') || self.value.contains('%2F') \
         || self.value.contains('?') || self.value.contains('#') \
         || self.value.endsWith('/.') || self.value.endsWith('/..'))",
        "must be a path as proxies normalise it, without query: no '//', '/./', '/../', '%2f', '?' or '#'",
    )
)]
pub struct PathMatch {
    /// How `value` is compared with the path.
    #[serde(default)]
    pub r#type: PathMatchType,

    /// The path; for RegularExpression an RE2 expression that the whole path must match.
    #[serde(default = "PathMatch::default_value")]
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

impl PathMatch {
    fn default_value() -> String {
        "/".to_owned()
    }
}

impl Default for PathMatch {
    fn default() -> Self {
        Self {
            r#type: PathMatchType::default(),
            value: Self::default_value(),
        }
    }
}

/// The ways of comparing a path.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum PathMatchType {
    /// The path is the value.
    Exact,
    /// The path begins with the value's segments: `/ws` takes `/ws` and `/ws/a`, not `/wsx`.
    #[default]
    PathPrefix,
    /// The whole path matches the value, an RE2 expression.
    RegularExpression,
}

/// The ways of comparing the value of a header or a query parameter.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum StringMatchType {
    /// The values are equal, in upper and lower case too.
    #[default]
    Exact,
    /// The whole value matches, an RE2 expression.
    RegularExpression,
}

/// A header that the handshake must carry. Gateway API's HTTPHeaderMatch.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// How `value` is compared with the header.
    #[serde(default)]
    pub r#type: StringMatchType,

    /// The name of the header, in any case.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,

    /// The value that the header must have.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// A query parameter that the handshake must carry. Gateway API's HTTPQueryParamMatch.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QueryParamMatch {
    /// How `value` is compared with the parameter.
    #[serde(default)]
    pub r#type: StringMatchType,

    /// The name of the parameter.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,

    /// The value that the parameter must have.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}
