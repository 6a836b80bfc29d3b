//! A pod of an Istio gateway: Istio's agent with the released Envoy, and the objects that stand for it.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::{Value, json};

use crate::address;
use crate::agent::{self, Agent, Place};
use crate::cluster::{Client, Cluster};
use crate::envoy::Admin;
use crate::istio::{Istio, NAMESPACE};
use crate::pod::{Registrant, Registration};

/// What an Istio Gateway selects it by.
pub const SELECTOR: (&str, &str) = ("istio", "ingressgateway");
/// The port of the Gateways, of the Service, and of Envoy.
pub const PORT: u16 = 80;

const NAME: &str = "istio-ingressgateway";
const PORTS: u16 = 15000;
/// Where its Envoy tells its metrics.
const METRICS: u16 = PORTS + agent::METRICS;

/// One pod of a gateway, killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Where sessions enter, when a Gateway selects it.
    pub address: SocketAddr,
    /// Its Envoy's admin port.
    pub admin: Admin,
    agent: Agent,
}

impl Gateway {
    /// Starts one with two workers, and waits until it has its first configuration.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(cluster: &Cluster, istio: &Istio) -> Result<Self> {
        Self::start_as(cluster, istio, (NAMESPACE, NAME), labels()).await
    }

    /// The same for a Gateway of Istio's class, whose Service has its name. There is one agent at a time: each has the same ports.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_for(cluster: &Cluster, istio: &Istio, namespace: &str, name: &str) -> Result<Self> {
        let labels = json!({"gateway.networking.k8s.io/gateway-name": name});
        Self::start_as(cluster, istio, (namespace, name), labels).await
    }

    async fn start_as(
        cluster: &Cluster,
        istio: &Istio,
        (namespace, name): (&str, &str),
        labels: Value,
    ) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        register(&cluster.client().await?, (namespace, name), &labels, address).await?;
        let place = Place {
            role: "router",
            pod: &format!("{name}-0"),
            namespace,
            ip: address.ip(),
            labels,
            ports: PORTS,
        };
        let agent = Agent::start(istio, &place).await?;
        Ok(Self {
            address,
            admin: agent.admin,
            agent,
        })
    }

    /// Envoy's process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn envoy(&self) -> Result<u32> {
        self.agent.envoy()
    }

    /// Everything that the agent and Envoy wrote, Envoy's access log too.
    pub fn log(&self) -> String {
        self.agent.log()
    }
}

/// An Istio Gateway that these pods serve, for some hosts.
pub fn istio_gateway(namespace: &str, name: &str, hosts: &[&str]) -> Value {
    let port = json!({"number": PORT, "name": "http", "protocol": "HTTP"});
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": labels(), "servers": [{"port": port, "hosts": hosts}]},
    })
}

fn labels() -> Value {
    json!({SELECTOR.0: SELECTOR.1})
}

/// The Service that says which port is which, and the pod in it.
async fn register(
    client: &Client,
    (namespace, name): (&str, &str),
    labels: &Value,
    address: SocketAddr,
) -> Result<()> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": PORT}]},
    });
    client.apply(&service).await?;
    let registrant = Registrant {
        client: client.clone(),
        namespace: namespace.to_owned(),
        service: name.to_owned(),
        name: format!("{name}-0"),
        labels: labels.clone(),
        spec: json!({"containers": [{
            "name": "istio-proxy",
            "image": "proxyv2",
            "ports": [{"name": "http-envoy-prom", "containerPort": METRICS}],
        }]}),
        port: "http",
        address,
    };
    Registration::new(registrant).await?;
    Ok(())
}
