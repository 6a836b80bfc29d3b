//! `kubectl clew`: what is packed for krew is what krew takes, and the real kubectl runs it.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::part;
use clew_e2e::standalone::{self, Output, clew};
use serde_json::Value;
use tokio::process::Command;

/// Runs it, and fails where it fails.
async fn run<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(standalone::output(command).await?.success()?.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_packed_plugin_is_as_its_manifest_says_and_kubectl_runs_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../krew/pack.sh");
    let pack = pack.to_str().context("a path")?;
    let archive = run(
        pack,
        &[standalone::binary()?.as_os_str(), folder.path().as_os_str()],
    )
    .await?;
    let manifest: Value = serde_saphyr::from_str(&std::fs::read_to_string(folder.path().join("clew.yaml"))?)?;

    // What krew's index asks of a manifest.
    ensure!(manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2");
    ensure!(manifest["kind"] == "Plugin" && manifest["metadata"]["name"] == "clew");
    let spec = &manifest["spec"];
    let version = clew(["version", "-o", "json"]).await?.json()?;
    let number = version["version"].as_str().context("a version")?;
    ensure!(spec["version"] == format!("v{number}").as_str(), "{spec:#}");
    let short = spec["shortDescription"].as_str().context("a description")?;
    ensure!(
        (1..=50).contains(&short.len()) && !short.ends_with('.'),
        "{short}"
    );
    let [platform] = spec["platforms"].as_array().context("platforms")?.as_slice() else {
        anyhow::bail!("{spec:#}");
    };
    let labels = &platform["selector"]["matchLabels"];
    ensure!(labels["os"] == "linux" && ["amd64", "arm64"].iter().any(|arch| labels["arch"] == *arch));
    let name = Path::new(&archive).file_name().and_then(|name| name.to_str());
    let uri = platform["uri"].as_str().context("where it is")?;
    ensure!(
        uri.starts_with("https://") && uri.rsplit('/').next() == name,
        "{uri}"
    );
    let sum = run("sha256sum", &[&archive]).await?;
    ensure!(sum.split(' ').next() == platform["sha256"].as_str(), "{sum}");

    // As krew installs it.
    let (unpacked, bin) = (folder.path().join("unpacked"), folder.path().join("bin"));
    std::fs::create_dir_all(&unpacked)?;
    std::fs::create_dir_all(&bin)?;
    let into = unpacked.to_str().context("a path")?;
    run(
        "tar",
        &["--extract", "--gzip", "--file", &archive, "--directory", into],
    )
    .await?;
    for file in platform["files"].as_array().context("files")? {
        let from = file["from"].as_str().context("a file")?;
        ensure!(unpacked.join(from).is_file(), "{from} is not in the archive");
    }
    let program = platform["bin"].as_str().context("a program")?;
    symlink(unpacked.join(program), bin.join("kubectl-clew"))?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let kubectl = async |arguments: &[&str]| -> Result<Output> {
        let mut command = Command::new(part("kubectl")?);
        command.args(arguments).env("PATH", &path);
        standalone::output(command).await
    };
    let said = kubectl(&["clew", "version", "-o", "json"]).await?;
    ensure!(said.json()? == version, "{said:?}");
    let listed = kubectl(&["plugin", "list"]).await?;
    ensure!(listed.success()?.contains("kubectl-clew"), "{listed:?}");
    // And its exit codes are the command's own.
    let refused = kubectl(&["clew", "validate", "-f", "no-such-folder"]).await?;
    let own = clew(["validate", "-f", "no-such-folder"]).await?;
    ensure!(refused.code == own.code && own.code != 0, "{refused:?}, {own:?}");
    Ok(())
}
