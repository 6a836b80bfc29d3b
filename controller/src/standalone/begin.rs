//! What `clew run` stands on before it reads anything: the state folder, the channel, the API.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clew_core::in_force::InForce;
use clew_core::model::World;
use clew_core::render::envoy::Settings;
use clew_crds::WebSocketRoute;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::api::{self, Order};
use super::apply::Applier;
use super::drains::Drains;
use super::ports::Ports;
use super::signing::Signing;
use super::state::{self, State};
use super::view::View;
use super::{
    API_ADDRESS, BIRTHS, DRAINS, KEY_SETS, LONGEST_DRAIN, MANIFESTS, NODE, Options, PORTS, ROUTES, Standalone,
};
use crate::channel::{Channel, server};
use crate::failure::Failure;
use crate::manifests::{Births, Manifests};
use crate::metrics::Metrics;
use crate::module;

/// Opens the state folder, and serves the channel and the API; answers where the latter is.
///
/// # Errors
/// When one of them cannot be had.
pub(super) async fn begin(
    options: &Options,
) -> Result<(Standalone, mpsc::Receiver<Order>, SocketAddr), Failure> {
    let state = State::open(&options.state)?;
    let (seed, token) = (state.secret("seed")?, state.secret("token")?);
    let signing = Signing::open(&state)?;
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
    let cannot = |error: io::Error| {
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
        node: NODE.to_owned(),
        failure_mode: options.failure_mode,
        access_log: options.access_log.as_deref().map(access_log).transpose()?,
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
    let kept: Vec<WebSocketRoute> = state.load(ROUTES).unwrap_or_default();
    let key_sets: BTreeMap<String, Vec<String>> = state.load(KEY_SETS).unwrap_or_default();
    let longest_drain_ms = state.load(LONGEST_DRAIN).unwrap_or(0);
    let standalone = Standalone {
        manifests: Manifests::new(options.paths.clone(), births.clone()).keeping(state.path(MANIFESTS)),
        settings,
        ports,
        drains: Drains::restore(state.load(DRAINS).unwrap_or_default()),
        draining: None,
        applier: Applier::new(&state, channel.clone(), signing),
        envoy: None,
        started: false,
        gone_drain_ms: longest_drain_ms,
        kept_drain_ms: longest_drain_ms,
        in_force: InForce::from_iter(kept).with_key_sets(key_sets),
        world: World::default(),
        said: BTreeSet::new(),
        failed: false,
        births,
        view,
        metrics,
        channel,
        state,
    };
    Ok((standalone, orders, api_address))
}

/// The file of the access log as Envoy is to see it, made where it is missing, for its owner alone.
fn access_log(path: &Path) -> Result<String, Failure> {
    let named = std::path::absolute(path);
    let opened = state::private().append(true).create(true).open(path);
    match opened.and(named) {
        Ok(path) => path.into_os_string().into_string().map_err(|path| {
            Failure::usage(format!(
                "--access-log {} is not UTF-8, and Envoy writes to no other path",
                path.display()
            ))
        }),
        Err(error) => Err(Failure::usage(format!(
            "--access-log {} cannot be written: {error}; make the folder, or choose another path",
            path.display()
        ))),
    }
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
        Failure::unreachable(format!("CLEW0901: {address} cannot be bound ({purpose}): {error}; stop who has it, or choose another with --api"))
    })
}
