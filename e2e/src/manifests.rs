//! A folder of manifests as a user would write them, edited as editors do it: a new file, then a rename.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The namespace of everything that the tests write.
pub const NAMESPACE: &str = "shop";
/// The name of the tests' Gateway.
pub const GATEWAY: &str = "edge";

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    /// An empty one.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("clew-manifests-").tempdir()?,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `NAME.yaml` in one step.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn put(&self, name: &str, manifest: &Value) -> Result<PathBuf> {
        self.put_text(name, &yaml(std::slice::from_ref(manifest))?)
    }

    /// Writes several documents to `NAME.yaml` in one step.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn put_all(&self, name: &str, manifests: &[Value]) -> Result<PathBuf> {
        self.put_text(name, &yaml(manifests)?)
    }

    /// Writes text to `NAME.yaml` in one step.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn put_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(format!("{name}.yaml"));
        let draft = self.path().join(format!(".{name}.draft"));
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &path)?;
        Ok(path)
    }

    /// Removes `NAME.yaml`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path().join(format!("{name}.yaml"))).with_context(|| name.to_owned())
    }
}

fn yaml(manifests: &[Value]) -> Result<String> {
    let documents: Result<Vec<String>, _> = manifests.iter().map(serde_saphyr::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// The tests' Gateway, class `clew`, with one HTTP listener.
pub fn gateway(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
        "spec": {
            "gatewayClassName": "clew",
            "addresses": [{"type": "IPAddress", "value": address.ip().to_string()}],
            "listeners": [{"name": "ws", "port": address.port(), "protocol": "HTTP"}],
        },
    })
}

/// A Service with one port.
pub fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": name}, "ports": [{"name": "ws", "port": port, "protocol": "TCP"}]},
    })
}

/// One pod of a Service.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// What tells it from every other pod that has or had its name.
    pub uid: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it takes sessions.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
}

impl Pod {
    /// A ready one.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            uid: format!(
                "00000000-0000-4000-8000-{:0>12}",
                address.to_string().replace(['.', ':'], "")
            ),
            address,
            ready: true,
            terminating: false,
        }
    }
}

/// The EndpointSlice of a Service whose pods all listen on one port.
pub fn endpoint_slice(service: &str, port: u16, pods: &[Pod]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({
                "addresses": [pod.address.ip().to_string()],
                "conditions": {
                    "ready": pod.ready && !pod.terminating,
                    "serving": pod.ready,
                    "terminating": pod.terminating,
                },
                "targetRef": {
                    "kind": "Pod",
                    "name": pod.name,
                    "namespace": NAMESPACE,
                    "uid": pod.uid,
                },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "ws", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// A WebSocketRoute of the tests' Gateway.
pub fn route(name: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"parentRefs": [{"name": GATEWAY}], "rules": rules},
    })
}

/// A rule: a path prefix, one backendRef, and whatever `policy` (an object) says.
pub fn rule(name: &str, prefix: &str, service: &str, port: u16, policy: Value) -> Value {
    let mut rule = Map::new();
    rule.insert("name".to_owned(), json!(name));
    rule.insert(
        "matches".to_owned(),
        json!([{"path": {"type": "PathPrefix", "value": prefix}}]),
    );
    rule.insert("backendRefs".to_owned(), json!([{"name": service, "port": port}]));
    if let Value::Object(policy) = policy {
        rule.extend(policy);
    }
    Value::Object(rule)
}

/// A Secret with one entry.
pub fn secret(name: &str, entry: &str, value: &str) -> Value {
    let mut data = Map::new();
    data.insert(entry.to_owned(), json!(value));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    })
}
