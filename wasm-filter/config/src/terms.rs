//! On which terms a session of a rule lives: how long, and what its messages may be.

use serde::{Deserialize, Serialize};

/// The terms of a rule's sessions. They hold for all of them as they are now, whatever they were when a session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terms {
    /// Milliseconds without a byte in either direction; 0: as many as it likes.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub idle_ms: u64,
    /// Milliseconds from the 101 to the latest end; 0: none.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub max_duration_ms: u64,
    /// Bytes of payload of one message as they are on the wire, all its frames together, in either direction; 0: any.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub max_message_bytes: u64,
    /// So many messages of the client in an interval; 0: any.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub rate_messages: u64,
    /// That interval, in milliseconds.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub rate_interval_ms: u64,
    /// So many of them at once after a pause.
    #[serde(skip_serializing_if = "crate::is_default")]
    pub rate_burst: u64,
}

impl Terms {
    /// Whether the client's messages have a rate.
    #[must_use]
    pub const fn is_rated(&self) -> bool {
        self.rate_messages > 0
    }
}
