//! Strong persistence: how a rule's sessions carry their token, and the keys that sign tokens.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How the sessions of a rule are bound to the pod that they reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// The name of the cookie, or of the header in lowercase.
    pub name: String,
    /// Set where a cookie carries the token; else a header does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// Milliseconds from when a token was issued to its end. None: as long as its pod lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout_ms: Option<u64>,
    /// What becomes of a session whose pod takes no sessions any more.
    #[serde(default)]
    pub on_backend_gone: OnBackendGone,
}

/// The cookie beyond its name and value. It is always HttpOnly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Path.
    pub path: String,
    /// With Max-Age, for as long as the token is good; else until the browser ends its session.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub permanent: bool,
    /// Pages of other sites may open sessions: SameSite=None and Secure, instead of Strict.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub other_sites: bool,
}

/// What becomes of a session whose pod takes no sessions any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBackendGone {
    /// Another pod, and a new token.
    #[default]
    Reassign,
    /// 503, `backend_gone`.
    Reject,
}

/// One key of the ring: it verifies, and where it `signs` new tokens are signed with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// At least 32 bytes in hex.
    pub secret: String,
    /// At most one key of a ring does.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub signs: bool,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}
