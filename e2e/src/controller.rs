//! `clew controller`: a replica in a cluster, behind the Service by which proxies find it.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Client, Cluster, START};
use crate::daemon::Daemon;
use crate::pod::{Registrant, Registration};
use crate::{address, http, istio, standalone};

/// Where it is in a cluster.
pub const NAMESPACE: &str = "clew-system";
/// Its Service.
pub const SERVICE: &str = "clew";

/// The account that it runs as, with the rights that the guide gives it and no others.
pub const ACCOUNT: &str = "clew";

const PORT: u16 = 8080;
const GUIDE: &str = include_str!("../../docs/guide/cluster.md");

/// One replica, killed when dropped.
#[derive(Debug)]
pub struct Controller {
    /// Where proxies and probes come in.
    pub address: SocketAddr,
    name: String,
    daemon: Daemon,
}

impl Controller {
    /// Starts a replica, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the error holds what it wrote.
    pub async fn start(cluster: &Cluster, name: &str) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        for object in guide("kind: ServiceAccount")? {
            client.apply(&object).await?;
        }
        let daemon = launch(cluster, name, address).await?;
        register(&client, name, address).await?;
        Ok(Self {
            address,
            name: name.to_owned(),
            daemon,
        })
    }

    /// Starts it again at the same place, when it has ended.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self, cluster: &Cluster) -> Result<()> {
        self.daemon = launch(cluster, &self.name, self.address).await?;
        Ok(())
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Sends a signal: SIGTERM ends it in order, SIGSTOP and SIGCONT make it sleep past its lease.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.signal(signal)
    }

    /// Waits for its end: the exit code, or minus the signal.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(&mut self, limit: Duration) -> Result<i32> {
        self.daemon.end(limit).await
    }
}

/// The objects of the guide's block that has this in it.
///
/// # Errors
/// When the guide has none.
pub fn guide(holds: &str) -> Result<Vec<Value>> {
    let blocks = GUIDE.split("```text\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(holds));
    let block = block.with_context(|| format!("the guide has no block with {holds}"))?;
    let objects = block.split("\n---\n");
    objects.map(|one| Ok(serde_saphyr::from_str(one)?)).collect()
}

async fn launch(cluster: &Cluster, name: &str, address: SocketAddr) -> Result<Daemon> {
    let mut command = Command::new(standalone::binary()?);
    command
        .args(["controller", "--listen", &address.to_string()])
        .env("KUBECONFIG", cluster.kubeconfig_of(NAMESPACE, ACCOUNT).await?)
        .env("NO_COLOR", "1")
        .envs([("POD_NAME", name), ("POD_NAMESPACE", NAMESPACE)]);
    let mut daemon = Daemon::start(name, &mut command, cluster.folder())?;
    daemon
        .until("ready", START, async || http::get(address, "/readyz").await.ok())
        .await?;
    Ok(daemon)
}

/// The Service, the replica in it, and the Service's name where a cluster's DNS would know it.
async fn register(client: &Client, name: &str, address: SocketAddr) -> Result<()> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"selector": {"app": SERVICE}, "ports": [{"name": "http", "port": PORT}]},
    });
    client.apply(&service).await?;
    let registrant = Registrant {
        client: client.clone(),
        namespace: NAMESPACE.to_owned(),
        service: SERVICE.to_owned(),
        name: name.to_owned(),
        labels: json!({"app": SERVICE}),
        port: "http",
        address,
    };
    Registration::new(registrant).await?;
    let mut hosts = File::options().append(true).open("/etc/hosts")?;
    writeln!(hosts, "{} {SERVICE}.{NAMESPACE}.svc.cluster.local", address.ip())?;
    Ok(())
}
