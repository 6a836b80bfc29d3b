//! The figures, both arms in one run: `bench [cost|placement|hash|drain|control-plane|istiod|many-routes|side-by-side|rooms]…`, all of them when none is
//! named. Each suite writes `bench/results/SUITE.json` and prints the same as a table; exit 1 where a bound is missed.
#![expect(clippy::print_stdout, reason = "the output of a program")]

mod arms;
mod control_plane;
mod cost;
mod drain;
mod hash;
mod istiod;
mod load;
mod many_routes;
mod placement;
mod side_by_side;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use clew_e2e::envoy;
use clew_e2e::figures::{self, Figures};
use clew_e2e::side_by_side::page;
use clew_e2e::standalone::clew;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Arguments {
    /// All of them when none is named.
    suites: Vec<Suite>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    Cost,
    Placement,
    Hash,
    Drain,
    ControlPlane,
    Istiod,
    ManyRoutes,
    SideBySide,
    Rooms,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut suites = Arguments::parse().suites;
    if suites.is_empty() {
        suites = Suite::value_variants().to_vec();
    }
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::from(3);
    };
    let measured = tokio::select! {
        measured = measure(&suites) => measured,
        // Everything that was started goes with what `measure` holds.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = terminate.recv() => return ExitCode::from(143),
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::from(3)
        }
    }
}

async fn measure(suites: &[Suite]) -> Result<bool> {
    let versions = versions().await?;
    let mut met = true;
    for suite in suites {
        let name = match suite {
            Suite::Cost => "cost",
            Suite::Placement => "placement",
            Suite::Hash => "hash",
            Suite::Drain => "drain",
            Suite::ControlPlane => "control-plane",
            Suite::Istiod => "istiod",
            Suite::ManyRoutes => "many-routes",
            Suite::SideBySide => "side-by-side",
            Suite::Rooms => "rooms",
        };
        eprintln!("== {name}");
        let mut figures = Figures::new(name, versions.clone());
        match suite {
            Suite::Cost => cost::measure(&mut figures).await?,
            Suite::Placement => placement::measure(&mut figures).await?,
            Suite::Hash => hash::measure(&mut figures).await?,
            Suite::Drain => drain::measure(&mut figures).await?,
            Suite::ControlPlane => control_plane::measure(&mut figures).await?,
            Suite::Istiod => istiod::measure(&mut figures).await?,
            Suite::ManyRoutes => many_routes::measure(&mut figures).await?,
            Suite::SideBySide => side_by_side::measure(&mut figures).await?,
            Suite::Rooms => side_by_side::rooms::measure(&mut figures).await?,
        }
        let (table, suite_met) = figures.finish(&figures::results())?;
        println!("== {name}\n{table}");
        if matches!(suite, Suite::SideBySide | Suite::Rooms) {
            for (file, text) in page::pages()? {
                std::fs::write(file, text)?;
            }
        }
        met &= suite_met;
    }
    Ok(met)
}

async fn versions() -> Result<Value> {
    let version = clew(["version"]).await?.stdout;
    let wasm = clew(["wasm", "--sha256"]).await?.stdout;
    Ok(json!({"clew": version.trim(), "wasm": wasm.trim(), "envoy": envoy::VERSION}))
}
