//! The channel's messages: an HTTP long poll from one root context of each Envoy process to the controller.
//!
//! `POST /v1/channel` with `authorization: Bearer TOKEN` and a [`Poll`]. The answer is 200 with an [`Update`] as soon
//! as there is something newer than what the proxy holds, 204 when the wait is over without news. A poll that names a
//! version acknowledges it: the proxy holds every rule of that version where all its workers find it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::persistence::SigningKey;
use crate::rule::{Backend, Draining, Rule};

/// The path that is polled.
pub const PATH: &str = "/v1/channel";
/// The version of these messages. A receiver ignores fields that it does not know, and leaves a rule as it was that it
/// cannot read.
pub const PROTOCOL: u32 = 1;

/// What a proxy says: what it holds and who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Poll {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// `namespace/name` of the gateway.
    pub gateway: String,
    /// Random hex, one for each Envoy process.
    pub proxy: String,
    /// The last [`Update::version`] that this proxy stored; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<String>,
    /// How long the answer may wait for news, in milliseconds. 0: answer at once.
    #[serde(default)]
    pub wait_ms: u64,
    /// Live sessions of the whole proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<Live>,
    /// Of these, those that Envoy took elsewhere than they were sent; backends without any are not named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Missed>,
    /// What the proxy is, as far as it says.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub about: About,
}

/// Live sessions of a backend that are elsewhere than they were sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// `namespace/name:port`.
    pub backend: String,
    /// How many are open.
    pub sessions: u64,
}

/// What a proxy is. Whatever it does not say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    /// Envoy's version: `1.40.0`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub envoy: String,
    /// That of the Istio that runs it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub istio: String,
    /// What it calls itself towards its control plane; on Istio `router~IP~POD.NAMESPACE~DOMAIN`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What its [configuration](crate::plugin::PluginConfig) calls its installation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub installation: String,
}

/// Sessions of one rule on one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Live {
    /// `namespace/route/rule`.
    pub rule: String,
    /// `namespace/name:port`.
    pub backend: String,
    /// The pod's name.
    pub pod: String,
    /// How many are open.
    pub sessions: u64,
}

/// What the controller says: everything, or what changed since the version that the poll named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u32,
    /// Opaque; a proxy sends it back as [`Poll::have`].
    pub version: String,
    /// True: what is not named here is gone. False: what is not named here stays as it was.
    pub full: bool,
    /// The hash seed: 32 hex digits.
    pub seed: String,
    /// The keys of persistence tokens, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signing_keys: Vec<SigningKey>,
    /// By the first part of the [route name](crate::route_name::RouteName), or by the [key](crate::http_route) of somebody else's rule; `null`
    /// removes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, Option<Rule>>,
    /// By `namespace/name:port`; `null` removes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<String, Option<Backend>>,
    /// Set while the whole proxy drains: every session leaves by its own rule's `timeout_ms`, new ones are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
}

/// An [`Update`] as a proxy passes it on to its workers: rules and backends as they came, whatever a newer module among
/// them knows to read there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct News<'a> {
    /// [`Update::version`].
    pub version: String,
    /// [`Update::full`].
    pub full: bool,
    /// [`Update::seed`].
    pub seed: String,
    /// [`Update::signing_keys`].
    #[serde(default, borrow)]
    pub signing_keys: Option<&'a RawValue>,
    /// [`Update::rules`].
    #[serde(default, borrow)]
    pub rules: BTreeMap<String, Option<&'a RawValue>>,
    /// [`Update::backends`].
    #[serde(default, borrow)]
    pub backends: BTreeMap<String, Option<&'a RawValue>>,
    /// [`Update::draining`].
    #[serde(default, borrow)]
    pub draining: Option<&'a RawValue>,
}

impl<'a> News<'a> {
    /// Reads an answer's body.
    ///
    /// # Errors
    /// When it is not an update.
    pub fn parse(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}
