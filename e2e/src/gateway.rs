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
/// The port of the Gateways and of their Services.
pub const PORT: u16 = 80;

const NAME: &str = "istio-ingressgateway";

/// The ports of a pod. All pods have one network here, so each kind has its own, and one of each can run at a time.
#[derive(Debug, Clone, Copy)]
struct Ports {
    /// Where Envoy takes sessions.
    sessions: u16,
    /// What the agent's begin with.
    agent: u16,
}

const FIRST: Ports = Ports {
    sessions: PORT,
    agent: 15000,
};
const ANOTHER: Ports = Ports {
    sessions: 15180,
    agent: 15100,
};
const OF_ISTIOS_CLASS: Ports = Ports {
    sessions: 17080,
    agent: 17000,
};

/// One pod of a gateway, killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Where sessions enter, when a Gateway selects it.
    pub address: SocketAddr,
    /// Its Envoy's admin port.
    pub admin: Admin,
    agent: Agent,
    registration: Registration,
}

impl Gateway {
    /// Starts one with two workers, and waits until it has its first configuration.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(cluster: &Cluster, istio: &Istio) -> Result<Self> {
        Self::start_as(cluster, istio, (NAMESPACE, NAME, 0), labels(), FIRST).await
    }

    /// A second pod of the same gateway.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_another(cluster: &Cluster, istio: &Istio) -> Result<Self> {
        Self::start_as(cluster, istio, (NAMESPACE, NAME, 1), labels(), ANOTHER).await
    }

    /// A pod of a Gateway of Istio's class, whose Service has its name.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_for(cluster: &Cluster, istio: &Istio, namespace: &str, name: &str) -> Result<Self> {
        let labels = json!({"gateway.networking.k8s.io/gateway-name": name});
        Self::start_as(cluster, istio, (namespace, name, 0), labels, OF_ISTIOS_CLASS).await
    }

    async fn start_as(
        cluster: &Cluster,
        istio: &Istio,
        (namespace, service, number): (&str, &str, usize),
        labels: Value,
        ports: Ports,
    ) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), ports.sessions));
        let place = Place {
            role: "router",
            pod: &format!("{service}-{number}"),
            namespace,
            ip: address.ip(),
            labels,
            ports: ports.agent,
        };
        let registration = register(&cluster.client().await?, service, &place, address).await?;
        let agent = Agent::start(istio, &place).await?;
        Ok(Self {
            address,
            admin: agent.admin,
            agent,
            registration,
        })
    }

    /// Is killed, and gone from the API server.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn leave(self) -> Result<()> {
        drop(self.agent);
        self.registration.remove().await
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

/// The Service, whose port is whichever a pod calls by its name, and the pod in it.
async fn register(
    client: &Client,
    service: &str,
    place: &Place<'_>,
    address: SocketAddr,
) -> Result<Registration> {
    let port = "http";
    let of_all = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service, "namespace": place.namespace},
        "spec": {"selector": place.labels, "ports": [{"name": port, "port": PORT, "targetPort": port}]},
    });
    client.apply(&of_all).await?;
    Registration::new(Registrant {
        client: client.clone(),
        namespace: place.namespace.to_owned(),
        service: service.to_owned(),
        name: place.pod.to_owned(),
        labels: place.labels.clone(),
        spec: json!({"containers": [{
            "name": "istio-proxy",
            "image": "proxyv2",
            "ports": [
                {"name": port, "containerPort": address.port()},
                {"name": "http-envoy-prom", "containerPort": place.ports + agent::METRICS},
            ],
        }]}),
        port,
        address,
    })
    .await
}
