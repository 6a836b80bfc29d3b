//! What a node does with a pod, where none runs: its command is started as its template says it, with its environment and its account's token and
//! nothing else; its probes are asked; and at its end it is told, and waited for, as the template says.
//!
//! One thing is not as on a node. All pods of a test share its network, so a pod is told by `CLEW_LISTEN` at which address it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cluster::{Client, Cluster, START};
use crate::daemon::Daemon;
use crate::pod::{Registrant, Registration};
use crate::{http, standalone};

/// Where a pod finds its account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// One pod, whose process is killed when it is dropped.
#[derive(Debug)]
pub struct RunningPod {
    /// Where it listens.
    pub address: SocketAddr,
    container: Value,
    grace: Duration,
    daemon: Daemon,
    registration: Registration,
}

impl RunningPod {
    /// Starts a pod of a Deployment, and waits until it is ready.
    ///
    /// # Errors
    /// When the API server takes no such pod, or it does not become ready.
    pub async fn start(
        cluster: &Cluster,
        client: &Client,
        deployment: &Value,
        service: &str,
        (name, ip): (&str, Ipv4Addr),
    ) -> Result<Self> {
        let template = &deployment["spec"]["template"];
        let container = template["spec"]["containers"][0].clone();
        let namespace = deployment["metadata"]["namespace"]
            .as_str()
            .context("a namespace")?;
        let address = SocketAddr::from((ip, port(&container, "http")?));
        // What the API server thinks of the pod, Pod Security included.
        let registrant = Registrant {
            client: client.clone(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            labels: template["metadata"]["labels"].clone(),
            spec: template["spec"].clone(),
            port: "http",
            address,
        };
        let registration = Registration::starting(registrant).await?;
        let mut command = command(cluster, (namespace, name, Some(address.ip())), &template["spec"]).await?;
        command.env("CLEW_LISTEN", address.to_string());
        let mut pod = Self {
            address,
            grace: seconds(&template["spec"]["terminationGracePeriodSeconds"])?,
            container,
            daemon: Daemon::start(name, &mut command, cluster.folder())?,
            registration,
        };
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            pod.passes(probe).await?;
        }
        pod.registration.set_ready(true).await?;
        Ok(pod)
    }

    async fn passes(&mut self, probe: &str) -> Result<()> {
        let get = &self.container[probe]["httpGet"];
        let path = get["path"].as_str().with_context(|| format!("no {probe}"))?;
        let name = get["port"].as_str().context("a port's name")?;
        let address = SocketAddr::from((self.address.ip(), port(&self.container, name)?));
        let passed = self
            .daemon
            .until(probe, START, async || http::get(address, path).await.ok());
        passed.await.map(drop)
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Ends it as its deletion does.
    ///
    /// # Errors
    /// When it does not end in order within its grace period.
    pub async fn stop(mut self) -> Result<()> {
        self.registration.terminate().await?;
        let before = seconds(&self.container["lifecycle"]["preStop"]["sleep"]["seconds"]).unwrap_or_default();
        tokio::time::sleep(before).await;
        self.daemon.signal(Signal::TERM)?;
        let code = self.daemon.end(self.grace.saturating_sub(before)).await?;
        ensure!(code == 0, "it ended with {code}: {}", self.log());
        self.registration.remove().await
    }
}

/// Runs a pod that ends by itself: its exit code, and what it wrote.
///
/// # Errors
/// When it cannot be started.
pub async fn run_to_its_end(cluster: &Cluster, pod: &Value) -> Result<standalone::Output> {
    let text = |field: &str| pod["metadata"][field].as_str().context("a name");
    let named = (text("namespace")?, text("name")?, None);
    let command = command(cluster, named, &pod["spec"]).await?;
    standalone::output(command.into()).await
}

/// The command of a pod's one container, which its image begins with `clew`, in an environment of its own.
async fn command(
    cluster: &Cluster,
    (namespace, name, ip): (&str, &str, Option<IpAddr>),
    spec: &Value,
) -> Result<Command> {
    let ip = ip.map(|ip| ip.to_string());
    let account = spec["serviceAccountName"].as_str().context("an account")?;
    let folder = cluster.folder().join(format!("account-{account}"));
    let environment = cluster.account(namespace, account, &folder).await?;
    let mut command = in_a_file_system_with(&folder)?;
    command.env_clear().envs(environment).env("HOME", "/nonexistent");
    let container = &spec["containers"][0];
    for one in container["env"].as_array().into_iter().flatten() {
        let known = match one["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => name,
            Some("metadata.namespace") => namespace,
            Some("status.podIP") => ip.as_deref().context("its address")?,
            _ => one["value"].as_str().with_context(|| format!("{one}"))?,
        };
        command.env(one["name"].as_str().context("a variable's name")?, known);
    }
    ensure!(container["command"].is_null(), "not the image's own command");
    let arguments = container["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    command.args(arguments);
    Ok(command)
}

/// `clew`, where the account's folder is where a pod finds it.
fn in_a_file_system_with(folder: &Path) -> Result<Command> {
    let mut command = Command::new("/usr/bin/unshare");
    let mount = format!("/bin/mount --bind \"$0\" {ACCOUNT} && exec \"$@\"");
    command
        .args(["--mount", "/bin/sh", "-c", &mount])
        .arg(folder)
        .arg(standalone::binary()?);
    Ok(command)
}

fn port(container: &Value, name: &str) -> Result<u16> {
    let ports = container["ports"].as_array().into_iter().flatten();
    let named = ports
        .filter(|port| port["name"] == json!(name))
        .find_map(|port| port["containerPort"].as_u64());
    Ok(u16::try_from(named.with_context(|| format!("no port {name}"))?)?)
}

fn seconds(value: &Value) -> Result<Duration> {
    Ok(Duration::from_secs(value.as_u64().context("seconds")?))
}
