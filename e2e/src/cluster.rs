//! A Kubernetes API server with its etcd, in the network namespace of the test program: `e2e/namespace.sh` makes that one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use data_encoding::BASE64_MIME;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::standalone::{self, Output};
use crate::{address, issuer};

mod audit;
mod client;
mod relay;

pub use audit::Act;
pub use client::{Client, Object, Refusal};
pub use relay::{Moment, Relay};

/// What a part may take to get ready on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(180);

const TOKEN: &str = "admin";

/// A part of a cluster, or a file that belongs to one, in the folder of `e2e/tools/install-cluster.sh`.
///
/// # Errors
/// When it is not there; the error says how to get it.
pub fn part(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("CLEW_CLUSTER").filter(|folder| !folder.is_empty());
    let folder = folder.context(
        "CLEW_CLUSTER does not say where the parts of a cluster are: `make e2e ONLY=istio` installs them, \
         or set it to what e2e/tools/install-cluster.sh prints",
    )?;
    let path = Path::new(&folder).join(name);
    std::fs::canonicalize(&path).with_context(|| path.display().to_string())
}

/// An API server that knows Clew's, Istio's and the Gateway API's kinds. Nothing else runs: no kubelet, no scheduler, no controller manager.
///
/// Fields drop in order: the API server first, then what it needs.
#[derive(Debug)]
pub struct Cluster {
    api_server: Mutex<Option<Daemon>>,
    _etcd: Daemon,
    folder: TempDir,
    ports: Ports,
}

/// Where the parts listen, on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peers: u16,
    api_server: u16,
}

impl Cluster {
    /// Starts one, and waits until it takes objects of every kind.
    ///
    /// # Errors
    /// Outside of a namespace of the test's own, or when a part does not start.
    pub async fn start() -> Result<Self> {
        let cluster = Self::start_without_clew().await?;
        cluster.install_clew().await?;
        Ok(cluster)
    }

    /// The same, but that it does not know Clew's kinds.
    ///
    /// # Errors
    /// As with [`Cluster::start`].
    pub async fn start_without_clew() -> Result<Self> {
        let cluster = Self::on(Ports {
            etcd: 12379,
            etcd_peers: 12380,
            api_server: 16443,
        })
        .await?;
        cluster
            .install(&[part("istio.yaml")?, part("gateway-api")?])
            .await?;
        Ok(cluster)
    }

    /// Starts another one, beside the first, that knows Kubernetes' own kinds and no others.
    ///
    /// # Errors
    /// As with [`Cluster::start`].
    pub async fn start_bare() -> Result<Self> {
        Self::on(Ports {
            etcd: 22379,
            etcd_peers: 22380,
            api_server: 26443,
        })
        .await
    }

    async fn on(ports: Ports) -> Result<Self> {
        TcpListener::bind((address::CLUSTER, 0)).with_context(|| {
            let network = address::CLUSTER;
            format!("{network} is no address here: a cluster runs in a namespace of its own (e2e/namespace.sh, which e2e/run.sh uses)")
        })?;
        let folder = tempfile::Builder::new().prefix("clew-cluster-").tempdir()?;
        let path = folder.path();
        std::fs::write(path.join("service-account.pem"), pem(issuer::RSA))?;
        std::fs::write(
            path.join("tokens.csv"),
            format!("{TOKEN},admin,1,system:masters\n"),
        )?;
        let mut etcd = Command::new(part("etcd")?);
        let (clients, peers) = (url(ports.etcd), url(ports.etcd_peers));
        etcd.arg("--data-dir").arg(path.join("etcd")).args([
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
            "--initial-cluster",
            &format!("default={peers}"),
            "--unsafe-no-fsync",
        ]);
        let cluster = Self {
            api_server: Mutex::default(),
            _etcd: Daemon::start("etcd", &mut etcd, path)?,
            folder,
            ports,
        };
        cluster.kubeconfig_with("kubeconfig", TOKEN)?;
        cluster.start_api_server().await?;
        Ok(cluster)
    }

    /// Starts the API server, the first time or again.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let path = self.folder.path();
        let key = path.join("service-account.pem");
        let mut command = Command::new(part("kube-apiserver")?);
        command
            .args([
                &format!("--etcd-servers={}", url(self.ports.etcd)),
                &format!("--secure-port={}", self.ports.api_server),
                "--bind-address=127.0.0.1",
                &format!("--advertise-address={}", address::CLUSTER),
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--authorization-mode=RBAC",
                // No controller makes the accounts that it asks for.
                "--disable-admission-plugins=ServiceAccount",
                "--allow-privileged=true",
            ])
            .arg(format!("--cert-dir={}", path.join("pki").display()))
            .args(audit::arguments(path)?)
            .arg(format!("--token-auth-file={}", path.join("tokens.csv").display()))
            .arg(format!("--service-account-key-file={}", key.display()))
            .arg(format!("--service-account-signing-key-file={}", key.display()));
        let mut api_server = Daemon::start("kube-apiserver", &mut command, path)?;
        let answers = async || self.client().await.ok()?.text("/readyz").await.ok();
        api_server.until("readyz", START, answers).await?;
        *self.lock() = Some(api_server);
        Ok(())
    }

    /// Kills the API server; what it knew stays in etcd.
    pub fn stop_api_server(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How to reach it, for programs.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// How a ServiceAccount reaches it: with a token that the API server makes for it.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let made = self
            .kubectl([
                "create",
                "token",
                account,
                "--duration=12h",
                "--namespace",
                namespace,
            ])
            .await?;
        self.kubeconfig_with(&format!("kubeconfig-{account}"), made.success()?.trim())
    }

    /// What a pod finds of its account in its file system, in this folder: a token that the API server makes for it; and the environment that
    /// says where that one is.
    ///
    /// # Errors
    /// When there is no such account.
    pub async fn account(
        &self,
        namespace: &str,
        account: &str,
        folder: &Path,
    ) -> Result<[(&'static str, String); 2]> {
        let made = self
            .kubectl(["create", "token", account, "--namespace", namespace])
            .await?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("token"), made.success()?.trim())?;
        std::fs::write(folder.join("namespace"), namespace)?;
        std::fs::copy(
            self.folder.path().join("pki/apiserver.crt"),
            folder.join("ca.crt"),
        )?;
        Ok([
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.ports.api_server.to_string()),
        ])
    }

    /// What accounts of this namespace have asked the API server for.
    ///
    /// # Errors
    /// When it has not written that down.
    pub fn acts(&self, namespace: &str) -> Result<Vec<Act>> {
        audit::acts(self.folder.path(), namespace)
    }

    /// A kubeconfig of this name for whoever has this token.
    fn kubeconfig_with(&self, name: &str, token: &str) -> Result<PathBuf> {
        let server = format!("https://127.0.0.1:{}", self.ports.api_server);
        // The API server signs its own certificate when it starts first.
        let authority = self.folder.path().join("pki/apiserver.crt");
        self.write_kubeconfig(
            name,
            json!({"server": server, "certificate-authority": authority}),
            token,
        )
    }

    /// One that says another way than the API server's own address.
    fn kubeconfig_by(&self, name: &str, server: &str) -> Result<PathBuf> {
        self.write_kubeconfig(name, json!({"server": server}), TOKEN)
    }

    fn write_kubeconfig(&self, name: &str, cluster: Value, token: &str) -> Result<PathBuf> {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        });
        let path = self.folder.path().join(name);
        std::fs::write(&path, kubeconfig.to_string())?;
        Ok(path)
    }

    /// Where the parts' logs are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How to reach it, for this test: a client lives as long as the runtime that made it.
    ///
    /// # Errors
    /// When the kubeconfig is not one.
    pub async fn client(&self) -> Result<Client> {
        Client::new(&self.kubeconfig()).await
    }

    /// Runs `kubectl` to its end.
    ///
    /// # Errors
    /// When it does not start or does not end.
    pub async fn kubectl<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        let mut command = tokio::process::Command::new(part("kubectl")?);
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--cache-dir")
            .arg(self.folder.path().join("kubectl"))
            .args(arguments);
        standalone::output(command).await
    }

    /// Has the API server know WebSocketRoutes, as the guide says.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn install_clew(&self) -> Result<()> {
        let ours = self.folder.path().join("clew.yaml");
        let printed = standalone::clew(["crd"]).await?;
        std::fs::write(&ours, printed.success()?)?;
        self.install(&[ours]).await
    }

    /// Applies what is in these files, and waits until the API server knows every kind.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn install(&self, paths: &[PathBuf]) -> Result<()> {
        let mut arguments = vec!["apply".into(), "--server-side".into()];
        for path in paths {
            arguments.extend(["--filename".into(), path.clone().into_os_string()]);
        }
        self.kubectl(arguments).await?.success()?;
        let wait = [
            "wait",
            "--for=condition=Established",
            "--all",
            "--timeout=60s",
            "crd",
        ];
        self.kubectl(wait).await?.success()?;
        Ok(())
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn pem(der: &[u8]) -> String {
    let body = BASE64_MIME.encode(der).replace("\r\n", "\n");
    format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
}
