//! `clew drain`.

mod cluster;
mod progress;
mod standalone;

use std::process::ExitCode;

use super::output::Format;
use super::target::{CHOICE, Found, Target};
use crate::failure::Failure;

#[derive(clap::Args)]
#[command(after_help = CHOICE)]
pub(crate) struct Args {
    /// The pods: `name` or `namespace/name`; of a clew run `ip:port` too
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Pods of a cluster by their labels
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with_all = ["pods", "node"])]
    selector: Option<String>,
    /// Pods of a cluster by their node: those that a route leads to, in all namespaces where -n names none
    #[arg(long, value_name = "NODE", conflicts_with = "pods")]
    node: Option<String>,
    /// By when they hold no session, such as 90s or 2m [default: the shortest drain.timeout of their rules]
    #[arg(long, value_name = "DURATION", conflicts_with = "cancel", value_parser = longer_than_zero)]
    timeout: Option<clew_crds::Duration>,
    /// Follow it until no session is left
    #[arg(long, conflicts_with = "cancel")]
    watch: bool,
    /// Take a drain back: new sessions may come again
    #[arg(long)]
    cancel: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    target: Target,
}

/// In no time nobody can be told.
fn longer_than_zero(text: &str) -> Result<clew_crds::Duration, String> {
    let duration: clew_crds::Duration = text.parse().map_err(|error| format!("{error}"))?;
    match duration.as_millis() {
        0 => Err("must be longer than 0s".to_owned()),
        _ => Ok(duration),
    }
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(drain(args))
}

async fn drain(args: &Args) -> Result<ExitCode, Failure> {
    let by_cluster = args.selector.is_some() || args.node.is_some();
    if args.pods.is_empty() && !by_cluster {
        return Err(Failure::usage(
            "say which pods: their names, or of a cluster --selector or --node too",
        ));
    }
    match args.target.find(by_cluster).await? {
        Found::Standalone(standalone) => standalone::drain(args, &standalone).await?,
        Found::Cluster(cluster) => cluster::drain(args, &cluster).await?,
    }
    Ok(ExitCode::SUCCESS)
}
