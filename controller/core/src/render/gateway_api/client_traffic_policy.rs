//! What Envoy may hold for a connection, and so for a stream, of a gateway. It is installed with the module.

use serde_json::json;

use super::{ENVOY_GATEWAY_API, installed, target};
use crate::model::ObjectName;
use crate::render::STREAM_BUFFER_BYTES;
use crate::render::object::Object;

/// What a connection, and so a stream, of such a gateway has to be allowed.
pub const BUFFER_BYTES: u32 = STREAM_BUFFER_BYTES;

/// The ClientTrafficPolicy of a gateway. There a stream may hold what its connection may, 32 KiB if nothing is said; more than
/// that may come at once in a direction that is kept ready for a Close, and Envoy would reset the stream.
#[must_use]
pub fn client_traffic_policy(gateway: &ObjectName) -> Object {
    let spec = json!({
        "targetRefs": [target("Gateway", &gateway.name)],
        "connection": {"bufferLimit": format!("{}Mi", STREAM_BUFFER_BYTES >> 20)},
    });
    Object::new(
        ENVOY_GATEWAY_API,
        "ClientTrafficPolicy",
        installed(gateway),
        &spec,
        [],
    )
}
