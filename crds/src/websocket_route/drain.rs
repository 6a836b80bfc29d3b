use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;
use crate::schema::{longer_than_zero, rule};

/// How sessions end when their pod goes away: each gets a Close at a message boundary, at moments spread evenly over the timeout.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// By then the pod holds no session; what is left is reset. The pods need `preStop: {sleep}` of at least as long, and a grace period beyond it.
    #[serde(default = "Drain::default_timeout")]
    #[x_kube(validation = longer_than_zero())]
    pub timeout: Duration,

    /// The code of the Close: 1000, 1001, 1012 (service restart), 1013 (try again later) or 3000-4999.
    #[serde(default = "Drain::default_close_code")]
    #[schemars(range(min = 1000, max = 4999))]
    #[x_kube(validation = rule("", "self in [1000, 1001, 1012, 1013] || self >= 3000", "must be 1000, 1001, 1012, 1013 or 3000-4999"))]
    pub close_code: u16,

    /// The reason of the Close, at most 123 bytes of UTF-8.
    #[serde(default = "Drain::default_close_reason")]
    #[schemars(length(max = 123))]
    #[x_kube(validation = rule("", "bytes(self).size() <= 123", "must be at most 123 bytes of UTF-8"))]
    pub close_reason: String,
}

impl Drain {
    fn default_timeout() -> Duration {
        Duration::from_secs(60)
    }

    fn default_close_code() -> u16 {
        1012
    }

    fn default_close_reason() -> String {
        "moving".to_owned()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: Self::default_timeout(),
            close_code: Self::default_close_code(),
            close_reason: Self::default_close_reason(),
        }
    }
}
