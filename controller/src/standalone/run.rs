//! The life of `clew run`: adopt or start Envoy, say that it is ready, follow the files, and end as one is asked to.

use std::future::pending;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clew_filter_config::plugin::FailureMode;
use clew_filter_config::rule::Draining;
use serde::Serialize;
use tokio::time::Instant;

use super::api::{Order, What};
use super::begin::begin;
use super::drains::named;
use super::envoy::Envoy;
use super::life::Life;
use super::signals::{Signals, Wish};
use super::{API_ADDRESS, Standalone, view};
use crate::clock;
use crate::failure::Failure;
use crate::manifests::Watch;

/// What `clew run` was asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) admin: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) concurrency: Option<u16>,
    pub(crate) failure_mode: FailureMode,
    pub(crate) access_log: Option<PathBuf>,
}

/// The one line on standard output.
#[derive(Serialize)]
struct Ready<'a> {
    ready: bool,
    listeners: &'a [SocketAddr],
    admin: SocketAddr,
    api: SocketAddr,
    envoy: &'a str,
    pid: u32,
}

/// How long the filters of an Envoy that is live may take to ask for their first snapshot.
const FIRST_POLL: Duration = Duration::from_secs(10);
/// What a client may take to answer our Close, and the filter to notice.
const MARGIN: Duration = Duration::from_secs(8);
/// Between two looks at how many sessions are left.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between two looks at the size of Envoy's log.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Runs until it is asked to end.
///
/// # Errors
/// When it cannot begin.
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    if !options.admin.ip().is_loopback() {
        return Err(Failure::usage(
            "--admin must be a loopback address: who reaches it can stop Envoy and read its secrets",
        ));
    }
    for path in &options.paths {
        // Later a path that is gone keeps what it last said; at first it is a slip of the pen.
        std::fs::metadata(path).map_err(|error| {
            Failure::refused(format!("CLEW0006: {} cannot be read: {error}", path.display()))
        })?;
    }
    let mut signals = Signals::new()?;
    let (mut standalone, mut orders, api) = begin(&options).await?;
    let mut life = Life::new(&options);
    tokio::select! {
        driving = standalone.drive(&mut life) => driving?,
        wish = signals.next() => {
            // Nobody can have a session in an Envoy that has only just been started; one that was there before goes on.
            if wish == Wish::End && standalone.started {
                Envoy::stop_recorded(&standalone.state).await;
            }
            return Ok(ExitCode::from(130));
        }
    }
    standalone.say_ready(api);
    let mut watch = Watch::new(&options.paths);
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = watch.changed() => {
                let changed = standalone.manifests.refresh_at(clock::unix_ms());
                if changed || standalone.failed {
                    standalone.reconcile().await;
                    standalone.look().await;
                }
            }
            Some(order) = orders.recv() => standalone.obey(order).await,
            () = standalone.envoy_ended() => life.mourn(&mut standalone),
            () = life.time_to_start() => life.revive(&mut standalone).await,
            _ = housekeeping.tick() => {
                // A log that cannot be moved is tried again.
                let _ = standalone.applier.log().rotate();
                if standalone.applier.is_rotating() {
                    standalone.reconcile().await;
                }
                standalone.look().await;
            }
            wish = signals.next() => match wish {
                Wish::Leave => {
                    tracing::info!("ended; Envoy goes on, and the next clew run with this state folder adopts it");
                    return Ok(ExitCode::SUCCESS);
                }
                Wish::End => {
                    let code = standalone.drain(&mut signals).await;
                    // Nobody is to look for us here.
                    let _ = std::fs::remove_file(standalone.state.path(API_ADDRESS));
                    return Ok(code);
                }
            },
        }
    }
}

impl Standalone {
    /// From nothing to an Envoy that has all of it: the one that lives, or a new one.
    async fn drive(&mut self, life: &mut Life<'_>) -> Result<(), Failure> {
        self.manifests.refresh_at(clock::unix_ms());
        self.envoy = Envoy::adopt(&self.state).await;
        self.keep_access_log();
        self.reconcile().await;
        if self.envoy.is_none() {
            if let Some(failed) = self.failure() {
                return Err(Failure::unreachable(failed));
            }
            self.state.sweep("filter-", self.settings.module.as_ref());
            self.started = true;
            self.forget_gone();
            self.envoy = Some(life.start(self).await?);
        }
        self.settle().await;
        Ok(())
    }

    /// An access log is a part of every listener, and one changed byte of those cuts their sessions: what an Envoy was started
    /// with, it keeps.
    fn keep_access_log(&mut self) {
        let (Some(envoy), wanted) = (&self.envoy, &mut self.settings.access_log) else {
            return;
        };
        if envoy.access_log != *wanted {
            let kept = envoy.access_log.as_deref().unwrap_or("nowhere");
            tracing::warn!(
                "CLEW0911: the Envoy that lives logs its sessions to {kept}, and goes on so until it is started anew; then --access-log holds"
            );
            wanted.clone_from(&envoy.access_log);
        }
    }

    /// What keeps us from beginning.
    fn failure(&self) -> Option<String> {
        self.failed.then(|| self.view.lock().failed.clone()).flatten()
    }

    async fn envoy_ended(&self) {
        match &self.envoy {
            Some(envoy) => envoy.ended().await,
            None => pending().await,
        }
    }

    /// Waits until the filters know what they must, and looks at what is there now.
    pub(super) async fn settle(&mut self) {
        let gateways: Vec<_> = self
            .world
            .gateways
            .iter()
            .filter(|gateway| !gateway.listeners.is_empty())
            .map(|gateway| gateway.name.to_string())
            .collect();
        if gateways.is_empty() {
            tracing::warn!(
                "nothing listens: the manifests have no Gateway of class clew with a listener that can be served"
            );
        }
        for gateway in gateways {
            let standing = self.channel.first_acknowledged(&gateway, FIRST_POLL).await;
            if standing.proxies == 0 || standing.behind > 0 {
                tracing::warn!(
                    "CLEW0908: the filter of {gateway} has not acknowledged what it must know within {FIRST_POLL:?}; until it does, its handshakes are answered with 503"
                );
            }
        }
        self.look().await;
        self.view.lock().ready = true;
    }

    /// Envoy's listeners, as it says itself.
    async fn look(&mut self) {
        let Some(envoy) = &self.envoy else { return };
        let listeners = envoy.admin.listeners().await.unwrap_or_default();
        let mut last = self.view.lock();
        last.listeners = listeners;
        last.envoy = Some(view::Envoy {
            version: envoy.version.clone(),
            pid: envoy.pid(),
            admin: envoy.admin_address,
            restarts: self.metrics.envoy_restarts(),
        });
    }

    /// Says that it is ready, once.
    fn say_ready(&self, api: SocketAddr) {
        let last = self.view.lock();
        let Some(envoy) = &last.envoy else { return };
        let line = Ready {
            ready: true,
            listeners: &last.listeners,
            admin: envoy.admin,
            api,
            envoy: &envoy.version,
            pid: envoy.pid,
        };
        // Whoever closed standard output does not want to know.
        if let Ok(line) = serde_json::to_string(&line) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    async fn obey(&mut self, order: Order) {
        let answer = named(&self.world, &order.backend).map(|pods| {
            match order.what {
                What::Drain(timeout_ms) => self.drains.order(&pods, clock::unix_ms(), timeout_ms),
                What::Cancel => self.drains.cancel(&pods),
            }
            pods.iter()
                .map(|(id, address)| format!("{id} {address}"))
                .collect()
        });
        if answer.is_ok() {
            self.reconcile().await;
        }
        // Whoever asked may have gone.
        let _ = order.answer.send(answer);
    }

    /// Lets every session leave by its rule, then ends Envoy.
    async fn drain(&mut self, signals: &mut Signals) -> ExitCode {
        let timeout_ms = self.longest_drain_ms();
        let timeout = Duration::from_millis(timeout_ms);
        self.draining = Some(Draining {
            since_ms: clock::unix_ms(),
            timeout_ms,
        });
        tracing::info!("draining: every session leaves within {timeout:?}; a second signal ends at once");
        let code = tokio::select! {
            () = async {
                self.reconcile().await;
                let until = Instant::now() + timeout + MARGIN;
                let _ = tokio::time::timeout_at(until, self.empty()).await;
            } => ExitCode::SUCCESS,
            _ = signals.next() => ExitCode::from(130),
        };
        if let Some(envoy) = &self.envoy {
            envoy.stop(&self.state).await;
        }
        code
    }

    /// Resolves when no session is left, or no Envoy.
    async fn empty(&self) {
        let Some(envoy) = &self.envoy else { return };
        loop {
            match envoy.admin.sum("downstream_cx_upgrades_active").await {
                Ok(0) | Err(_) => return,
                Ok(left) => tracing::debug!("{left} sessions are left"),
            }
            clock::pause(LOOK_AGAIN).await;
        }
    }
}
