//! A client of the mesh: what it asks goes through a sidecar of its own, Istio's agent with the released Envoy.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;

use crate::agent::{Agent, Place};
use crate::cluster::Cluster;
use crate::envoy::Admin;
use crate::istio::Istio;
use crate::pod::PORT;
use crate::visitors::LONG;
use crate::{address, wait};

const NAME: &str = "visitor";
const PORTS: u16 = 16000;

/// One sidecar, killed when dropped.
#[derive(Debug)]
pub struct Sidecar {
    /// Where its client asks for Services, by their names as the host.
    pub address: SocketAddr,
    /// Its Envoy's admin port.
    pub admin: Admin,
    agent: Agent,
}

impl Sidecar {
    /// Starts that of a client in a namespace, and waits until it has its first configuration. Nothing is redirected to it: it listens where the
    /// namespace's Sidecar says.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(cluster: &Cluster, istio: &Istio, namespace: &str) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        let egress = json!({
            "port": {"number": PORT, "protocol": "HTTP", "name": "http"},
            "bind": address.ip(),
            "captureMode": "NONE",
            "hosts": ["./*"],
        });
        let sidecar = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"name": "default", "namespace": namespace},
            "spec": {"egress": [egress]},
        });
        // It serves nobody, and there is no CA to give it a certificate, for which it would wait.
        let plain = json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": namespace},
            "spec": {"mtls": {"mode": "DISABLE"}},
        });
        let client = cluster.client().await?;
        for object in [&plain, &sidecar] {
            client.apply(object).await?;
        }
        let place = Place {
            role: "sidecar",
            pod: NAME,
            namespace,
            ip: address.ip(),
            labels: json!({"app": NAME}),
            ports: PORTS,
        };
        let agent = Agent::start(istio, &place).await?;
        Ok(Self {
            address,
            admin: agent.admin,
            agent,
        })
    }

    /// Waits until where its Envoy leads requests, which is all of its routes' text, is so.
    ///
    /// # Errors
    /// When it is not for long.
    pub async fn routes(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<()> {
        let said = format!("in a sidecar's routes: {what}");
        wait::until(&said, LONG, async || {
            let routes = self.admin.get("/config_dump?resource=dynamic_route_configs");
            is_so(&routes.await.ok()?).then_some(())
        })
        .await
    }

    /// Everything that the agent and Envoy wrote.
    pub fn log(&self) -> String {
        self.agent.log()
    }
}
