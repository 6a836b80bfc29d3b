//! `clew controller`: a replica in a cluster, behind the Service by which proxies find it.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Client, Cluster, START};
use crate::daemon::Daemon;
use crate::pod::{Registrant, Registration, any_spec};
use crate::{address, chart, http, istio, standalone};

/// Where it is in a cluster.
pub const NAMESPACE: &str = "clew-system";
/// Its Service.
pub const SERVICE: &str = "clew";

/// The account that it runs as, with the rights that the chart gives it and no others.
pub const ACCOUNT: &str = "clew";

/// The replicas that proxies find, and where they are.
const REPLICAS: [(&str, Ipv4Addr); 2] = [
    ("clew-0", Ipv4Addr::new(10, 77, 0, 2)),
    ("clew-1", Ipv4Addr::new(10, 77, 0, 3)),
];
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
    /// More environment, when it starts next.
    pub environment: Vec<(String, String)>,
    name: String,
    namespace: String,
    watched: Option<String>,
    daemon: Daemon,
}

impl Controller {
    /// Starts one of the [`REPLICAS`], and waits until it is ready.
    ///
    /// # Errors
    /// When there is no such replica, or it does not become ready; the error holds what it wrote.
    pub async fn start(cluster: &Cluster, name: &str) -> Result<Self> {
        Self::start_on(cluster, name, PORT).await
    }

    /// The same on a port that nobody else has taken on every address.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn start_on(cluster: &Cluster, name: &str, port: u16) -> Result<Self> {
        let replica = REPLICAS.iter().find(|(known, _)| *known == name);
        let (_, ip) = replica.with_context(|| format!("{name} is not one of {REPLICAS:?}"))?;
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        for object in chart::rights()? {
            client.apply(&object).await?;
        }
        let own = cluster.kubeconfig_of(NAMESPACE, ACCOUNT).await?;
        let mut controller = Self::launch_by(cluster, (*ip, port).into(), (NAMESPACE, name), None, own)?;
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
        let address = (address::next_in_cluster(), PORT).into();
        Self::launch_by(cluster, address, (namespace, name), watched, cluster.kubeconfig())
    }

    fn launch_by(
        cluster: &Cluster,
        address: SocketAddr,
        (namespace, name): (&str, &str),
        watched: Option<&str>,
        kubeconfig: PathBuf,
    ) -> Result<Self> {
        let watched = watched.map(str::to_owned);
        Ok(Self {
            daemon: launch(
                cluster,
                (namespace, name),
                watched.as_deref(),
                address,
                (&kubeconfig, &[]),
            )?,
            address,
            own: kubeconfig.clone(),
            environment: Vec::new(),
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
            (&self.kubeconfig, &self.environment),
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
    let blocks = GUIDE.split("```yaml\n").skip(1);
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
    (kubeconfig, environment): (&Path, &[(String, String)]),
) -> Result<Daemon> {
    let mut command = Command::new(standalone::binary()?);
    command
        .args(["controller", "--status-page", "--listen", &address.to_string()])
        .env("KUBECONFIG", kubeconfig)
        .env("NO_COLOR", "1")
        .envs([("POD_NAME", name), ("POD_NAMESPACE", namespace)])
        .envs(environment.iter().cloned());
    if let Some(watched) = watched {
        command.args(["--watch-namespace", watched]);
    }
    Daemon::start(name, &mut command, cluster.folder())
}

/// Enters the Service's name where a cluster's DNS would know it, before anybody looks: pilot-agent, which is written in Go, takes the
/// answers of an old /etc/hosts for another 5 s, and by then it has given up on a module.
///
/// # Errors
/// When it cannot be written.
pub fn enter_names() -> Result<()> {
    let mut hosts = File::options().append(true).open("/etc/hosts")?;
    for (_, ip) in REPLICAS {
        writeln!(hosts, "{ip} {SERVICE}.{NAMESPACE}.svc.cluster.local")?;
    }
    Ok(())
}

/// The Service, and the replica in it.
async fn register(client: &Client, name: &str, address: SocketAddr) -> Result<()> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"selector": {"app": SERVICE}, "ports": [{"name": "http", "port": address.port()}]},
    });
    client.apply(&service).await?;
    let registrant = Registrant {
        client: client.clone(),
        namespace: NAMESPACE.to_owned(),
        service: SERVICE.to_owned(),
        name: name.to_owned(),
        labels: json!({"app": SERVICE}),
        spec: any_spec(),
        port: "http",
        address,
    };
    Registration::new(registrant).await?;
    Ok(())
}
