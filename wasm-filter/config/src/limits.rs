//! How many sessions and handshakes of a rule one proxy lets through, all its workers together.

use serde::{Deserialize, Serialize};

/// A rule's limits; 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Sessions, handshakes that are under way among them.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub sessions: u32,
    /// Sessions with one key.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub sessions_per_key: u32,
    /// A token bucket for handshakes: nanoseconds from one token to the next.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub handshake_interval_ns: u64,
    /// How many tokens the bucket holds, at least 1.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub handshake_burst: u32,
}
