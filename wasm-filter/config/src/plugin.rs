//! The filter's static configuration. It changes only when the module does; everything that lives travels by the
//! [channel](crate::channel).

use serde::{Deserialize, Serialize};

/// Given to the module as its plugin configuration, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfig {
    /// `namespace/name` of the gateway that this Envoy serves.
    pub gateway: String,
    /// Envoy's cluster that reaches the controller's channel.
    pub cluster: String,
    /// Bearer token for the channel.
    pub token: String,
    /// What a proxy does before its first snapshot.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// Whether streams get their [facts](crate::facts), for an access log that shows them.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub access_log: bool,
    /// Tells this module with this configuration from every other; the channel hears of it ([`About`](crate::channel::About)).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub installation: String,
}

/// What a proxy that never had a snapshot answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureMode {
    /// 503 with reason `config_pending`.
    #[default]
    Closed,
    /// The request passes as if the filter were not there; the mesh's native hash policy places it.
    Open,
}
