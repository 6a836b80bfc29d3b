//! The Envoy that we drive: started so that it outlives us, or adopted from a `clew run` that is gone.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clew_core::render::envoy::{Settings, bootstrap};
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use super::binary::Binary;
use super::detach;
use super::log::Log;
use super::process::{Identity, Process};
use super::state::State;
use crate::clock;
use crate::failure::Failure;

const RECORD: &str = "envoy.json";
const ADMIN_ADDRESS: &str = "envoy/admin-address";
const BOOTSTRAP: &str = "envoy/bootstrap.json";
/// Envoy loads every file and compiles the module before it says that it is live.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at an Envoy that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Envoy ends at once when asked; one that does not is ended.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What is kept of an Envoy for the `clew run` after us.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    identity: Identity,
    version: String,
    /// The file of its listeners' access log.
    #[serde(default)]
    access_log: Option<String>,
}

/// An Envoy that runs.
#[derive(Debug)]
pub(super) struct Envoy {
    process: Process,
    pub(super) admin: Admin,
    pub(super) admin_address: SocketAddr,
    pub(super) version: String,
    pub(super) access_log: Option<String>,
}

impl Envoy {
    /// The Envoy that an earlier `clew run` left in this state folder, if it lives.
    pub(super) async fn adopt(state: &State) -> Option<Self> {
        let record: Record = state.load(RECORD)?;
        let process = Process::open(record.identity).ok()?;
        let envoy = tokio::select! {
            () = process.ended() => None,
            admin = admin_address(state) => Some(admin),
        };
        let admin_address = envoy?;
        Some(Self {
            process,
            admin: Admin::new(admin_address),
            admin_address,
            version: record.version,
            access_log: record.access_log,
        })
    }

    /// Starts an Envoy and waits until it is live.
    ///
    /// # Errors
    /// When it cannot be started, or ends; with the last that it said.
    pub(super) async fn start(
        state: &State,
        binary: &Binary,
        settings: &Settings,
        concurrency: Option<u16>,
        log: &Log,
    ) -> Result<Self, Failure> {
        let cannot =
            |error: io::Error| Failure::unreachable(format!("CLEW0907: Envoy cannot be started: {error}"));
        let _ = fs::remove_file(state.path(ADMIN_ADDRESS));
        state.save(BOOTSTRAP, &bootstrap(settings)).map_err(cannot)?;
        let mut arguments: Vec<OsString> = ["-c".into(), state.path(BOOTSTRAP).into_os_string()].into();
        arguments.extend([
            "--admin-address-path".into(),
            state.path(ADMIN_ADDRESS).into_os_string(),
        ]);
        // Two Envoys on one machine would otherwise share memory under one base id.
        arguments.push("--disable-hot-restart".into());
        arguments.extend(["--log-level".into(), "warning".into()]);
        if let Some(concurrency) = concurrency {
            arguments.extend(["--concurrency".into(), concurrency.to_string().into()]);
        }
        let pid = detach::start(&binary.path, &arguments, log.path()).map_err(cannot)?;
        let record = Record {
            identity: Identity::of(pid).map_err(cannot)?,
            version: binary.version.to_string(),
            access_log: settings.access_log.clone(),
        };
        let process = Process::open(record.identity).map_err(cannot)?;
        if let Err(error) = state.save(RECORD, &record) {
            // Nobody would know it.
            process.kill();
            return Err(cannot(error));
        }
        let ended = || {
            Failure::unreachable(format!(
                "CLEW0907: Envoy ended while it started; the last that it said:\n{}",
                log.tail()
            ))
        };
        tokio::select! {
            () = process.ended() => Err(ended()),
            live = tokio::time::timeout(START_PATIENCE, live_admin(state)) => match live {
                Ok(admin_address) => Ok(Self {
                    process,
                    admin: Admin::new(admin_address),
                    admin_address,
                    version: record.version,
                    access_log: record.access_log,
                }),
                Err(_) => {
                    process.kill();
                    Err(Failure::unreachable(format!(
                        "CLEW0907: Envoy was not ready within {START_PATIENCE:?}; the last that it said:\n{}",
                        log.tail()
                    )))
                }
            },
        }
    }

    /// Ends the Envoy whose start was noted and not waited for.
    pub(super) async fn stop_recorded(state: &State) {
        let record: Option<Record> = state.load(RECORD);
        if let Some(process) = record.and_then(|record| Process::open(record.identity).ok()) {
            process.kill();
            process.ended().await;
        }
        let _ = fs::remove_file(state.path(RECORD));
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Resolves when Envoy has ended.
    pub(super) async fn ended(&self) {
        self.process.ended().await;
    }

    /// Ends it.
    pub(super) async fn stop(&self, state: &State) {
        self.process.terminate();
        if tokio::time::timeout(END_PATIENCE, self.process.ended())
            .await
            .is_err()
        {
            self.process.kill();
            self.process.ended().await;
        }
        let _ = fs::remove_file(state.path(RECORD));
    }
}

/// Waits for the file in which Envoy says where its admin port is.
async fn admin_address(state: &State) -> SocketAddr {
    loop {
        let address = fs::read_to_string(state.path(ADMIN_ADDRESS))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match address {
            Some(address) => return address,
            None => clock::pause(LOOK_AGAIN).await,
        }
    }
}

async fn live_admin(state: &State) -> SocketAddr {
    let address = admin_address(state).await;
    while !Admin::new(address).is_live().await {
        clock::pause(LOOK_AGAIN).await;
    }
    address
}
