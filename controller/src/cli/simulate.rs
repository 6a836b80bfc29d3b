use std::process::ExitCode;

use clew_core::simulate::{Change, Simulation, simulate};

use super::output::{self, Format};
use super::subject::{Known, Subject};
use crate::failure::Failure;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Session keys that are made up for each backend
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    keys: u32,
    /// Pods that join each backend
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    add: u32,
    /// Pod that leaves; may be given several times
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// How the answer is printed [default: table on a terminal, else json]
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    subject: Subject,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let Known {
        validated,
        drains,
        secrets,
    } = args.subject.look()?;
    let change = Change {
        keys: args.keys,
        add: args.add,
        remove: args.remove.clone(),
    };
    let simulated = simulate(&validated.world, &drains, &secrets.seed, &change);
    let simulation = simulated.map_err(|error| Failure::refused(format!("--remove: {error}")))?;
    Format::for_whoever_reads(args.output).print(&simulation, || drawn(&simulation))?;
    Ok(ExitCode::SUCCESS)
}

fn drawn(simulation: &Simulation) -> String {
    let most = simulation
        .backends
        .iter()
        .map(|load| load.keys)
        .max()
        .unwrap_or(0)
        .max(1);
    let rows = simulation.backends.iter().map(|load| {
        let width = usize::try_from(load.keys * 30 / most).unwrap_or(0);
        [
            load.service.clone(),
            load.name.clone(),
            load.before.to_string(),
            load.keys.to_string(),
            "█".repeat(width),
        ]
    });
    let moved = &simulation.moved;
    format!(
        "{}\nmoved {} of the {} keys that had to (× {:.3}); moved without need: {}\n",
        output::table(["SERVICE", "POD", "BEFORE", "KEYS", ""], rows),
        moved.keys,
        moved.minimum,
        moved.ratio,
        moved.innocent
    )
}
