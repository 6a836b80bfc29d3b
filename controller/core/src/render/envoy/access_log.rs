//! An access log of a listener: one JSON object a line when a request, or the session that it became, is over.
//!
//! Of what clients send there is nothing in it, neither path nor header nor address: each of these can be a session key.

use clew_filter_config::facts;
use serde_json::{Map, Value, json};

/// What Envoy knows of any request.
const OF_ENVOY: [(&str, &str); 8] = [
    ("start_time", "%START_TIME%"),
    ("duration_ms", "%DURATION%"),
    ("listener", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("connection_id", "%CONNECTION_ID%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
];

/// The log that appends to this file.
pub(super) fn file(path: &str) -> Value {
    let of_envoy = OF_ENVOY.map(|(name, value)| (name.to_owned(), json!(value)));
    let of_sessions = facts::ALL.map(|name| {
        (
            name.to_owned(),
            json!(format!("%FILTER_STATE(wasm.{name}:PLAIN)%")),
        )
    });
    let format: Map<_, _> = of_envoy.into_iter().chain(of_sessions).collect();
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": format, "omit_empty_values": true},
        },
    })
}
