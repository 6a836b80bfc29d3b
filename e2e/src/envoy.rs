//! Envoy itself: where it is, its admin port, and a plain one without Clew to measure against.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{address, http, process, wait};

/// The version that the tests run.
pub const VERSION: &str = "1.40.0";

/// The binary: `CLEW_ENVOY`, then `PATH`, then the copy in the cache.
///
/// # Errors
/// When there is none; the error says how to get one.
pub fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CLEW_ENVOY") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("CLEW_ENVOY={} is no file", path.display());
        }
        return Ok(path);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("envoy"));
    let cached = cache.map(|dir| dir.join(format!("clew/envoy-{VERSION}/envoy")));
    on_path.chain(cached).find(|path| path.is_file()).with_context(|| {
        format!("no Envoy: `make demo` installs {VERSION}; or set CLEW_ENVOY to a binary, or put `envoy` on PATH")
    })
}

/// The admin port of a running Envoy.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
}

impl Admin {
    /// The body of a GET.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn get(&self, path: &str) -> Result<String> {
        http::get(self.address, path).await
    }

    /// The body of a POST.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn post(&self, path: &str) -> Result<String> {
        match http::send(Method::POST, self.address, path, "").await? {
            (200, body) => Ok(body),
            (status, body) => bail!("{path}: {status} {body}"),
        }
    }

    /// Counters and gauges whose name matches a regular expression.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>> {
        let filter = filter.replace('|', "%7C").replace('+', "%2B").replace('^', "%5E");
        let text = self.get(&format!("/stats?filter={filter}")).await?;
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(pair).collect())
    }

    /// The sum of a Prometheus metric over all series that have these labels.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let text = self.get("/stats/prometheus?usedonly").await?;
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
        Ok(text
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter(|rest| labels.iter().all(|label| rest.contains(label)))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// Waits until a metric's value is one of these: Envoy merges the counts of its workers only every few seconds.
    ///
    /// # Errors
    /// When it never is; the error says what it was last.
    pub async fn counts(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        wanted: impl RangeBounds<usize> + Debug,
    ) -> Result<()> {
        let mut last = None;
        let counted = wait::until("it is counted", Duration::from_secs(30), async || {
            let value = self.metric(name, labels).await.ok()?.round() as usize;
            last = Some(value);
            wanted.contains(&value).then_some(())
        });
        let counted = counted.await;
        counted.with_context(|| format!("{name} {labels:?} is {last:?}, not {wanted:?}"))
    }

    /// The addresses of every host of every cluster.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn hosts(&self) -> Result<Vec<String>> {
        Ok(self.host_statuses().await?.iter().map(address_of).collect())
    }

    /// The addresses of those that EDS calls healthy: Istio keeps unready pods, and says what they are.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn healthy_hosts(&self) -> Result<Vec<String>> {
        let healthy = |host: &&Value| host["health_status"]["eds_health_status"] == "HEALTHY";
        let hosts = self.host_statuses().await?;
        Ok(hosts.iter().filter(healthy).map(address_of).collect())
    }

    async fn host_statuses(&self) -> Result<Vec<Value>> {
        let clusters: Value = serde_json::from_str(&self.get("/clusters?format=json").await?)?;
        let all = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        Ok(all(&clusters, "cluster_statuses")
            .iter()
            .flat_map(|cluster| all(cluster, "host_statuses"))
            .collect())
    }
}

fn address_of(host: &Value) -> String {
    let socket = &host["address"]["socket_address"];
    let ip = socket["address"].as_str().unwrap_or_default();
    format!("{ip}:{}", socket["port_value"])
}

/// An Envoy beside Clew's, killed when dropped.
#[derive(Debug)]
pub struct PlainEnvoy {
    /// Where sessions enter.
    pub gateway: SocketAddr,
    /// Its admin port.
    pub admin: Admin,
    /// Its process.
    pub pid: u32,
    _folder: TempDir,
}

impl PlainEnvoy {
    /// Starts one whose only route leads to `cluster` (a `Cluster` without its name), hashing as `hash_policy` says.
    ///
    /// # Errors
    /// When Envoy does not become ready; the error holds what it wrote.
    pub async fn start(cluster: Value, hash_policy: Value, workers: usize) -> Result<Self> {
        Self::start_with(cluster, hash_policy, workers, json!({})).await
    }

    /// With more, or other, fields of the connection manager than [`PlainEnvoy::start`].
    ///
    /// # Errors
    /// When Envoy does not become ready; the error holds what it wrote.
    pub async fn start_with(
        cluster: Value,
        hash_policy: Value,
        workers: usize,
        manager: Value,
    ) -> Result<Self> {
        let (gateway, admin) = (address::next(), address::next());
        let folder = tempfile::tempdir()?;
        let config = bootstrap(gateway, admin, cluster, hash_policy, manager);
        Self::run(folder, &config, gateway, admin, workers).await
    }

    /// Starts one that listens here by this transport socket, as what stands in a pod before its server, which is all of `cluster`.
    ///
    /// # Errors
    /// When Envoy does not become ready; the error holds what it wrote.
    pub async fn start_behind(transport_socket: Value, listens: SocketAddr, cluster: Value) -> Result<Self> {
        let admin = address::next();
        let folder = tempfile::tempdir()?;
        let mut config = bootstrap(listens, admin, cluster, json!([]), json!({}));
        config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = transport_socket;
        Self::run(folder, &config, listens, admin, 1).await
    }

    /// Starts one by the files of a `clew run`, whose state folder this is, as they are now: everything is equal but the
    /// one listener's port and the admin port. With a `module` it takes its rules from the same channel; without one,
    /// Clew's filter is taken out of the chain, and the routes decide by themselves.
    ///
    /// # Errors
    /// When the files are not there, or Envoy does not become ready.
    pub async fn beside(state: &Path, module: Option<&Path>, workers: usize) -> Result<Self> {
        let (gateway, admin) = (address::next(), address::next());
        let folder = tempfile::tempdir()?;
        let rendered = state.join("envoy");
        let (there, here) = (rendered.to_string_lossy(), folder.path().to_string_lossy());
        let load = |path: &Path| -> Result<Value> {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            Ok(serde_json::from_str(&text.replace(&*there, &here))?)
        };
        for name in ["xds", "xds/routes", "xds/extensions", "xds/jwt"] {
            std::fs::create_dir_all(folder.path().join(name))?;
            for entry in std::fs::read_dir(rendered.join(name))? {
                let (path, name) = (entry?.path(), Path::new(name));
                if let (true, Some(file)) = (path.is_file(), path.file_name()) {
                    let mut value = load(&path)?;
                    change(&mut value, gateway, module)?;
                    std::fs::write(folder.path().join(name).join(file), value.to_string())?;
                }
            }
        }
        let mut config = load(&rendered.join("bootstrap.json"))?;
        config["admin"]["address"] = socket(admin);
        Self::run(folder, &config, gateway, admin, workers).await
    }

    async fn run(
        folder: TempDir,
        config: &Value,
        gateway: SocketAddr,
        admin: SocketAddr,
        workers: usize,
    ) -> Result<Self> {
        let admin = Admin { address: admin };
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, config.to_string())?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(find()?);
        command
            .arg("-c")
            .arg(&file)
            .args(["--log-level", "warn", "--disable-hot-restart", "--concurrency"]);
        command.arg(workers.to_string()).stdout(Stdio::null()).stderr(log);
        // Envoy gets SIGTERM when the thread that started it ends, so that thread waits for it.
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || match command.spawn() {
            Ok(mut child) => {
                tell.send(Ok(child.id())).ok();
                child.wait().ok();
            }
            Err(e) => {
                tell.send(Err(e)).ok();
            }
        });
        let envoy = Self {
            gateway,
            admin,
            pid: told.await??,
            _folder: folder,
        };
        let ready = wait::until("Envoy's /ready", Duration::from_secs(30), async || {
            admin
                .get("/ready")
                .await
                .ok()
                .filter(|body| body.starts_with("LIVE"))
        });
        if let Err(e) = ready.await {
            bail!(
                "{e}: {}",
                std::fs::read_to_string(envoy._folder.path().join("log")).unwrap_or_default()
            );
        }
        Ok(envoy)
    }
}

/// One of Clew's files, changed for another Envoy.
fn change(file: &mut Value, gateway: SocketAddr, module: Option<&Path>) -> Result<()> {
    for resource in file["resources"].as_array_mut().context("no resources")? {
        if let Some(chains) = resource["filter_chains"].as_array_mut() {
            for chain in chains {
                let manager = &mut chain["filters"][0]["typed_config"];
                let filters = manager["http_filters"]
                    .as_array_mut()
                    .context("no HTTP filters")?;
                if module.is_none() {
                    filters.retain(|filter| {
                        !filter["config_discovery"]["type_urls"]
                            .to_string()
                            .contains("Wasm")
                    });
                }
            }
            resource["address"] = socket(gateway);
        }
        if let Some(module) = module
            && let Some(code) = resource.pointer_mut("/typed_config/config/vm_config/code/local")
        {
            code["filename"] = json!(module);
        }
    }
    Ok(())
}

impl Drop for PlainEnvoy {
    fn drop(&mut self) {
        process::signal(self.pid, Signal::KILL);
    }
}

/// The endpoints of a static cluster.
pub fn load_assignment(name: &str, hosts: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = hosts
        .iter()
        .map(|host| json!({"endpoint": {"address": socket(*host)}}))
        .collect();
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]})
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn bootstrap(
    gateway: SocketAddr,
    admin: SocketAddr,
    mut cluster: Value,
    hash_policy: Value,
    more: Value,
) -> Value {
    cluster["name"] = json!("backends");
    // Envoy's own limit is 1,024 of each.
    let most = 1_000_000;
    let limits = json!({"max_connections": most, "max_requests": most, "max_pending_requests": most});
    cluster["circuit_breakers"] = json!({"thresholds": [limits]});
    let route = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": "backends", "timeout": "10s", "idle_timeout": "0s", "hash_policy": hash_policy},
    });
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "stream_idle_timeout": "0s",
        "delayed_close_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    if let (Some(manager), Value::Object(more)) = (manager.as_object_mut(), more) {
        manager.extend(more);
    }
    let chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    json!({
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [{"name": "gateway", "address": socket(gateway), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    })
}
