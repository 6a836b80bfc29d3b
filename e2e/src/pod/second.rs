//! Services that select the pods of another one: kube-controller-manager, which does not run, would enter the pods there too.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::Client;

/// The label by which an EndpointSlice belongs to a Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// And to whoever made it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Enters the pods of a Service wherever another one of its namespace selects them, until it is dropped.
#[derive(Debug)]
pub struct Entering(JoinHandle<()>);

impl Entering {
    /// From now on.
    pub fn start(client: &Client, namespace: &str, service: &str) -> Self {
        let (client, namespace, service) = (client.clone(), namespace.to_owned(), service.to_owned());
        Self(tokio::spawn(async move {
            loop {
                // What fails is tried again.
                enter(&client, &namespace, &service).await.ok();
                tokio::time::sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn enter(client: &Client, namespace: &str, service: &str) -> Result<()> {
    let services = list(client, "/api/v1", namespace, "services").await?;
    let slices = list(client, "/apis/discovery.k8s.io/v1", namespace, "endpointslices").await?;
    let (first, others): (Vec<_>, Vec<_>) = services.iter().partition(|one| name(one) == service);
    let selector = &first.first().context("no such Service")?["spec"]["selector"];
    let says = |slice: &Value, label: &str, value: &str| slice["metadata"]["labels"][label] == value;
    let mut wanted = Vec::new();
    for other in others.iter().filter(|one| one["spec"]["selector"] == *selector) {
        let of_first = slices.iter().filter(|slice| says(slice, SERVICE, service));
        wanted.extend(of_first.map(|slice| copy(slice, other)));
    }
    for slice in &wanted {
        let is_it = |live: &Value| {
            let same = |field: &str| live[field] == slice[field];
            name(live) == name(slice) && same("ports") && same("endpoints")
        };
        if !slices.iter().any(is_it) {
            client.apply(slice).await?;
        }
    }
    for live in slices.iter().filter(|live| says(live, MANAGED_BY, MANAGER)) {
        if !wanted.iter().any(|slice| name(slice) == name(live)) {
            let object = client.object("discovery.k8s.io/v1", "EndpointSlice", namespace, name(live));
            object.delete().await?;
        }
    }
    Ok(())
}

/// The same pods, by the port of the Service that selects them too.
fn copy(slice: &Value, other: &Value) -> Value {
    let port = &other["spec"]["ports"][0];
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-of-{}", name(slice), name(other)),
            "namespace": slice["metadata"]["namespace"],
            "labels": {SERVICE: name(other), MANAGED_BY: MANAGER},
        },
        "addressType": slice["addressType"],
        "ports": [{"name": port["name"], "port": port["targetPort"], "protocol": "TCP"}],
        "endpoints": slice["endpoints"],
    })
}

async fn list(client: &Client, api: &str, namespace: &str, kind: &str) -> Result<Vec<Value>> {
    let path = format!("{api}/namespaces/{namespace}/{kind}");
    let list: Value = serde_json::from_str(&client.text(&path).await?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
