//! What Prometheus' discovery finds in a cluster, with the labels that it gives it. Debian builds Prometheus without that, so it reads files of it here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::cluster::Client;

/// What is found: the ports of endpoints of Services, or those of containers of pods.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    EndpointSlice,
    Pod,
}

impl Role {
    pub(super) fn file(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::EndpointSlice => "endpointslices.json",
            Self::Pod => "pods.json",
        })
    }

    async fn found(self, client: &Client) -> Result<Vec<Value>> {
        match self {
            Self::EndpointSlice => endpoints(client).await,
            Self::Pod => containers(client).await,
        }
    }
}

/// Writes down what there is now.
pub(super) async fn write(client: &Client, folder: &Path) -> Result<()> {
    for role in [Role::EndpointSlice, Role::Pod] {
        let (file, new) = (role.file(folder), folder.join("new"));
        std::fs::write(&new, json!(role.found(client).await?).to_string())?;
        std::fs::rename(new, file)?;
    }
    Ok(())
}

async fn endpoints(client: &Client) -> Result<Vec<Value>> {
    let services = list(client, "/api/v1/services").await?;
    let mut targets = Vec::new();
    for slice in list(client, "/apis/discovery.k8s.io/v1/endpointslices").await? {
        let (name, namespace) = (
            &slice["metadata"]["labels"]["kubernetes.io/service-name"],
            &slice["metadata"]["namespace"],
        );
        let is_of = |service: &&Value| {
            &service["metadata"]["name"] == name && &service["metadata"]["namespace"] == namespace
        };
        let Some(service) = services.iter().find(is_of) else {
            continue;
        };
        for (endpoint, port) in each(&slice["endpoints"], &slice["ports"]) {
            let mut labels = labelled("service", service);
            labels.extend([
                (
                    "__meta_kubernetes_endpointslice_port_name".to_owned(),
                    port["name"].clone(),
                ),
                (
                    "__meta_kubernetes_pod_name".to_owned(),
                    endpoint["targetRef"]["name"].clone(),
                ),
            ]);
            targets.push(target(&endpoint["addresses"][0], &port["port"], labels)?);
        }
    }
    Ok(targets)
}

async fn containers(client: &Client) -> Result<Vec<Value>> {
    let mut targets = Vec::new();
    for pod in list(client, "/api/v1/pods").await? {
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            for port in container["ports"].as_array().into_iter().flatten() {
                let number = port["containerPort"].to_string();
                let mut labels = labelled("pod", &pod);
                labels.extend([
                    (
                        "__meta_kubernetes_pod_container_name".to_owned(),
                        container["name"].clone(),
                    ),
                    (
                        "__meta_kubernetes_pod_container_port_number".to_owned(),
                        json!(number),
                    ),
                ]);
                targets.push(target(&pod["status"]["podIP"], &port["containerPort"], labels)?);
            }
        }
    }
    Ok(targets)
}

async fn list(client: &Client, path: &str) -> Result<Vec<Value>> {
    let mut list: Value = serde_json::from_str(&client.text(path).await?)?;
    serde_json::from_value(list["items"].take()).context("a list")
}

/// Each of the one with each of the other.
fn each<'v>(these: &'v Value, those: &'v Value) -> impl Iterator<Item = (&'v Value, &'v Value)> {
    let those = those.as_array().map_or(&[][..], Vec::as_slice);
    let these = these.as_array().into_iter().flatten();
    these.flat_map(move |one| those.iter().map(move |other| (one, other)))
}

/// Name, namespace and labels of an object.
fn labelled(kind: &str, object: &Value) -> Map<String, Value> {
    let metadata = &object["metadata"];
    let labels = metadata["labels"].as_object().into_iter().flatten();
    let mut all: Map<String, Value> = labels
        .map(|(label, value)| (label_of(kind, label), value.clone()))
        .collect();
    all.insert(format!("__meta_kubernetes_{kind}_name"), metadata["name"].clone());
    all.insert(
        "__meta_kubernetes_namespace".to_owned(),
        metadata["namespace"].clone(),
    );
    all
}

/// What an object's label is called.
pub(super) fn label_of(kind: &str, label: &str) -> String {
    let label = label.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("__meta_kubernetes_{kind}_label_{label}")
}

fn target(ip: &Value, port: &Value, labels: Map<String, Value>) -> Result<Value> {
    let ip = ip.as_str().context("an address")?;
    Ok(json!({"targets": [format!("{ip}:{port}")], "labels": labels}))
}
