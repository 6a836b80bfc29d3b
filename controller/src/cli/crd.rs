use std::process::ExitCode;

use clap::ValueEnum;
use clew_crds::{WebSocketPolicy, WebSocketRoute, crd_yaml};

use super::output;
use crate::failure::Failure;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this one
    #[arg(value_enum)]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    #[value(name = "websocketroute")]
    Route,
    #[value(name = "websocketpolicy")]
    Policy,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    output::text_to_stdout(&match args.kind {
        Some(Kind::Route) => crd_yaml::<WebSocketRoute>(),
        Some(Kind::Policy) => crd_yaml::<WebSocketPolicy>(),
        None => [crd_yaml::<WebSocketRoute>(), crd_yaml::<WebSocketPolicy>()].join("---\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}
