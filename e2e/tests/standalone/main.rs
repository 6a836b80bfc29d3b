//! `clew run` from end to end: the real binary, the real module, the real Envoy with two workers, real sessions.

#![expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]

mod access_log;
mod all_at_once;
mod bad_input;
mod bug_report;
mod bursts;
mod close;
mod collision;
mod drain;
mod edits;
mod failure;
mod foreseen;
mod hostile;
mod interrupted;
mod json;
mod jwt;
mod limits;
mod message_limits;
mod metrics;
mod origin;
mod persistence;
mod placement;
mod pouring;
mod restart;
mod session_keys;
mod sessions;
mod status_page;
mod timeouts;
mod tls;
mod weights;

use std::time::Duration;

use clew_e2e::ws_client::Request;

/// Long enough for anything that should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Requests of `/ws` with a key each in the query parameter `room`.
fn rooms(keys: impl IntoIterator<Item = usize>) -> Vec<Request> {
    keys.into_iter()
        .map(|key| Request::new(format!("/ws?room=room-{key}")))
        .collect()
}

/// A session key from the query parameter `room`.
fn by_room() -> serde_json::Value {
    serde_json::json!({"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]})
}

/// The full sizes (`make e2e`) instead of those that keep `make test` short.
fn full() -> bool {
    std::env::var_os("CLEW_E2E_FULL").is_some()
}
