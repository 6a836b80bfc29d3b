use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::schema::{longer_than_zero, rule};

/// The mesh's own tools, rendered so that they are right for WebSockets. What is absent is the target's default, mended where that would hurt
/// long sessions.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resilience {
    /// How often a handshake is tried again when the connection to its pod fails: before the 101 only, never after.
    #[schemars(range(min = 0, max = 10))]
    pub connect_retries: Option<u8>,

    /// Handshakes that wait for a connection to their pod, for each proxy and backend; one beyond them is answered with 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_pending_handshakes: Option<u32>,

    /// Leaves out pods that answer handshakes with errors.
    pub outlier_detection: Option<OutlierDetection>,

    /// Faults for tests, in handshakes only.
    pub fault: Option<Fault>,
}

/// Leaves out pods that answer handshakes with errors.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OutlierDetection {
    /// How many handshakes in a row the pod must answer with a status of 5xx. Connections that fail are not counted, because to Envoy the end of a
    /// session is one too: `connectRetries` passes over pods that cannot be connected to.
    #[serde(default = "OutlierDetection::default_failures")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_handshake_failures: u32,

    /// How long the pod is left out, times how often it was already.
    #[serde(default = "OutlierDetection::default_ejection_time")]
    #[x_kube(validation = longer_than_zero())]
    pub ejection_time: Duration,
}

impl OutlierDetection {
    fn default_failures() -> u32 {
        5
    }

    fn default_ejection_time() -> Duration {
        Duration::from_secs(30)
    }
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_handshake_failures: Self::default_failures(),
            ejection_time: Self::default_ejection_time(),
        }
    }
}

/// Faults for tests, in handshakes only.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule("", "has(self.abort) || has(self.delay)", "must have abort, delay or both"))]
pub struct Fault {
    /// Answers some handshakes with an error.
    pub abort: Option<FaultAbort>,
    /// Holds some handshakes back.
    pub delay: Option<FaultDelay>,
}

/// Answers some handshakes with an error.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FaultAbort {
    /// How many of a hundred handshakes.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,

    /// The HTTP status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

/// Holds some handshakes back.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FaultDelay {
    /// How many of a hundred handshakes.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,

    /// For how long.
    #[x_kube(validation = longer_than_zero())]
    pub duration: Duration,
}
