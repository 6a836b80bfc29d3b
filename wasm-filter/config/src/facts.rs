//! What Envoy's access log can say of a session: properties of its stream, which a log format reads as
//! `%FILTER_STATE(wasm.NAME:PLAIN)%`. They are there when the stream is over, where
//! [`PluginConfig::access_log`](crate::plugin::PluginConfig::access_log) asks for them. None holds what a client sent.

/// `namespace/route/rule`. A handshake that was refused has this one alone.
pub const ROUTE: &str = "clew_route";
/// Where the session's key was: the `type` of a key source, or [`TOKEN`], [`GENERATED`], [`NOWHERE`].
pub const KEY_SOURCE: &str = "clew_key_source";
/// Where it landed: `result` of [`AFFINITY`](crate::metrics::AFFINITY).
pub const AFFINITY: &str = "clew_affinity";
/// Who closed it: `reason` of [`SESSIONS_CLOSED`](crate::metrics::SESSIONS_CLOSED).
pub const CLOSE_REASON: &str = "clew_close_reason";
/// The code of the Close that came first: 1005 for one without, 1006 for none (RFC 6455, 7.4.1).
pub const CLOSE_CODE: &str = "clew_close_code";
/// Whole data messages from the client.
pub const MESSAGES_RECEIVED: &str = "clew_messages_received";
/// Whole data messages to the client.
pub const MESSAGES_SENT: &str = "clew_messages_sent";
/// Bytes of WebSocket frames from the client.
pub const BYTES_RECEIVED: &str = "clew_bytes_received";
/// Bytes of WebSocket frames to the client.
pub const BYTES_SENT: &str = "clew_bytes_sent";

/// Every fact of a session.
pub const ALL: [&str; 9] = [
    ROUTE,
    KEY_SOURCE,
    AFFINITY,
    CLOSE_REASON,
    CLOSE_CODE,
    MESSAGES_RECEIVED,
    MESSAGES_SENT,
    BYTES_RECEIVED,
    BYTES_SENT,
];

/// A persistence token took the place of a key.
pub const TOKEN: &str = "Token";
/// A key was made for it, at this handshake or an earlier one.
pub const GENERATED: &str = "Generated";
/// It has none.
pub const NOWHERE: &str = "None";
