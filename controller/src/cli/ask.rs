//! Asking a `clew run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failure::Failure;
use crate::http;
use crate::standalone::{API_ADDRESS, state::State};

/// How long a `clew run` beside us has to take a connection.
const NEARBY: Duration = Duration::from_millis(500);

/// Which `clew run`.
#[derive(clap::Args)]
#[command(next_help_heading = "Stand-alone")]
pub(crate) struct Api {
    /// Where the `clew run` that is asked has its port [default: the one in the state folder, else 127.0.0.1:9900]
    #[arg(long, value_name = "ADDR")]
    api: Option<SocketAddr>,
    /// State folder of the `clew run` that is asked [default: $XDG_STATE_HOME/clew]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// A `clew run`.
pub(crate) struct Standalone {
    address: SocketAddr,
}

impl Api {
    /// Somebody said which.
    pub(crate) fn is_said(&self) -> bool {
        self.api.is_some() || self.state_dir.is_some()
    }

    /// The state folder of the one that is meant, where that is known.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        match (&self.state_dir, self.api) {
            (None, Some(_)) => None,
            (said, _) => said.clone().or_else(State::default_folder),
        }
    }

    /// Where a `clew run` has its port, as its state folder says.
    pub(crate) fn kept(&self) -> Option<SocketAddr> {
        let folder = self.folder()?;
        let kept = std::fs::read_to_string(folder.join(API_ADDRESS)).ok()?;
        kept.trim().parse().ok()
    }

    /// Whether something has the port that the state folder names.
    pub(crate) async fn is_nearby(&self) -> bool {
        let Some(address) = self.kept() else {
            return false;
        };
        let connected = tokio::time::timeout(NEARBY, TcpStream::connect(address)).await;
        matches!(connected, Ok(Ok(_)))
    }

    /// The one that is meant, where somebody or its state folder says where it has its port.
    pub(crate) fn found(&self) -> Option<Standalone> {
        let address = self.api.or_else(|| self.kept())?;
        Some(Standalone { address })
    }

    /// The one that is meant.
    pub(crate) fn standalone(&self) -> Standalone {
        self.found().unwrap_or_else(|| Standalone {
            address: SocketAddr::from(([127, 0, 0, 1], 9900)),
        })
    }
}

impl Standalone {
    /// Where it has its port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request; answers what came back as JSON.
    ///
    /// # Errors
    /// When nobody answers, or the answer is no.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let address = self.address;
        let (status, bytes) = http::request(address, method, path, body)
            .await
            .map_err(|error| {
                Failure::unreachable(format!(
                    "no clew run answers at {address}: {error}; is it running? --api or --state-dir say where, \
                     and --kubeconfig or --context that a cluster is meant"
                ))
            })?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status == StatusCode::OK {
            return Ok(value);
        }
        let why = value
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("no reason given")
            .to_owned();
        Err(match status.is_server_error() {
            true => Failure::unreachable(why),
            false => Failure::refused(why),
        })
    }
}
