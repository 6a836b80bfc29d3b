//! How many sessions and handshakes one proxy lets through, as the filter counts them.

use clew_crds::websocket_route::Limits as Written;
use clew_filter_config::limits::Limits;

/// Nanoseconds of a millisecond.
const NANOS: u64 = 1_000_000;

/// Reads limits; the schema keeps their numbers within bounds.
pub(super) fn limits(written: &Written) -> Limits {
    let rate = written.handshake_rate_per_proxy.as_ref();
    Limits {
        sessions: written.max_connections_per_proxy.unwrap_or(0),
        sessions_per_key: written.max_connections_per_key_per_proxy.unwrap_or(0),
        handshake_interval_ns: rate.map_or(0, |rate| {
            let interval = rate.interval.as_millis().saturating_mul(NANOS);
            (interval / u64::from(rate.requests.max(1))).max(1)
        }),
        handshake_burst: rate.map_or(0, |rate| rate.burst().max(1)),
    }
}
