//! Starting Envoy, and starting it again when it ends.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::binary::Binary;
use super::envoy::Envoy;
use super::{Options, Standalone};
use crate::failure::Failure;

/// Between two starts of an Envoy that ends: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// An Envoy that lived this long was well.
const WELL: Duration = Duration::from_secs(60);

/// The lives of the Envoys that are driven, one after the other.
#[derive(Debug)]
pub(super) struct Life<'a> {
    options: &'a Options,
    backoff: Duration,
    begun: Instant,
    /// When Envoy is to be started again.
    start_at: Option<Instant>,
}

impl<'a> Life<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self {
            options,
            backoff: BACKOFF.0,
            begun: Instant::now(),
            start_at: None,
        }
    }

    /// Starts an Envoy with what is prepared for it.
    ///
    /// # Errors
    /// When there is none that will do, or it does not become ready.
    pub(super) async fn start(&mut self, standalone: &Standalone) -> Result<Envoy, Failure> {
        let binary = Binary::find(self.options.envoy.as_deref())?;
        self.begun = Instant::now();
        let settings = standalone.settings();
        let log = standalone.applier.log();
        let from = log.end();
        let envoy = Envoy::start(
            &standalone.state,
            &binary,
            settings,
            self.options.concurrency,
            log,
        )
        .await?;
        if let Some(why) = log.rejection(from) {
            tracing::error!("CLEW0902: Envoy refused a part of what it started with: {why}");
        }
        Ok(envoy)
    }

    /// Envoy has ended.
    pub(super) fn mourn(&mut self, standalone: &mut Standalone) {
        if self.begun.elapsed() > WELL {
            self.backoff = BACKOFF.0;
        }
        standalone.envoy = None;
        standalone.forget_gone();
        standalone.channel.proxies_gone();
        standalone.view.lock().ready = false;
        standalone.metrics.envoy_restarted();
        tracing::error!(
            "CLEW0909: Envoy has ended and is started again in {:?}; the last that it said:\n{}",
            self.backoff,
            standalone.applier.log().tail()
        );
        self.start_at = Some(Instant::now() + self.backoff);
    }

    /// Resolves when an Envoy that ended is to be started again.
    pub(super) async fn time_to_start(&self) {
        match self.start_at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    /// Starts it again, or waits for longer.
    pub(super) async fn revive(&mut self, standalone: &mut Standalone) {
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        // What changed while there was no Envoy is written by now, or is written again if it failed.
        if standalone.failed {
            standalone.reconcile().await;
        }
        match self.start(standalone).await {
            Ok(envoy) => {
                self.start_at = None;
                tracing::info!("Envoy runs again, pid {}", envoy.pid());
                standalone.envoy = Some(envoy);
                standalone.settle().await;
            }
            Err(failure) => {
                tracing::error!("{failure}");
                self.start_at = Some(Instant::now() + self.backoff);
            }
        }
    }
}
