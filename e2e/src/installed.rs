//! What the scripts of `e2e/tools` bring.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};
use tokio::process::Command;

/// The folder that a script prints, once it is there.
///
/// # Errors
/// When it cannot be had.
pub async fn installed(script: &str, arguments: &[&Path]) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(script);
    let output = Command::new(&script)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "{} failed", script.display());
    Ok(String::from_utf8(output.stdout)?.trim().into())
}
