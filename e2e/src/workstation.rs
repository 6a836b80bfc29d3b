//! Somebody at a workstation, who reaches the cluster by a kubeconfig and may do what their account may.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::process::Command;

use crate::chart;
use crate::cluster::{Client, Cluster};
use crate::standalone::{self, Output};

/// Runs `clew` to its end, as somebody.
///
/// # Errors
/// When it does not start or does not end.
pub async fn clew(kubeconfig: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(standalone::binary()?);
    command
        .args(arguments)
        .args(["--kubeconfig".as_ref(), kubeconfig.as_os_str()]);
    standalone::output(command).await
}

/// Account `jane` of a namespace, with the chart's role for operators, and how they reach the cluster.
///
/// # Errors
/// When the API server refuses something.
pub async fn operator(cluster: &Cluster, client: &Client, shop: &str) -> Result<PathBuf> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jane", "namespace": shop}});
    client.apply(&account).await?;
    for role in chart::operators()? {
        client.apply(&role).await?;
        let kind = role["kind"].as_str().context("a role")?;
        let namespace = role["metadata"]["namespace"].as_str();
        let mut binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"),
            "metadata": {"name": "jane"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role["metadata"]["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": "jane", "namespace": shop}],
        });
        if let Some(namespace) = namespace {
            binding["metadata"]["namespace"] = json!(namespace);
        }
        client.apply(&binding).await?;
    }
    cluster.kubeconfig_of(shop, "jane").await
}
