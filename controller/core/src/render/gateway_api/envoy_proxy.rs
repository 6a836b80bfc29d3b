//! How the proxies of a gateway reach the channel: a cluster in the bootstrap that Envoy Gateway gives them. It is installed
//! with the module, and a change of it starts the gateway's pods anew.

use clew_filter_config::metrics;
use serde_json::{Value, json};

use super::{ENVOY_GATEWAY_API, installed};
use crate::model::ObjectName;
use crate::render::envoy::{CHANNEL, stats_tag};
use crate::render::object::Object;

/// What the module's configuration calls the cluster.
#[must_use]
pub const fn channel_cluster() -> &'static str {
    CHANNEL
}

/// The EnvoyProxy that a Gateway's `spec.infrastructure.parametersRef` has to name, where it names none yet. One that is there
/// needs the same `spec.bootstrap`, which adds to Envoy Gateway's own and takes nothing away. What Envoy Gateway's configuration sets for all
/// Gateways holds beside it (`mergeType`, since Envoy Gateway 1.8), also the levels of its log, for which the kind has a default of its own.
#[must_use]
pub fn envoy_proxy(gateway: &ObjectName, controller: &ObjectName, port: u16) -> Object {
    let bootstrap = serde_json::to_string_pretty(&bootstrap(controller, port))
        .unwrap_or_else(|error| unreachable!("a bootstrap is text, numbers, lists and objects: {error}"));
    let spec = json!({
        "mergeType": "StrategicMerge",
        "logging": {"level": {}},
        "bootstrap": {"type": "Merge", "value": bootstrap},
    });
    Object::new(ENVOY_GATEWAY_API, "EnvoyProxy", installed(gateway), &spec, [])
}

/// Lists of it are added to those of the bootstrap that it is merged into.
fn bootstrap(controller: &ObjectName, port: u16) -> Value {
    let host = format!("{}.{}.svc.cluster.local", controller.name, controller.namespace);
    json!({
        "static_resources": {
            "clusters": [{
                "name": CHANNEL,
                "type": "STRICT_DNS",
                "connect_timeout": "1s",
                "load_assignment": {
                    "cluster_name": CHANNEL,
                    "endpoints": [{
                        "lb_endpoints": [{
                            "endpoint": {
                                "address": {"socket_address": {"address": host, "port_value": port}},
                            },
                        }],
                    }],
                },
            }],
        },
        "stats_config": {"stats_tags": metrics::LABELS.map(stats_tag)},
    })
}
