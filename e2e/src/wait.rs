//! Waiting on conditions: no test sleeps for a while and hopes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `condition` every 20 ms until it answers with a value.
///
/// # Errors
/// When `limit` has passed; the error says what was waited for.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// [`until`] for a condition that needs no waiting of its own.
///
/// # Errors
/// When `limit` has passed.
pub async fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, async || condition().then_some(())).await
}
