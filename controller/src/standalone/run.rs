//! The life of `clew run`: adopt or start Envoy, say that it is ready, follow the files, and end as one is asked to.

use std::future::pending;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clew_core::model::World;
use clew_core::render::envoy::{Settings, bootstrap};
use clew_filter_config::rule::Draining;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::api::{self, Order, What};
use super::apply::Applier;
use super::binary::Binary;
use super::drains::{Drains, named};
use super::envoy::Envoy;
use super::ports::Ports;
use super::state::{self, State};
use super::view::{self, View};
use super::{API_ADDRESS, BIRTHS, DRAINS, PORTS, Standalone};
use crate::channel::{Channel, server};
use crate::clock;
use crate::failure::Failure;
use crate::manifests::{Births, Manifests, Watch};
use crate::metrics::Metrics;
use crate::module;

/// What `clew run` was asked to do.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) admin: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) concurrency: Option<u16>,
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
/// Between two starts of an Envoy that ends: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// An Envoy that lived this long was well.
const WELL: Duration = Duration::from_secs(60);
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
    standalone.manifests.refresh_at(clock::unix_ms());
    standalone.envoy = Envoy::adopt(&standalone.state).await;
    standalone.reconcile().await;
    let mut life = Life {
        options: &options,
        backoff: BACKOFF.0,
        begun: Instant::now(),
        start_at: None,
    };
    if standalone.envoy.is_none() {
        if let Some(failed) = standalone.failure() {
            return Err(Failure::unreachable(failed));
        }
        let envoy = life.start(&standalone).await?;
        standalone.envoy = Some(envoy);
    }
    standalone.settle().await;
    standalone.say_ready(api);
    let watch = Watch::new(&options.paths);
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
                standalone.look().await;
            }
            wish = signals.next() => match wish {
                Wish::Leave => {
                    tracing::info!("ended; Envoy goes on, and the next clew run with this state folder adopts it");
                    return Ok(ExitCode::SUCCESS);
                }
                Wish::End => return Ok(standalone.drain(&mut signals).await),
            },
        }
    }
}

/// The state folder, the channel and the API.
async fn begin(options: &Options) -> Result<(Standalone, mpsc::Receiver<Order>, SocketAddr), Failure> {
    let state = State::open(&options.state)?;
    let (seed, token) = (state.secret("seed")?, state.secret("token")?);
    let mut ports: Ports = state.load(PORTS).unwrap_or_default();
    let before = ports.clone();
    let channel = Channel::new(state::random_hex()?, seed);
    let channel_listener = bind("channel", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &mut ports).await?;
    let api_listener = bind("api", options.api, &mut ports).await?;
    let local = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| Failure::unreachable(error.to_string()))
    };
    let (channel_address, api_address) = (local(&channel_listener)?, local(&api_listener)?);
    let module = format!("filter-{}.wasm", module::sha256());
    let cannot = |error: std::io::Error| {
        Failure::unreachable(format!(
            "CLEW0903: the state folder cannot be written: {error}; make room, or choose another with --state-dir"
        ))
    };
    if !state.path(&module).is_file() {
        state.write(&module, module::BYTES).map_err(cannot)?;
    }
    if ports != before {
        state.save(PORTS, &ports).map_err(cannot)?;
    }
    state
        .write(API_ADDRESS, api_address.to_string().as_bytes())
        .map_err(cannot)?;
    let text = |path: PathBuf| {
        path.into_os_string().into_string().map_err(|path| {
            Failure::usage(format!(
                "--state-dir {} is not UTF-8, and Envoy reads no other path",
                path.display()
            ))
        })
    };
    let settings = Settings {
        folder: text(Applier::folder(&state))?,
        module: text(state.path(&module))?,
        module_sha256: module::sha256(),
        channel: channel_address,
        token: token.clone(),
        admin: options.admin,
        node: "clew-run".to_owned(),
    };
    let (metrics, view) = (Arc::new(Metrics::new()), View::new(channel.clone()));
    let (send_order, orders) = mpsc::channel(16);
    tokio::spawn(api::serve(
        api_listener,
        view.clone(),
        metrics.clone(),
        send_order,
    ));
    tokio::spawn({
        let channel = channel.clone();
        async move { server::serve(channel_listener, channel, &token).await }
    });
    let births: Births = state.load(BIRTHS).unwrap_or_default();
    let standalone = Standalone {
        manifests: Manifests::new(options.paths.clone(), births.clone()),
        settings,
        ports,
        drains: Drains::restore(state.load(DRAINS).unwrap_or_default()),
        draining: None,
        applier: Applier::new(&state, channel.clone()),
        envoy: None,
        world: World::default(),
        said: std::collections::BTreeSet::default(),
        failed: false,
        births,
        view,
        metrics,
        channel,
        state,
    };
    Ok((standalone, orders, api_address))
}

/// Binds an address of ours; for port 0, the port that was ours before.
async fn bind(purpose: &str, wanted: SocketAddr, ports: &mut Ports) -> Result<TcpListener, Failure> {
    let mut address = wanted;
    if wanted.port() == 0 {
        address.set_port(ports.keep(purpose, wanted.ip()).unwrap_or(0));
        if let Ok(listener) = TcpListener::bind(address).await {
            return Ok(listener);
        }
        // Somebody took it while we were away.
        ports.forget(purpose);
        address.set_port(ports.keep(purpose, wanted.ip()).unwrap_or(0));
    }
    TcpListener::bind(address).await.map_err(|error| {
        Failure::unreachable(format!("CLEW0901: {address} cannot be bound ({purpose}): {error}; stop who has it, or choose another address"))
    })
}

/// Starting Envoy, and starting it again.
struct Life<'a> {
    options: &'a Options,
    backoff: Duration,
    begun: Instant,
    /// When Envoy is to be started again.
    start_at: Option<Instant>,
}

impl Life<'_> {
    async fn start(&mut self, standalone: &Standalone) -> Result<Envoy, Failure> {
        let binary = Binary::find(self.options.envoy.as_deref())?;
        self.begun = Instant::now();
        let settings = standalone.settings();
        Envoy::start(
            &standalone.state,
            &binary,
            &bootstrap(settings),
            self.options.concurrency,
            standalone.applier.log(),
        )
        .await
    }

    /// Envoy has ended.
    fn mourn(&mut self, standalone: &mut Standalone) {
        if self.begun.elapsed() > WELL {
            self.backoff = BACKOFF.0;
        }
        standalone.envoy = None;
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

    async fn time_to_start(&self) {
        match self.start_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => pending().await,
        }
    }

    async fn revive(&mut self, standalone: &mut Standalone) {
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

impl Standalone {
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
    async fn settle(&mut self) {
        let gateways: Vec<_> = self
            .world
            .gateways
            .iter()
            .filter(|gateway| !gateway.listeners.is_empty())
            .map(|gateway| gateway.name.to_string())
            .collect();
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
        let longest = self
            .world
            .gateways
            .iter()
            .flat_map(|gateway| gateway.rules())
            .map(|rule| rule.drain_timeout_ms)
            .max();
        let timeout = Duration::from_millis(longest.unwrap_or(0));
        self.draining = Some(Draining {
            since_ms: clock::unix_ms(),
            timeout_ms: longest.unwrap_or(0),
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

/// What one is asked to do from outside.
enum Wish {
    /// Let every session leave, then end Envoy.
    End,
    /// End, and leave Envoy to the next.
    Leave,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let of = |kind| {
            signal(kind).map_err(|error| Failure::unreachable(format!("signals cannot be received: {error}")))
        };
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hang_up.recv() => Wish::Leave,
        }
    }
}
