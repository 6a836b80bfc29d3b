//! A namespace with a Service of real pods, and a route to it that every proxy of the Gateway with the filter has.

use anyhow::{Result, ensure};
use clew_e2e::cluster::{Client, Cluster, Object};
use clew_e2e::controller;
use clew_e2e::istio::namespace;
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::standalone::{self, Output};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::wait;
use serde_json::{Value, json};

use crate::{CONTROLLER_PORT, FILTERED, Scene};

/// What a route leads to, and how one gets there.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) pods: Vec<Pod>,
    pub(crate) route: Object,
    /// As it was applied.
    pub(crate) manifest: Value,
    pub(crate) visitors: Visitors,
    name: &'static str,
}

impl Shop {
    /// Opens one with three pods, and waits until handshakes get there.
    pub(crate) async fn open(all: &'static Scene, name: &'static str) -> Result<Self> {
        let client = all.cluster.client().await?;
        client.apply(&namespace(name)).await?;
        client.apply(&service(name, "chat")).await?;
        let manifest = json!({
            "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute",
            "metadata": {"name": "chat", "namespace": name},
            "spec": {
                "parentRefs": [{"namespace": NAMESPACE, "name": FILTERED.0}],
                "hostnames": [format!("{name}.example.com")],
                "rules": [{
                    "backendRefs": [{"name": "chat", "port": PORT}],
                    "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
                    "drain": {"timeout": "6s"},
                }],
            },
        });
        let mut shop = Self {
            route: client.same(&manifest)?,
            client,
            pods: Vec::new(),
            manifest,
            visitors: Visitors {
                gateway: all.filtered.address,
                host: format!("{name}.example.com"),
            },
            name,
        };
        for n in 0..3 {
            shop.add_pod(n).await?;
        }
        shop.client.apply(&shop.manifest).await?;
        shop.programmed().await?;
        shop.visitors.welcome().await?;
        Ok(shop)
    }

    pub(crate) async fn add_pod(&mut self, n: usize) -> Result<()> {
        let name = format!("{}-{n}", self.name);
        self.pods
            .push(Pod::start(&self.client, self.name, "chat", &name).await?);
        Ok(())
    }

    /// Waits until the status says of the newest text that every proxy has it.
    pub(crate) async fn programmed(&self) -> Result<()> {
        let said = |route: &Value| {
            let conditions = route["status"]["parents"][0]["conditions"].as_array()?;
            let mut all = conditions.iter();
            let one = all.find(|one| one["type"] == "Programmed" && one["status"] == "True")?;
            (one["observedGeneration"] == route["metadata"]["generation"]).then(|| one["message"].clone())
        };
        let message = self.route.until("every proxy has it", said).await?;
        ensure!(message == "1 of 1 proxies", "{message}");
        Ok(())
    }

    /// Deletes the route, and waits until nothing is left of what it became.
    pub(crate) async fn close(&self) -> Result<()> {
        self.route.delete().await?;
        self.route.gone().await?;
        for kind in [
            "gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
            "gateway.envoyproxy.io/v1alpha1/namespaces/{}/backendtrafficpolicies",
        ] {
            let path = format!("/apis/{}", kind.replace("{}", self.name));
            wait::until(&format!("no {kind} are left"), LONG, async || {
                let list: Value = serde_json::from_str(&self.client.text(&path).await.ok()?).ok()?;
                list["items"].as_array()?.is_empty().then_some(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Runs `clew install` for the Gateway with the filter to its end.
pub(crate) async fn install(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    install_on(FILTERED.0, cluster, arguments).await
}

/// The same for another Gateway.
pub(crate) async fn install_on(gateway: &str, cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let mut command = tokio::process::Command::new(standalone::binary()?);
    command
        .args(["install", "--namespace", controller::NAMESPACE])
        .args(["--gateway", &format!("{NAMESPACE}/{gateway}")])
        .args(["--service", &format!("clew:{CONTROLLER_PORT}")])
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig());
    standalone::output(command).await
}
