use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema::longer_than_zero;
use crate::{Duration, Quantity};

/// How much one proxy (all its workers together) lets through. What is absent is not limited.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Live sessions of the rule; a handshake beyond them is refused (`too_many_sessions`).
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections_per_proxy: Option<u32>,

    /// Live sessions with one session key; a handshake beyond them is refused (`too_many_sessions`). Keys that anyone can make up (unverified claims) are not counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections_per_key_per_proxy: Option<u32>,

    /// The payload of one message, all its frames together, in either direction; a longer one ends the session with Close 1009.
    pub max_message_size: Option<Quantity>,

    /// Messages of one client; more of them end its session with Close 1008.
    pub message_rate: Option<MessageRate>,

    /// Handshakes of the rule; more of them are answered with 429 and Retry-After.
    pub handshake_rate_per_proxy: Option<HandshakeRate>,
}

/// A token bucket for messages.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MessageRate {
    /// How many messages in an interval.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages: u32,

    /// The interval; longer than 0s.
    #[x_kube(validation = longer_than_zero())]
    pub interval: Duration,

    /// How many at once after a pause. Absent: `messages`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

impl MessageRate {
    /// How many at once, written or not.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.messages)
    }
}

/// A token bucket for handshakes.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HandshakeRate {
    /// How many handshakes in an interval.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,

    /// The interval; longer than 0s.
    #[x_kube(validation = longer_than_zero())]
    pub interval: Duration,

    /// How many at once after a pause. Absent: `requests`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

impl HandshakeRate {
    /// How many at once, written or not.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.requests)
    }
}
