//! The module on a gateway. It is written once for each gateway's pods, as an act that is announced, because the first plugin of
//! a gateway changes its listeners and cuts what is open there. No route and no pod changes a byte of it.

use clew_filter_config::plugin::{FailureMode, PluginConfig};
use serde_json::json;

use super::acts_on;
use crate::model::{ObjectName, Proxies};
use crate::render::object::{Object, SUBDOMAIN, name};

/// Where the filter's module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// `http(s)://…` or `oci://…`.
    pub url: String,
    /// 64 hex digits.
    pub sha256: String,
}

/// The plugin for a gateway's pods. One for pods that Istio's Gateways select acts only from the namespace of the pods, or
/// from the root namespace; one for a Gateway of Istio's class from the Gateway's own.
#[must_use]
pub fn wasm_plugin(proxies: &Proxies, namespace: &str, module: &Module, config: &PluginConfig) -> Object {
    let (stem, mut spec) = acts_on(proxies, |labels| json!({"selector": {"matchLabels": labels}}));
    spec["url"] = json!(module.url);
    spec["sha256"] = json!(module.sha256);
    spec["pluginName"] = json!("clew");
    spec["pluginConfig"] = json!(config);
    // After authentication and authorization.
    spec["phase"] = json!("STATS");
    spec["failStrategy"] = json!(match config.failure_mode {
        // A filter that failed is started again for the next session.
        FailureMode::Closed => "FAIL_RELOAD",
        FailureMode::Open => "FAIL_OPEN",
    });
    let called = ObjectName::new(namespace, name(&stem, "clew", SUBDOMAIN));
    Object::new("extensions.istio.io/v1alpha1", "WasmPlugin", called, &spec, [])
}
