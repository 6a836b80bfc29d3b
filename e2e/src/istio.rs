//! Istio's control plane, before a cluster's API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;

use crate::cluster::{Cluster, START, part};
use crate::daemon::Daemon;
use crate::http;

/// The root namespace, where gateways are too.
pub const NAMESPACE: &str = "istio-system";

const HTTP: SocketAddr = loopback(18080);
const GRPC: SocketAddr = loopback(15010);
const MONITORING: SocketAddr = loopback(15014);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// istiod, killed when dropped.
#[derive(Debug)]
pub struct Istio {
    istiod: Daemon,
}

impl Istio {
    /// Starts it, and waits until it knows what the API server has.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let client = cluster.client().await?;
        client.apply(&namespace(NAMESPACE)).await?;
        let mesh = cluster.folder().join("mesh.yaml");
        let config = json!({
            "accessLogFile": "/dev/stdout",
            "enablePrometheusMerge": false,
            "enableAutoMtls": false,
            "defaultConfig": {"discoveryAddress": GRPC.to_string()},
        });
        std::fs::write(&mesh, config.to_string())?;
        let mut command = Command::new(part("pilot-discovery")?);
        command
            .arg("discovery")
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .arg("--meshConfig")
            .arg(&mesh)
            .args(["--httpAddr", &HTTP.to_string()])
            .args(["--grpcAddr", &GRPC.to_string()])
            .args(["--monitoringAddr", &MONITORING.to_string()])
            .args(["--httpsAddr", "", "--secureGRPCAddr", ""])
            .envs([("POD_NAME", "istiod-0"), ("POD_NAMESPACE", NAMESPACE)])
            // What Envoy as it is released does not have.
            .envs([
                ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
                ("PILOT_ENABLE_ALPN_FILTER", "false"),
                ("PILOT_DISABLE_MX_ALPN", "true"),
            ])
            // What a cluster without pods of Istio's own cannot do.
            .envs([
                ("ENABLE_CA_SERVER", "false"),
                ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
                ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
                ("PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER", "false"),
            ])
            .env("PILOT_ENABLE_PERSISTENT_SESSION_FILTER", "true")
            .current_dir(cluster.folder());
        let mut istiod = Daemon::start("istiod", &mut command, cluster.folder())?;
        istiod
            .until("ready", START, async || http::get(HTTP, "/ready").await.ok())
            .await?;
        Ok(Self { istiod })
    }

    /// Where proxies get their configuration.
    pub fn discovery(&self) -> SocketAddr {
        GRPC
    }

    /// Sends a signal: SIGSTOP and SIGCONT make it late.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.istiod.signal(signal)
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.istiod.log()
    }

    /// The sum of one of its metrics over all series.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = http::get(MONITORING, "/metrics").await?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = series.filter(|rest| rest.starts_with(['{', ' ']));
        Ok(values
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

/// A namespace.
pub fn namespace(name: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
