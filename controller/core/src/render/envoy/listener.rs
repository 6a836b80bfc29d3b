//! LDS: one listener for each socket. Nothing of a route is in it, because one changed byte cuts every session.

use clew_filter_config::headers;
use serde_json::{Value, json};

use super::file::File;
use super::{Settings, access_log, address, cluster, extension, jwt, route, secret, watched};
use crate::model::{Gateway, Hostname, Listener, ObjectName, Protocol, TlsHost, World};

/// The filter for faults on purpose, and the type of its configuration.
pub(super) const FAULT: &str = "envoy.filters.http.fault";
pub(super) const FAULT_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";

pub(super) fn file(world: &World, settings: &Settings) -> File {
    let listeners: Vec<_> = world
        .gateways
        .iter()
        .flat_map(|gateway| {
            gateway
                .listeners
                .iter()
                .map(move |socket| listener(gateway, socket, settings))
        })
        .collect();
    File::new(&listeners)
}

fn listener(gateway: &Gateway, listener: &Listener, settings: &Settings) -> Value {
    let connection_manager = connection_manager(&gateway.name, listener, settings);
    let mut rendered = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": listener.address.to_string(),
        "address": address(listener.address),
        "per_connection_buffer_limit_bytes": cluster::BUFFER_BYTES,
    });
    match &listener.protocol {
        Protocol::Http => rendered["filter_chains"] = json!([{"filters": [connection_manager]}]),
        Protocol::Https(hosts) => {
            rendered["filter_chains"] = hosts
                .iter()
                .map(|host| tls_chain(host, &connection_manager, settings))
                .collect();
            rendered["listener_filters"] = json!([{
                "name": "envoy.filters.listener.tls_inspector",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                },
            }]);
        }
    }
    rendered
}

fn tls_chain(host: &TlsHost, connection_manager: &Value, settings: &Settings) -> Value {
    let certificates: Vec<_> = host
        .certificates
        .iter()
        .map(|name| json!({"name": name.to_string(), "sds_config": watched(settings, &secret::path(name))}))
        .collect();
    let mut chain = json!({
        "filters": [connection_manager],
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": certificates,
                    "alpn_protocols": ["h2", "http/1.1"],
                },
            },
        },
    });
    if host.hostname != Hostname::Any {
        chain["filter_chain_match"] = json!({"server_names": [host.hostname.to_string()]});
    }
    chain
}

fn connection_manager(gateway: &ObjectName, listener: &Listener, settings: &Settings) -> Value {
    let removed: Vec<_> = headers::REMOVED_FROM_REQUESTS
        .iter()
        .map(|name| json!({"remove": name}))
        .collect();
    let mut manager = json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "clew",
            "rds": {
                "config_source": watched(settings, &route::path(listener)),
                "route_config_name": listener.address.to_string(),
            },
            // Before the first look-up of the route, and whether the filter is there or not.
            "early_header_mutation_extensions": [{
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": removed,
                },
            }],
            "http_filters": [
                {
                    "name": jwt::name(gateway),
                    "config_discovery": {
                        "config_source": watched(settings, &jwt::path(gateway)),
                        "type_urls": [jwt::TYPE],
                    },
                },
                {
                    "name": extension::name(gateway),
                    "config_discovery": {
                        "config_source": watched(settings, &extension::path(gateway)),
                        "type_urls": [extension::TYPE],
                    },
                },
                // What it does is said by the routes; after the filter, which counts its answers.
                {"name": FAULT, "typed_config": {"@type": FAULT_TYPE}},
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                        "suppress_envoy_headers": true,
                    },
                },
            ],
            // By HTTP/1.1 only, which browsers then choose beside their HTTP/2: an extended CONNECT (RFC 8441) brings no
            // Sec-WebSocket-Key, Envoy 1.40 makes none, and a backend that speaks HTTP/1.1 must refuse what lacks it.
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "use_remote_address": true,
            "skip_xff_append": true,
            "server_header_transformation": "PASS_THROUGH",
            "request_headers_timeout": "10s",
            // A session may be silent for as long as its route lets it.
            "stream_idle_timeout": "0s",
            // The closing handshake passes as the two ends do it.
            "delayed_close_timeout": "0s",
        },
    });
    if let Some(path) = &settings.access_log {
        manager["typed_config"]["access_log"] = json!([access_log::file(path)]);
    }
    manager
}
