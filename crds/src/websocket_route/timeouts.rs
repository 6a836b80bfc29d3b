use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// How long a handshake and a session may take. `0s` disables.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// From the client's request to the server's 101.
    #[serde(default = "Timeouts::default_handshake")]
    pub handshake: Duration,

    /// Without a byte in either direction, control frames included.
    #[serde(default)]
    pub idle: Duration,

    /// From the 101 to the end of the session.
    #[serde(default)]
    pub max_connection_duration: Duration,
}

impl Timeouts {
    fn default_handshake() -> Duration {
        Duration::from_secs(10)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Self::default_handshake(),
            idle: Duration::ZERO,
            max_connection_duration: Duration::ZERO,
        }
    }
}
