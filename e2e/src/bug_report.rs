//! A report of `clew bug-report`, as whoever helps opens it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::standalone;

const FOLDER: &str = "clew-bug-report/";

/// Its files, by their names.
///
/// # Errors
/// When it is no tar.gz.
pub async fn read(file: &Path) -> Result<BTreeMap<String, String>> {
    let tar = async |arguments: &[&str]| {
        let mut command = Command::new("tar");
        command.arg(arguments[0]).arg(file).args(&arguments[1..]);
        Ok::<_, anyhow::Error>(standalone::output(command).await?.success()?.to_owned())
    };
    let names = tar(&["-tzf"]).await?;
    let mut report = BTreeMap::new();
    for name in names.lines() {
        let text = tar(&["-xOzf", name]).await?;
        let name = name
            .strip_prefix(FOLDER)
            .with_context(|| format!("{name} is in no folder"))?;
        report.insert(name.to_owned(), text);
    }
    Ok(report)
}
