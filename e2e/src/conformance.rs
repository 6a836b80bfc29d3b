//! Gateway API's own conformance test of WebSocket backends, and the backend that it talks to, both built from upstream's module. Upstream
//! starts the backend by a Deployment; where no kubelet runs, its pod is started here.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::address;
use crate::cluster::{Client, Cluster, START, part};
use crate::daemon::Daemon;
use crate::http;
use crate::pod::{Registrant, Registration, any_spec};
use crate::standalone::{self, Output};

/// The names that the test looks for.
pub const NAMESPACE: &str = "gateway-conformance-infra";
/// The Gateway.
pub const GATEWAY: &str = "same-namespace";
/// The Service of the backend, as in upstream's base manifests.
pub const BACKEND: &str = "infra-backend-v1";
/// Its port for WebSockets.
pub const BACKEND_PORT: u16 = 8082;

const WS: &str = "third-port";
const TARGET_PORT: u16 = 3000;

/// The backend's Service.
pub fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": BACKEND, "namespace": NAMESPACE},
        "spec": {
            "selector": {"app": BACKEND},
            "ports": [{
                "name": WS, "protocol": "TCP", "appProtocol": "kubernetes.io/ws",
                "port": BACKEND_PORT, "targetPort": TARGET_PORT,
            }],
        },
    })
}

/// A pod of the backend, killed when dropped.
#[derive(Debug)]
pub struct Backend {
    server: Daemon,
    _folder: TempDir,
    _registration: Registration,
}

impl Backend {
    /// Starts one, and waits until it is healthy.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn start(client: &Client) -> Result<Self> {
        let name = format!("{BACKEND}-0");
        let folder = tempfile::Builder::new().prefix("clew-echo-basic-").tempdir()?;
        let address = SocketAddr::from((address::next_in_cluster(), TARGET_PORT));
        let mut command = Command::new(part("echo-basic")?);
        command
            .env("HTTP_PORT", TARGET_PORT.to_string())
            .envs([("POD_NAME", &*name), ("NAMESPACE", NAMESPACE)]);
        let mut server = Daemon::start("echo-basic", &mut command, folder.path())?;
        let healthy = async || http::get(address, "/health").await.ok();
        server.until("healthy", START, healthy).await?;
        let registration = Registration::new(Registrant {
            client: client.clone(),
            namespace: NAMESPACE.to_owned(),
            service: BACKEND.to_owned(),
            name,
            labels: json!({"app": BACKEND}),
            spec: any_spec(),
            port: WS,
            address,
        });
        Ok(Self {
            server,
            _folder: folder,
            _registration: registration.await?,
        })
    }

    /// The sessions that it has had.
    pub fn sessions(&self) -> usize {
        let log = self.server.log();
        log.matches("established websocket connection").count()
    }
}

/// Runs the test with what is in a file, where this HTTPRoute takes the place of the test's own.
///
/// # Errors
/// When it does not start or does not end.
pub async fn run(cluster: &Cluster, class: &str, route: &str, manifests: &Path) -> Result<Output> {
    let mut command = tokio::process::Command::new(part("conformance")?);
    command
        .args(["-test.v", "-gateway-class", class, route])
        .arg(manifests)
        .env("KUBECONFIG", cluster.kubeconfig());
    standalone::output(command).await
}
