//! What the API server has of a pod: the object that a kubelet would keep, and an EndpointSlice that names it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::{Client, Object};

/// The spec of a pod of which nobody looks at what is in it.
#[must_use]
pub fn any_spec() -> Value {
    json!({"containers": [{"name": "server", "image": "server"}]})
}

/// Who is registered, and where.
#[derive(Debug)]
pub(crate) struct Registrant {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) labels: Value,
    /// What runs in it: the spec of a Pod.
    pub(crate) spec: Value,
    /// The name of the Service's port.
    pub(crate) port: &'static str,
    pub(crate) address: SocketAddr,
}

/// A pod as the API server sees it.
#[derive(Debug)]
pub(crate) struct Registration {
    of: Registrant,
    uid: String,
    ready: bool,
    terminating: bool,
}

impl Registration {
    /// As a pod that runs and is ready.
    pub(crate) async fn new(of: Registrant) -> Result<Self> {
        let mut registration = Self::starting(of).await?;
        registration.set_ready(true).await?;
        Ok(registration)
    }

    /// As a pod that is not ready yet.
    pub(crate) async fn starting(of: Registrant) -> Result<Self> {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": of.name, "namespace": of.namespace, "labels": of.labels},
            "spec": of.spec,
        });
        // A pod that has a node stays when it is deleted, until the kubelet there says that it is over.
        if pod["spec"]["nodeName"].is_null() {
            pod["spec"]["nodeName"] = json!("node");
        }
        let made = of.client.apply(&pod).await?;
        let uid = made["metadata"]["uid"].as_str().context("a pod without uid")?;
        let registration = Self {
            uid: uid.to_owned(),
            ready: false,
            terminating: false,
            of,
        };
        registration.save().await?;
        Ok(registration)
    }

    pub(crate) async fn set_ready(&mut self, ready: bool) -> Result<()> {
        self.ready = ready;
        self.save().await
    }

    pub(crate) async fn terminate(&mut self) -> Result<()> {
        self.object("v1", "Pod").delete().await?;
        self.terminating = true;
        self.save().await
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        self.object("discovery.k8s.io/v1", "EndpointSlice")
            .delete()
            .await?;
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        self.object("v1", "Pod").delete_with(&at_once).await
    }

    fn object(&self, api_version: &str, kind: &str) -> Object {
        let Registrant {
            client,
            namespace,
            name,
            ..
        } = &self.of;
        client.object(api_version, kind, namespace, name)
    }

    /// Says the same in the pod's status and in the EndpointSlice.
    async fn save(&self) -> Result<()> {
        let Registrant {
            client,
            namespace,
            service,
            name,
            port,
            address,
            ..
        } = &self.of;
        let (ready, terminating, ip) = (self.ready, self.terminating, address.ip().to_string());
        let condition = |kind| json!({"type": kind, "status": if ready { "True" } else { "False" }});
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "status": {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "conditions": [condition("Ready"), condition("ContainersReady")],
            },
        });
        client.apply_status(&pod).await?;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": port, "port": address.port(), "protocol": "TCP"}],
            "endpoints": [{
                "addresses": [ip],
                "conditions": {"ready": ready && !terminating, "serving": ready, "terminating": terminating},
                "targetRef": {"kind": "Pod", "name": name, "namespace": namespace, "uid": self.uid},
            }],
        });
        client.apply(&slice).await?;
        Ok(())
    }
}
