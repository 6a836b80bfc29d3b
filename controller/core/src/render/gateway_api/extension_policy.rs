//! The module on a gateway. It is written once for each gateway, as an act that is announced, because Envoy Gateway puts it and
//! its configuration into the listeners, where every byte of a change cuts what is open. No route and no pod changes one.

use clew_filter_config::plugin::{FailureMode, PluginConfig};
use serde_json::json;

use super::{ENVOY_GATEWAY_API, installed, target};
use crate::model::ObjectName;
use crate::render::istio::Module;
use crate::render::object::Object;

/// The EnvoyExtensionPolicy of a gateway. Envoy Gateway fetches the module, and serves it to the gateway's proxies.
#[must_use]
pub fn extension_policy(gateway: &ObjectName, module: &Module, config: &PluginConfig) -> Object {
    let spec = json!({
        "targetRefs": [target("Gateway", &gateway.name)],
        "wasm": [{
            "name": "clew",
            "code": {"type": "HTTP", "http": {"url": module.url, "sha256": module.sha256}},
            "config": config,
            // There is no other word for it: a filter that failed stays so until its Envoy starts again.
            "failOpen": config.failure_mode == FailureMode::Open,
        }],
    });
    Object::new(
        ENVOY_GATEWAY_API,
        "EnvoyExtensionPolicy",
        installed(gateway),
        &spec,
        [],
    )
}
