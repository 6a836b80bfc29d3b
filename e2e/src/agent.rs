//! Istio's agent with the released Envoy, as it runs in the pod of a gateway and beside a client of the mesh.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clew_filter_config::metrics::LABELS;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{START, part};
use crate::daemon::Daemon;
use crate::envoy::{self, Admin};
use crate::istio::Istio;
use crate::{http, process};

/// What the number of its metrics' port ends with.
pub(crate) const METRICS: u16 = 90;

/// The pod that it is in.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// `router` or `sidecar`.
    pub(crate) role: &'static str,
    pub(crate) pod: &'p str,
    pub(crate) namespace: &'p str,
    pub(crate) ip: IpAddr,
    pub(crate) labels: Value,
    /// What its ports begin with: all pods have one network here, where each would have its own.
    pub(crate) ports: u16,
}

/// The agent and its Envoy, killed when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) admin: Admin,
    daemon: Daemon,
    folder: TempDir,
}

impl Agent {
    /// Starts one with two workers, and waits until Envoy has its first configuration.
    ///
    /// # Errors
    /// When it does not become ready.
    pub(crate) async fn start(istio: &Istio, place: &Place<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("clew-agent-").tempdir()?;
        let [admin, status, probe, metrics] = [0, 20, 21, METRICS].map(|port| place.ports + port);
        let mut command = command(place, folder.path())?;
        command
            .env(
                "PROXY_CONFIG",
                config(istio, folder.path(), admin, status)?.to_string(),
            )
            .env("ENVOY_STATUS_PORT", probe.to_string())
            .env("ENVOY_PROMETHEUS_PORT", metrics.to_string());
        let name = format!("pilot-agent-{}", place.pod);
        let mut daemon = Daemon::start(&name, &mut command, folder.path())?;
        let status = SocketAddr::from((Ipv4Addr::LOCALHOST, status));
        daemon
            .until("ready", START, async || {
                http::get(status, "/healthz/ready").await.ok()
            })
            .await?;
        Ok(Self {
            admin: Admin {
                address: (Ipv4Addr::LOCALHOST, admin).into(),
            },
            daemon,
            folder,
        })
    }

    /// Envoy's process.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn envoy(&self) -> Result<u32> {
        let named = process::naming(self.folder.path());
        named.first().copied().context("no Envoy")
    }

    /// Everything that the agent and Envoy wrote, Envoy's access log too.
    pub(crate) fn log(&self) -> String {
        self.daemon.log()
    }
}

fn config(istio: &Istio, folder: &Path, admin: u16, status: u16) -> Result<Value> {
    Ok(json!({
        "discoveryAddress": istio.discovery().to_string(),
        "controlPlaneAuthPolicy": "NONE",
        "binaryPath": envoy::find()?,
        "configPath": folder.join("envoy"),
        "proxyAdminPort": admin,
        "statusPort": status,
        "concurrency": 2,
        "terminationDrainDuration": "5s",
        "extraStatTags": LABELS,
        "proxyStatsMatcher": {"inclusionSuffixes": ["downstream_cx_upgrades_active"]},
        // What a listener's change cuts, it cuts soon.
        "drainDuration": "5s",
    }))
}

fn command(place: &Place<'_>, folder: &Path) -> Result<Command> {
    let mut command = Command::new(part("pilot-agent")?);
    command
        .args(["proxy", place.role, "--domain"])
        .arg(format!("{}.svc.cluster.local", place.namespace))
        .args(["--proxyLogLevel=warning", "--log_output_level=default:info"])
        .env("ISTIO_BOOTSTRAP", part("envoy_bootstrap.json")?)
        .env("ISTIO_METAJSON_LABELS", place.labels.to_string())
        .envs([
            ("POD_NAME", place.pod),
            ("POD_NAMESPACE", place.namespace),
            ("INSTANCE_IP", &place.ip.to_string()),
            ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
            ("ISTIO_META_DNS_CAPTURE", "false"),
            ("FILE_MOUNTED_CERTS", "true"),
        ])
        .current_dir(folder);
    Ok(command)
}
