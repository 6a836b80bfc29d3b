//! A pod of an Istio gateway: Istio's agent with the released Envoy, and the objects that stand for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::address;
use crate::cluster::{Client, Cluster, START, part};
use crate::daemon::Daemon;
use crate::envoy::{self, Admin};
use crate::istio::{Istio, NAMESPACE};
use crate::pod::{Registrant, Registration, any_spec};
use crate::{http, process};

/// What an Istio Gateway selects it by.
pub const SELECTOR: (&str, &str) = ("istio", "ingressgateway");
/// The port of the Gateways, of the Service, and of Envoy.
pub const PORT: u16 = 80;

const NAME: &str = "istio-ingressgateway";
const ADMIN_PORT: u16 = 15000;
const STATUS_PORT: u16 = 15020;

/// One pod of a gateway, killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    /// Where sessions enter, when a Gateway selects it.
    pub address: SocketAddr,
    /// Its Envoy's admin port.
    pub admin: Admin,
    agent: Daemon,
    folder: TempDir,
}

impl Gateway {
    /// Starts the one that an Istio Gateway selects, with two workers, and waits until it has its first configuration.
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
        let folder = tempfile::Builder::new().prefix("clew-gateway-").tempdir()?;
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        register(&cluster.client().await?, (namespace, name), &labels, address).await?;
        let config = json!({
            "discoveryAddress": istio.discovery().to_string(),
            "controlPlaneAuthPolicy": "NONE",
            "binaryPath": envoy::find()?,
            "configPath": folder.path().join("envoy"),
            "proxyAdminPort": ADMIN_PORT,
            "statusPort": STATUS_PORT,
            "concurrency": 2,
            "terminationDrainDuration": "5s",
        });
        let mut command = Command::new(part("pilot-agent")?);
        command
            .args([
                "proxy",
                "router",
                "--domain",
                &format!("{namespace}.svc.cluster.local"),
            ])
            .args(["--proxyLogLevel=warning", "--log_output_level=default:info"])
            .env("PROXY_CONFIG", config.to_string())
            .env("ISTIO_BOOTSTRAP", part("envoy_bootstrap.json")?)
            .env("ISTIO_METAJSON_LABELS", labels.to_string())
            .envs([
                ("POD_NAME", &*format!("{name}-0")),
                ("POD_NAMESPACE", namespace),
                ("INSTANCE_IP", &address.ip().to_string()),
                ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
                ("ISTIO_META_DNS_CAPTURE", "false"),
                ("FILE_MOUNTED_CERTS", "true"),
            ])
            .current_dir(folder.path());
        let mut agent = Daemon::start("pilot-agent", &mut command, folder.path())?;
        let status = SocketAddr::from((Ipv4Addr::LOCALHOST, STATUS_PORT));
        agent
            .until("ready", START, async || {
                http::get(status, "/healthz/ready").await.ok()
            })
            .await?;
        Ok(Self {
            address,
            admin: Admin {
                address: (Ipv4Addr::LOCALHOST, ADMIN_PORT).into(),
            },
            agent,
            folder,
        })
    }

    /// Envoy's process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn envoy(&self) -> Result<u32> {
        let named = process::naming(self.folder.path());
        named.first().copied().context("no Envoy")
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
        spec: any_spec(),
        port: "http",
        address,
    };
    Registration::new(registrant).await?;
    Ok(())
}
