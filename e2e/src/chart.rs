//! The Helm chart: what is in it, and helm.

#[cfg(test)]
mod values;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::cluster::part;
use crate::standalone::{self, Output};

/// The name of the release, and of most that it makes.
pub const RELEASE: &str = "clew";
/// Where it is.
pub const NAMESPACE: &str = "clew-system";

/// The chart's folder, or the one of its tests.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name)
}

/// Runs a helm to its end.
///
/// # Errors
/// When it does not start or does not end.
pub async fn helm<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Output> {
    let mut command = Command::new(part("helm")?);
    command.args(arguments);
    standalone::output(command).await
}

/// What the chart makes with these arguments of `helm template`.
///
/// # Errors
/// When helm refuses.
pub async fn rendered<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<String> {
    let chart = folder("clew");
    let fixed = [
        "template",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.36.0",
    ]
    .map(OsStr::new);
    let arguments: Vec<S> = arguments.into_iter().collect();
    let all = fixed.into_iter().chain([chart.as_os_str()]);
    let printed = helm(all.chain(arguments.iter().map(S::as_ref))).await?;
    Ok(printed.success()?.to_owned())
}

/// The objects of a stream of YAML.
///
/// # Errors
/// When one is none.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let text = format!("\n{text}");
    let documents = text.split("\n---").filter(|one| !one.trim().is_empty());
    documents.map(|one| Ok(serde_saphyr::from_str(one)?)).collect()
}

/// What gives the controller its account and its rights, as the chart has it.
///
/// # Errors
/// When the chart has none.
pub fn rights() -> Result<Vec<Value>> {
    let is_right = |object: &Value| {
        let kind = object["kind"].as_str().unwrap_or_default();
        let is_of_it = ["ServiceAccount", "Lease"].contains(&kind)
            || kind.contains("Role") && !object["metadata"]["name"].as_str().is_some_and(is_of_others);
        is_of_it && object["metadata"]["annotations"]["helm.sh/hook"].is_null()
    };
    let found: Vec<Value> = default()?.into_iter().filter(is_right).collect();
    ensure!(found.len() == 7, "{found:#?}");
    Ok(found)
}

/// The roles of operators, to whom nobody is bound.
///
/// # Errors
/// When the chart has none.
pub fn operators() -> Result<Vec<Value>> {
    let is_role = |object: &Value| {
        object["kind"].as_str().is_some_and(|kind| kind.ends_with("Role"))
            && object["metadata"]["name"].as_str().is_some_and(is_of_others)
    };
    let found: Vec<Value> = default()?.into_iter().filter(is_role).collect();
    ensure!(found.len() == 2, "{found:#?}");
    Ok(found)
}

/// What the chart makes where nothing is said but what must be, as the golden file has it.
fn default() -> Result<Vec<Value>> {
    let path = folder("tests/default.golden.yaml");
    objects(&std::fs::read_to_string(&path).with_context(|| path.display().to_string())?)
}

fn is_of_others(name: &str) -> bool {
    name.ends_with("-operator")
}

/// One verb on one kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The API group.
    pub group: String,
    /// Which objects, with their subresource.
    pub resource: String,
    /// Of one name only; empty: of any.
    pub name: String,
    /// What may be done.
    pub verb: String,
}

/// What the roles among these objects grant.
pub fn grants(objects: &[Value]) -> BTreeSet<Grant> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in objects
        .iter()
        .flat_map(|object| object["rules"].as_array().into_iter().flatten())
    {
        let mut names = texts(rule, "resourceNames");
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for name in &names {
                    granted.extend(texts(rule, "verbs").into_iter().map(|verb| Grant {
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb,
                    }));
                }
            }
        }
    }
    granted
}
