//! Which Origins (RFC 6454) may open sessions.

use serde::{Deserialize, Serialize};

/// A rule's Origins. The default: the request's own host, and requests without an Origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OriginPolicy {
    /// Those that are allowed; empty: the request's own host. Each is [`ANY`], or an Origin in its ASCII serialization
    /// (RFC 6454, 6.2: A-labels, no default port), in which `*.` before the host stands for one or more labels.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub allowed: Vec<String>,
    /// A request without an Origin is refused too.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub deny_missing: bool,
    /// What would be refused is counted, and passes.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub report: bool,
}

/// The entry that allows every Origin.
pub const ANY: &str = "*";

/// The port that a scheme, in either case, has where none is written (RFC 6454, 4).
#[must_use]
pub const fn default_port(scheme: &str) -> Option<u16> {
    let scheme = scheme.as_bytes();
    if scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss") {
        return Some(443);
    }
    if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"ws") {
        return Some(80);
    }
    None
}
