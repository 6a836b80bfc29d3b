//! `clew controller`: a replica in a cluster, behind the Service by which proxies find it.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
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
    /// By which it gets to the API server when it starts next.
    pub kubeconfig: PathBuf,
    /// The way that it took first.
    pub own: PathBuf,
    name: String,
    namespace: String,
    watched: Option<String>,
    daemon: Daemon,
}

impl Controller {
    /// Starts a replica, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the error holds what it wrote.
    pub async fn start(cluster: &Cluster, name: &str) -> Result<Self> {
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        for object in guide("kind: ServiceAccount")? {
            client.apply(&object).await?;
        }
        let own = cluster.kubeconfig_of(NAMESPACE, ACCOUNT).await?;
        let mut controller = Self::launch_by(cluster, NAMESPACE, name, None, own)?;
        controller.ready().await?;
        register(&client, name, controller.address).await?;
        Ok(controller)
    }

    /// Starts one that no proxy finds: at home in this namespace, which must be there, and looking at one namespace or at all. It may
    /// do everything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(cluster: &Cluster, namespace: &str, name: &str, watched: Option<&str>) -> Result<Self> {
        Self::launch_by(cluster, namespace, name, watched, cluster.kubeconfig())
    }

    fn launch_by(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        watched: Option<&str>,
        kubeconfig: PathBuf,
    ) -> Result<Self> {
        let address = SocketAddr::from((address::next_in_cluster(), PORT));
        let watched = watched.map(str::to_owned);
        Ok(Self {
            daemon: launch(
                cluster,
                (namespace, name),
                watched.as_deref(),
                address,
                &kubeconfig,
            )?,
            address,
            own: kubeconfig.clone(),
            kubeconfig,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            watched,
        })
    }

    /// Starts it again at the same place, when it has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_again(&mut self, cluster: &Cluster) -> Result<()> {
        let home = (&*self.namespace, &*self.name);
        self.daemon = launch(
            cluster,
            home,
            self.watched.as_deref(),
            self.address,
            &self.kubeconfig,
        )?;
        Ok(())
    }

    /// [`Controller::launch_again`], and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self, cluster: &Cluster) -> Result<()> {
        self.launch_again(cluster)?;
        self.ready().await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it does not become so; the error holds what it wrote.
    pub async fn ready(&mut self) -> Result<()> {
        let address = self.address;
        self.daemon
            .until("ready", START, async || http::get(address, "/readyz").await.ok())
            .await?;
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

fn launch(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    watched: Option<&str>,
    address: SocketAddr,
    kubeconfig: &Path,
) -> Result<Daemon> {
    let mut command = Command::new(standalone::binary()?);
    command
        .args(["controller", "--listen", &address.to_string()])
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .envs([("POD_NAME", name), ("POD_NAMESPACE", namespace)]);
    if let Some(watched) = watched {
        command.args(["--watch-namespace", watched]);
    }
    Daemon::start(name, &mut command, cluster.folder())
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
