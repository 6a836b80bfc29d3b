//! `clew bug-report`.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;

use super::output;
use super::target::{CHOICE, Found, Target};
use crate::bug_report::{Archive, of_cluster, of_standalone};
use crate::clock;
use crate::failure::Failure;

#[derive(clap::Args)]
#[command(after_help = CHOICE)]
pub(crate) struct Args {
    /// The file to write, which must not be there yet; - is stdout [default: clew-bug-report-<UTC>.tar.gz, here]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(bug_report(args))
}

async fn bug_report(args: &Args) -> Result<ExitCode, Failure> {
    let mut archive = Archive::new();
    match args.target.find(false).await? {
        Found::Cluster(cluster) => {
            let namespace = cluster.namespace.as_deref();
            let scope = cluster.scope();
            of_cluster(
                &mut archive,
                &cluster.connection,
                &cluster.controller,
                &scope,
                namespace,
            )
            .await?;
        }
        Found::Standalone(standalone) => {
            of_standalone(
                &mut archive,
                standalone.address(),
                args.target.folder().as_deref(),
            )
            .await?;
        }
    }
    let path = args.output.clone().unwrap_or_else(default);
    let summary = archive.write(&path)?;
    for missing in &summary.missing {
        eprintln!("clew: not in the report: {}: {}", missing.what, missing.why);
    }
    eprintln!(
        "clew: {} files; look through them before you show them to others: tar -tzf {}",
        summary.files,
        path.display()
    );
    if path.as_os_str() != "-" {
        output::text_to_stdout(&path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As nobody else calls a file.
fn default() -> PathBuf {
    let now = i64::try_from(clock::unix_ms()).ok();
    let now = now
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    now.strftime("clew-bug-report-%Y%m%dT%H%M%SZ.tar.gz")
        .to_string()
        .into()
}
