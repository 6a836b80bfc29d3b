use std::process::ExitCode;

use serde_json::json;

use super::output::Format;
use crate::failure::Failure;
use crate::module;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let (version, sha256) = (env!("CARGO_PKG_VERSION"), module::sha256());
    let data = json!({"version": version, "api": "clew.dev/v1alpha1", "wasm": {"sha256": sha256, "bytes": module::BYTES.len()}});
    let table = || format!("clew    {version}\napi     clew.dev/v1alpha1\nfilter  sha256:{sha256}\n");
    args.output.print(&data, table)?;
    Ok(ExitCode::SUCCESS)
}
