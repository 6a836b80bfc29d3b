//! The one room that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A moment to measure from.
#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as file systems stamp with it.
#[expect(clippy::disallowed_methods, reason = "this is where time enters")]
pub(crate) fn system() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = system().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, as Kubernetes' objects carry it.
pub(crate) fn timestamp() -> Timestamp {
    Timestamp::try_from(system()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Lets time pass where a delay is what is meant: a poll of something that cannot tell us, a backoff, a debounce.
#[expect(clippy::disallowed_methods, reason = "this is where delays are made")]
pub(crate) async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}
