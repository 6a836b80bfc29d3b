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
mod metrics;
mod module;
mod operate;
mod packed;
mod reconcile;
mod standalone;
mod status_page;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// After a burst the C library's own keeps most of the memory, in so many pieces that every allocation looks for long.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = standalone::hidden(&arguments) {
        return code;
    }
    let cli = cli::Cli::parse();
    logs(cli.log_format);
    match cli.run() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("clew: {failure}");
            failure.exit()
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses which.
fn logs(format: cli::LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    match format {
        cli::LogFormat::Json => logs.json().init(),
        cli::LogFormat::Text => logs.init(),
    }
}
