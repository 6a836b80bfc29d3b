//! The filter's module as no `clew` ships it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

/// The header at which the module of [`crash_test`] fails.
pub const CRASH: &str = "x-clew-crash-test";

/// Builds the module that fails when it is told to, of the same sources, and says where it is.
///
/// # Errors
/// When it cannot be built.
pub async fn crash_test() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace is there")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "clew-filter",
            "--lib",
        ])
        .args([
            "--profile",
            "wasm",
            "--target",
            "wasm32-wasip1",
            "--features",
            "crash-test",
        ])
        .args(["--message-format", "json"])
        .current_dir(root)
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let files = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["filenames"].as_array().cloned())
        .flatten();
    files
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| file.ends_with("clew_filter.wasm"))
        .context("cargo names no module")
}
