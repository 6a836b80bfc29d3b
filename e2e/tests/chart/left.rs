//! What of Clew is in a cluster: all that is named as its own, or that it, its commands or helm wrote; and how the guide has one be rid of it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Cluster;
use serde_json::Value;

const GUIDE: &str = include_str!("../../../docs/guide/install.md");

/// `Kind namespace/name` of everything of every kind that the API server knows, but for Events, which pass by themselves.
pub(crate) async fn ours(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let kinds = cluster
        .kubectl(["api-resources", "--verbs=list", "-o", "name"])
        .await?;
    let kinds: Vec<_> = kinds
        .success()?
        .split_whitespace()
        .filter(|kind| !kind.starts_with("events"))
        .collect();
    ensure!(kinds.len() > 60, "{kinds:?}");
    let all = [
        "get",
        &kinds.join(","),
        "--all-namespaces",
        "--show-managed-fields",
        "-o",
        "json",
    ];
    // It says of a kind that cannot be listed so, and lists the others.
    let listed = cluster.kubectl(all).await?;
    let listed: Value = serde_json::from_str(&listed.stdout).with_context(|| listed.stderr.clone())?;
    let items = listed["items"].as_array().context("a list")?;
    ensure!(items.len() > 100, "only {} objects are there", items.len());
    Ok(items
        .iter()
        .filter(|object| is_ours(object))
        .map(called)
        .collect())
}

fn is_ours(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let labels =
        ["managed-by", "name"].map(|label| &metadata["labels"][format!("app.kubernetes.io/{label}")]);
    let fields = metadata["managedFields"].as_array().into_iter().flatten();
    let mut writers = fields.filter_map(|one| one["manager"].as_str());
    labels.iter().any(|label| *label == "clew")
        || object["kind"] == "CustomResourceDefinition" && object["spec"]["group"] == "clew.dev"
        || writers.any(|who| ["clew", "helm"].contains(&who) || who.starts_with("clew.dev/"))
}

fn called(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{}", text(&metadata["name"])),
        None => format!("{kind} {}", text(&metadata["name"])),
    }
}

/// What the guide has one type to be rid of everything: each line's words.
pub(crate) fn how_to_be_rid_of_it() -> Result<Vec<Vec<&'static str>>> {
    let block = GUIDE
        .split("```")
        .find(|block| block.contains("kubectl delete wsr"));
    let lines = block.context("the guide does not say it")?.lines();
    // The first says what language they are in.
    let lines: Vec<Vec<_>> = lines
        .skip(1)
        .map(|line| line.split(" # ").next().unwrap_or_default())
        .map(|line| line.split_whitespace().collect())
        .collect();
    ensure!(lines.len() >= 5, "{lines:?}");
    Ok(lines)
}

/// Runs one of these lines.
pub(crate) async fn typed(cluster: &Cluster, line: &[&str]) -> Result<()> {
    let (program, arguments) = line.split_first().context("a line")?;
    match *program {
        "kubectl" => cluster.kubectl(arguments).await?.success().map(drop),
        "helm" => helm(cluster, arguments).await.map(drop),
        _ => anyhow::bail!("{line:?}"),
    }
}

/// What helm says.
pub(crate) async fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let kubeconfig = cluster.kubeconfig();
    let own = ["--kubeconfig".as_ref(), Path::as_os_str(&kubeconfig)];
    let all = arguments.iter().map(|argument| argument.as_ref());
    Ok(clew_e2e::chart::helm(all.chain(own)).await?.success()?.to_owned())
}
