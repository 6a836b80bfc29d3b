//! A Kubernetes API server with its etcd, in the network namespace of the test program: `e2e/namespace.sh` makes that one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use data_encoding::BASE64_MIME;
use serde_json::json;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::standalone::{self, Output};
use crate::{address, issuer};

mod client;

pub use client::{Client, Object, Refusal};

/// What a part may take to get ready on a busy machine.
pub(crate) const START: Duration = Duration::from_secs(180);

const ETCD: &str = "http://127.0.0.1:12379";
const API_SERVER: &str = "https://127.0.0.1:16443";
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
}

impl Cluster {
    /// Starts one, and waits until it takes objects of every kind.
    ///
    /// # Errors
    /// Outside of a namespace of the test's own, or when a part does not start.
    pub async fn start() -> Result<Self> {
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
        let user = json!({"name": "admin", "user": {"token": TOKEN}});
        // The API server signs its own certificate when it starts first.
        let authority = path.join("pki/apiserver.crt");
        let cluster =
            json!({"name": "test", "cluster": {"server": API_SERVER, "certificate-authority": authority}});
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [user],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        });
        std::fs::write(path.join("kubeconfig"), kubeconfig.to_string())?;
        let mut etcd = Command::new(part("etcd")?);
        etcd.arg("--data-dir").arg(path.join("etcd")).args([
            "--listen-client-urls",
            ETCD,
            "--advertise-client-urls",
            ETCD,
            "--listen-peer-urls",
            "http://127.0.0.1:12380",
            "--unsafe-no-fsync",
        ]);
        let cluster = Self {
            api_server: Mutex::default(),
            _etcd: Daemon::start("etcd", &mut etcd, path)?,
            folder,
        };
        cluster.start_api_server().await?;
        cluster.install_kinds().await?;
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
                &format!("--etcd-servers={ETCD}"),
                "--secure-port=16443",
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
        let text = std::fs::read_to_string(self.kubeconfig())?;
        let mut kubeconfig: serde_json::Value = serde_json::from_str(&text)?;
        kubeconfig["users"][0]["user"] = json!({"token": made.success()?.trim()});
        let path = self.folder.path().join(format!("kubeconfig-{account}"));
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

    async fn install_kinds(&self) -> Result<()> {
        let ours = self.folder.path().join("clew.yaml");
        let printed = standalone::clew(["crd"]).await?;
        std::fs::write(&ours, printed.success()?)?;
        let (istio, gateway_api) = (part("istio.yaml")?, part("gateway-api")?);
        let mut arguments = vec!["apply".into(), "--server-side".into()];
        for path in [ours, istio, gateway_api] {
            arguments.extend(["--filename".into(), path.into_os_string()]);
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

fn pem(der: &[u8]) -> String {
    let body = BASE64_MIME.encode(der).replace("\r\n", "\n");
    format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
}
