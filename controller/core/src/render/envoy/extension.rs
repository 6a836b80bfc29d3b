//! ECDS: one configuration of the filter for each gateway. A new module changes these files and no listener.

use std::collections::BTreeMap;

use clew_filter_config::plugin::{FailureMode, PluginConfig};
use serde_json::json;

use super::file::{File, file_name};
use super::{Settings, cluster};
use crate::model::{ObjectName, World};

/// The type of the filter's configuration.
pub(super) const TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

pub(super) fn files(world: &World, settings: &Settings) -> BTreeMap<String, File> {
    world
        .gateways
        .iter()
        .map(|gateway| (path(&gateway.name), file(&gateway.name, settings)))
        .collect()
}

/// Where the filter's configuration for a gateway is.
pub(super) fn path(gateway: &ObjectName) -> String {
    format!(
        "extensions/{}.{}.json",
        file_name(&gateway.namespace),
        file_name(&gateway.name)
    )
}

/// What the filter is called on a gateway.
pub(super) fn name(gateway: &ObjectName) -> String {
    format!("clew/{gateway}")
}

/// What Envoy does with new streams once the filter has failed on a worker: a fresh one takes them, or they pass without.
/// It offers no policy that does both (1.40).
const fn failure_policy(mode: FailureMode) -> &'static str {
    match mode {
        FailureMode::Closed => "FAIL_RELOAD",
        FailureMode::Open => "FAIL_OPEN",
    }
}

fn file(gateway: &ObjectName, settings: &Settings) -> File {
    let plugin = PluginConfig {
        gateway: gateway.to_string(),
        cluster: cluster::CHANNEL.to_owned(),
        token: settings.token.clone(),
        failure_mode: settings.failure_mode,
        access_log: settings.access_log.is_some(),
        installation: String::new(),
    };
    File::new(&[json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": name(gateway),
        "typed_config": {
            "@type": TYPE,
            "config": {
                "name": "clew",
                "root_id": "clew",
                "vm_config": {
                    // Shared data lives as long as this id: what was sent down the channel outlives a new module.
                    "vm_id": "clew",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": settings.module}},
                    // A file of the same name with other bytes is another VM.
                    "environment_variables": {"key_values": {"CLEW_MODULE_SHA256": settings.module_sha256}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": super::file::json_text(&plugin),
                },
                "failure_policy": failure_policy(settings.failure_mode),
            },
        },
    })])
}
