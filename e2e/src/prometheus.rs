//! A Prometheus that finds in a cluster what monitors select, and labels it, as Prometheus' operator has it do; and that evaluates the rules beside them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cluster::{Client, Cluster, START};
use crate::daemon::Daemon;
use crate::http;

mod discovery;
pub mod picture;

use discovery::Role;

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 19099);
/// How often it asks, and looks at its rules: what monitors say is for clusters that live longer.
const INTERVAL: &str = "1s";

/// A running one, killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    daemon: Daemon,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts one for the ServiceMonitors, PodMonitors and PrometheusRules among these objects, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not installed (`CLEW_PROMETHEUS`), or does not take what becomes of them.
    pub async fn start(cluster: &Cluster, client: &Client, objects: &[Value]) -> Result<Self> {
        let folder = cluster.folder().join("prometheus");
        std::fs::create_dir_all(&folder)?;
        let mut jobs = Vec::new();
        for object in objects {
            match object["kind"].as_str() {
                Some("ServiceMonitor") => jobs.push(of_service_monitor(&folder, object)?),
                Some("PodMonitor") => jobs.push(of_pod_monitor(&folder, object)?),
                Some("PrometheusRule") => {
                    let name = object["metadata"]["name"].as_str().context("a name")?;
                    std::fs::write(folder.join(format!("{name}.rules")), object["spec"].to_string())?;
                }
                _ => {}
            }
        }
        discovery::write(client, &folder).await?;
        let config = json!({
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
            "rule_files": [folder.join("*.rules")],
            "scrape_configs": jobs,
        });
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        let mut command = Command::new(program("prometheus")?);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={LISTEN}"));
        let mut daemon = Daemon::start("prometheus", &mut command, cluster.folder())?;
        daemon
            .until("ready", START, async || http::get(LISTEN, "/-/ready").await.ok())
            .await?;
        Ok(Self { daemon, folder })
    }

    /// Has it find what there is now.
    ///
    /// # Errors
    /// When the API server does not say.
    pub async fn looks_again(&self, client: &Client) -> Result<()> {
        discovery::write(client, &self.folder).await
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        LISTEN
    }

    /// The data of an answer of its API: what follows `/api/v1/`.
    ///
    /// # Errors
    /// When it has none.
    pub async fn asked(&self, path: &str) -> Result<Value> {
        let answer = http::get(LISTEN, &format!("/api/v1/{path}")).await?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        if answer["status"] != "success" {
            bail!("{path}: {answer}");
        }
        Ok(answer["data"].take())
    }

    /// What a query gives now: the labels of each series, and its value.
    ///
    /// # Errors
    /// When it is none.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.asked(&format!("query?query={encoded}")).await?;
        let series = data["result"].as_array().context("series")?;
        let value = |one: &Value| Some((one["metric"].clone(), one["value"][1].as_str()?.parse().ok()?));
        series.iter().map(|one| value(one).context("a value")).collect()
    }

    /// The same from a moment on (seconds since 1970), for every second: the labels of each series, and its values with their moments.
    ///
    /// # Errors
    /// When it is none.
    pub async fn range(&self, query: &str, from: f64, seconds: f64) -> Result<Vec<(Value, Vec<(f64, f64)>)>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let until = from + seconds;
        let path = format!("query_range?query={encoded}&start={from}&end={until}&step=1");
        let data = self.asked(&path).await?;
        let series = data["result"].as_array().context("series")?;
        let point = |one: &Value| Some((one[0].as_f64()?, one[1].as_str()?.parse().ok()?));
        let line = |one: &Value| {
            let points = one["values"].as_array().into_iter().flatten().filter_map(point);
            (one["metric"].clone(), points.collect())
        };
        Ok(series.iter().map(line).collect())
    }

    /// Everything that it wrote.
    pub fn log(&self) -> String {
        self.daemon.log()
    }
}

/// Prometheus, or its promtool.
fn program(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("CLEW_PROMETHEUS").filter(|folder| !folder.is_empty());
    let folder = folder.context(
        "CLEW_PROMETHEUS does not say where Prometheus is: e2e/tools/install-prometheus.sh prints it",
    )?;
    Ok(PathBuf::from(folder).join(name))
}

fn of_service_monitor(folder: &Path, monitor: &Value) -> Result<Value> {
    let endpoint = &monitor["spec"]["endpoints"][0];
    let port = endpoint["port"].as_str().context("a port's name")?;
    let mut relabelings = selected(monitor, "service")?;
    relabelings.extend([
        keep("__meta_kubernetes_endpointslice_port_name", port),
        copy("__meta_kubernetes_service_name", "service"),
        copy("__meta_kubernetes_service_name", "job"),
        set("endpoint", port),
    ]);
    job(folder, monitor, endpoint, Role::EndpointSlice, relabelings)
}

fn of_pod_monitor(folder: &Path, monitor: &Value) -> Result<Value> {
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let port = endpoint["portNumber"].as_u64().context("a port")?.to_string();
    let mut relabelings = selected(monitor, "pod")?;
    relabelings.extend([
        keep("__meta_kubernetes_pod_container_port_number", &port),
        copy("__meta_kubernetes_pod_container_name", "container"),
        set("job", &name(monitor)?),
        set("endpoint", &port),
    ]);
    job(folder, monitor, endpoint, Role::Pod, relabelings)
}

fn job(
    folder: &Path,
    monitor: &Value,
    endpoint: &Value,
    role: Role,
    mut relabelings: Vec<Value>,
) -> Result<Value> {
    let namespaces = &monitor["spec"]["namespaceSelector"];
    let own = json!([monitor["metadata"]["namespace"]]);
    let named = namespaces["matchNames"].as_array().or(own.as_array());
    if namespaces["any"] != true {
        let names: Vec<&str> = named.into_iter().flatten().filter_map(Value::as_str).collect();
        relabelings.push(keep("__meta_kubernetes_namespace", &names.join("|")));
    }
    relabelings.extend([
        copy("__meta_kubernetes_namespace", "namespace"),
        copy("__meta_kubernetes_pod_name", "pod"),
    ]);
    Ok(json!({
        "job_name": name(monitor)?,
        "metrics_path": endpoint["path"],
        "file_sd_configs": [{"files": [role.file(folder)]}],
        "relabel_configs": relabelings,
    }))
}

/// `namespace/name` of a monitor.
fn name(monitor: &Value) -> Result<String> {
    let text = |field: &str| monitor["metadata"][field].as_str().context("a name");
    Ok(format!("{}/{}", text("namespace")?, text("name")?))
}

/// Keeps what has the labels that a monitor selects.
fn selected(monitor: &Value, of: &str) -> Result<Vec<Value>> {
    let labels = monitor["spec"]["selector"]["matchLabels"].as_object();
    let labels = labels.filter(|labels| !labels.is_empty()).context("labels")?;
    labels
        .iter()
        .map(|(label, value)| {
            let value = value.as_str().context("a label's value")?;
            Ok(keep(&discovery::label_of(of, label), value))
        })
        .collect()
}

fn keep(source: &str, value: &str) -> Value {
    json!({"action": "keep", "source_labels": [source], "regex": value})
}

fn copy(source: &str, target: &str) -> Value {
    json!({"source_labels": [source], "target_label": target})
}

fn set(target: &str, value: &str) -> Value {
    json!({"target_label": target, "replacement": value})
}
