//! How many sessions and handshakes of a rule one proxy lets through, all its workers together.

use serde::{Deserialize, Serialize};

/// A rule's limits; 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Sessions, handshakes that are under way among them.
    #[serde(skip_serializing_if = "is_zero")]
    pub sessions: u32,
    /// Sessions with one key.
    #[serde(skip_serializing_if = "is_zero")]
    pub sessions_per_key: u32,
    /// A token bucket for handshakes: nanoseconds from one token to the next.
    #[serde(skip_serializing_if = "is_zero")]
    pub handshake_interval_ns: u64,
    /// How many tokens the bucket holds, at least 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub handshake_burst: u32,
}

impl Limits {
    /// Whether there are none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
