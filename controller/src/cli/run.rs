//! `clew run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clew_filter_config::plugin;

use crate::failure::Failure;
use crate::standalone::{self, Options, state::State};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// File or folder of manifests to follow; may be given several times
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    /// The Envoy to drive [default: the first on PATH, else the one that `make demo` installed]
    #[arg(long, value_name = "PATH", env = "CLEW_ENVOY", hide_env_values = true)]
    envoy: Option<PathBuf>,
    /// Where Envoy's admin port is, on loopback; port 0: any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where our own port is; port 0: any
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    api: SocketAddr,
    /// Where the hash seed and Envoy's files are kept [default: $XDG_STATE_HOME/clew]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Envoy's worker threads [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,
    /// What a proxy does whose filter has failed, or has not heard of its rules yet
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value = "Closed",
        ignore_case = true
    )]
    failure_mode: FailureMode,
    /// Where Envoy logs each session when it is over; holds from Envoy's start to its end
    #[arg(long, value_name = "PATH")]
    access_log: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FailureMode {
    /// New sessions are answered with 503, and a fresh filter is started
    #[value(name = "Closed")]
    Closed,
    /// New sessions pass, placed by Envoy alone, until Envoy is started anew
    #[value(name = "Open")]
    Open,
}

impl From<FailureMode> for plugin::FailureMode {
    fn from(mode: FailureMode) -> Self {
        match mode {
            FailureMode::Closed => Self::Closed,
            FailureMode::Open => Self::Open,
        }
    }
}

pub(crate) fn main(args: Args) -> Result<ExitCode, Failure> {
    let state = args.state_dir.or_else(State::default_folder).ok_or_else(|| {
        Failure::usage("there is no place for the state folder: neither XDG_STATE_HOME nor HOME is set; name one with --state-dir")
    })?;
    let options = Options {
        paths: args.filename,
        // An empty variable is no path.
        envoy: args.envoy.filter(|path| !path.as_os_str().is_empty()),
        admin: args.admin,
        api: args.api,
        state,
        concurrency: args.concurrency,
        failure_mode: args.failure_mode.into(),
        access_log: args.access_log,
    };
    super::runtime()?.block_on(standalone::run(options))
}
