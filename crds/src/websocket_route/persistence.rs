use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::schema::{longer_than_zero, member, rule};

/// Binds a session to the pod that it first reached, by a signed token: `type`, and the one member that it names. GEP-1619's SessionPersistence.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = member("cookie", "Cookie"),
    validation = member("header", "Header"),
    validation = rule(
        ".absoluteTimeout",
        "!has(self.cookie) || self.cookie.lifetimeType != 'Permanent' || has(self.absoluteTimeout)",
        "is required for a Permanent cookie",
    )
)]
pub struct SessionPersistence {
    /// What carries the token.
    pub r#type: PersistenceType,
    /// With `type: Cookie`.
    pub cookie: Option<CookiePersistence>,
    /// With `type: Header`.
    pub header: Option<HeaderPersistence>,
    /// How long a token is good for, from when it was issued. Absent: as long as its pod lives. Required for a Permanent cookie.
    #[x_kube(validation = longer_than_zero())]
    pub absolute_timeout: Option<Duration>,
}

/// What carries a persistence token.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[schemars(inline)]
pub enum PersistenceType {
    /// A cookie: HttpOnly, Secure unless the listener is plain HTTP, SameSite=Strict unless the route allows Origins of other sites.
    Cookie,
    /// A header of the 101 that the client sends back with its next handshake.
    Header,
}

/// The cookie that carries a persistence token.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CookiePersistence {
    /// The name of the cookie.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,

    /// The path of the cookie. Absent: the path of the match.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-:<-~]*$"))]
    pub path: Option<String>,

    /// How long the client keeps the cookie.
    #[serde(default)]
    pub lifetime_type: LifetimeType,
}

/// How long a client keeps a persistence cookie.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum LifetimeType {
    /// Until the browser ends its session.
    #[default]
    Session,
    /// Until `absoluteTimeout` has passed.
    Permanent,
}

/// The header that carries a persistence token.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderPersistence {
    /// The name of the header, in any case.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,
}

/// What happens to a persistent session whose pod is gone.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum OnBackendGone {
    /// It goes to another pod and gets a new token.
    #[default]
    Reassign,
    /// It is answered with 503.
    Reject,
}
