use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use clew_core::migrate::{Entry, Format, Input, Outcome, migrate};
use serde_json::json;

use super::output;
use crate::failure::Failure;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// nginx.conf and the files that it includes, haproxy.cfg, or manifests of Ingresses (and of their Services, for the numbers of named
    /// ports); several are one configuration
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Whose they are [default: what the first one looks like]
    #[arg(long, value_enum)]
    from: Option<From>,
    /// For Ingresses: also write what a cluster has already, the Gateway and Services without endpoints, for `clew run`
    #[arg(long)]
    stand_alone: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Printed,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Nginx,
    Haproxy,
    Ingress,
}

#[derive(Clone, Copy, ValueEnum)]
enum Printed {
    /// Manifests with comments; the report goes to stderr
    Yaml,
    /// `{"manifests": "…", "report": [{"file", "line", "directive", "outcome", "note"}]}`
    Json,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let inputs: Vec<Input> = args.files.iter().map(read).collect::<Result<_, _>>()?;
    let format = match (args.from, inputs.first()) {
        (Some(From::Nginx), _) => Format::Nginx,
        (Some(From::Haproxy), _) => Format::Haproxy,
        (Some(From::Ingress), _) => Format::Ingress,
        (None, Some(input)) => Format::guess(input),
        (None, None) => return Err(Failure::usage("no file is named")),
    };
    let migrated = migrate(format, &inputs, args.stand_alone)
        .map_err(|refused| Failure::refused(refused.to_string()))?;
    match args.output {
        Printed::Yaml => {
            for entry in &migrated.report {
                eprintln!("{entry}");
            }
            output::text_to_stdout(&migrated.manifests)?;
        }
        Printed::Json => {
            let data = json!({"manifests": migrated.manifests, "report": migrated.report});
            output::Format::Json.print(&data, String::new)?;
        }
    }
    eprintln!("{}", summary(&migrated.report));
    if migrated.manifests.is_empty() {
        return Err(Failure::refused(
            "nothing here passes WebSockets on, so there is no WebSocketRoute to write",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> Result<Input, Failure> {
    let text = fs::read(path).map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
    Ok(Input {
        file: path.display().to_string().into(),
        // Comments may be in any encoding.
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

fn summary(report: &[Entry]) -> String {
    let count = |outcome| report.iter().filter(|entry| entry.outcome == outcome).count();
    format!(
        "{} carried, {} approximated, {} cannot be, {} irrelevant",
        count(Outcome::Carried),
        count(Outcome::Approximated),
        count(Outcome::Cannot),
        count(Outcome::Irrelevant)
    )
}
