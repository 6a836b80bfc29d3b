use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use super::output;
use crate::failure::Failure;
use crate::module;

#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
#[group(required = true, multiple = true)]
pub(crate) struct Args {
    /// Print the module's sha256
    #[arg(long)]
    sha256: bool,
    /// Write the module here
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.output {
        fs::write(path, module::BYTES)
            .map_err(|error| Failure::refused(format!("{} cannot be written: {error}", path.display())))?;
    }
    if args.sha256 {
        output::text_to_stdout(&module::sha256())?;
    }
    Ok(ExitCode::SUCCESS)
}
