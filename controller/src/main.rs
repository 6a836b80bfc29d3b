//! `clew`: WebSocket routing that keeps hold of the thread.
//!
//! The IO half: files, processes, sockets and clocks. What they mean is decided in `clew-core`.

mod bug_report;
mod channel;
mod cli;
mod clock;
mod cluster;
mod failure;
mod finding;
mod http;
mod manifests;
mod memory;
mod metrics;
mod module;
mod operate;
mod packed;
mod reconcile;
mod standalone;
mod status_page;
mod traces;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{EnvFilter, FilterExt, FilterFn, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use traces::Traces;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = standalone::hidden(&arguments) {
        return code;
    }
    let cli = cli::Cli::parse();
    let traces = match cli.turns() {
        true => Traces::from_environment(),
        false => Ok(None),
    };
    log(cli.log_format, traces.as_ref().ok().and_then(Option::as_ref));
    if let Err(why) = &traces {
        tracing::warn!("{why}");
    }
    let outcome = cli.run();
    if let Ok(Some(traces)) = traces {
        traces.end();
    }
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("clew: {failure}");
            failure.exit()
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses which. Traces go elsewhere, whatever it chooses.
fn log(format: cli::LogFormat, traces: Option<&Traces>) {
    let chosen = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let is_log = FilterFn::new(|metadata| !traces::is_traced(metadata));
    let filter = chosen.and(is_log.with_max_level_hint(LevelFilter::TRACE));
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    let logs = match format {
        cli::LogFormat::Json => logs.json().with_filter(filter).boxed(),
        cli::LogFormat::Text => logs.with_filter(filter).boxed(),
    };
    tracing_subscriber::registry()
        .with(logs)
        .with(traces.map(Traces::layer))
        .init();
}
