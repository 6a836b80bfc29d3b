//! A namespace with a Service of real pods, a route to it that every proxy has, and the module on the gateway.

use std::path::Path;

use anyhow::{Result, ensure};
use clew_e2e::cluster::{Client, Cluster, Object};
use clew_e2e::controller::NAMESPACE;
use clew_e2e::envoy::Admin;
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::standalone::{self, Output};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::wait;
use serde_json::{Value, json};

use super::{CLEW, condition, route};
use crate::Mesh;

/// What a route leads to, and how one gets there.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) pods: Vec<Pod>,
    pub(crate) visitors: Visitors,
    pub(crate) route: Object,
    /// As it was applied.
    pub(crate) manifest: Value,
    name: &'static str,
}

impl Shop {
    /// Opens one with three pods, and waits until handshakes get there.
    pub(crate) async fn open(mesh: &Mesh, name: &'static str) -> Result<Self> {
        let shop = Self::closed(mesh, name).await?;
        install(&mesh.cluster, name, &["--yes"]).await?.success()?;
        shop.apply_route().await?;
        Ok(shop)
    }

    /// One whose route is not applied yet.
    pub(crate) async fn closed(mesh: &Mesh, name: &'static str) -> Result<Self> {
        let mut shop = Self::empty(mesh, name).await?;
        for n in 0..3 {
            shop.add_pod(n).await?;
        }
        Ok(shop)
    }

    /// And that has no pods yet.
    pub(crate) async fn empty(mesh: &Mesh, name: &'static str) -> Result<Self> {
        let client = mesh.cluster.client().await?;
        client.apply(&namespace(name)).await?;
        client.apply(&service(name, "chat")).await?;
        client
            .apply(&istio_gateway(name, "edge", &[&format!("{name}.example.com")]))
            .await?;
        let mut shop = Self {
            visitors: Visitors {
                gateway: mesh.gateway.address,
                host: format!("{name}.example.com"),
            },
            route: client.object(CLEW, "WebSocketRoute", name, "chat"),
            manifest: route(name, &format!("{name}.example.com")),
            client,
            pods: Vec::new(),
            name,
        };
        shop.manifest["spec"]["rules"][0]["drain"] = json!({"timeout": "6s"});
        Ok(shop)
    }

    pub(crate) async fn add_pod(&mut self, n: usize) -> Result<()> {
        let pod = self.pod(n).await?;
        self.pods.push(pod);
        Ok(())
    }

    /// A ready pod of its Service, for the caller to keep.
    pub(crate) async fn pod(&self, n: usize) -> Result<Pod> {
        Pod::start(&self.client, self.name, "chat", &format!("{}-{n}", self.name)).await
    }

    /// Applies the route, and waits until every proxy has it and handshakes get to a pod.
    pub(crate) async fn apply_route(&self) -> Result<()> {
        self.client.apply(&self.manifest).await?;
        self.programmed().await?;
        self.visitors.welcome().await
    }

    /// Waits until the status says of the newest text that every proxy has it.
    pub(crate) async fn programmed(&self) -> Result<()> {
        let (_, _, message) = self
            .route
            .until("every proxy has it", |route| {
                let is_of_now = route["status"]["observedGeneration"] == route["metadata"]["generation"];
                condition(route, "Programmed").filter(|(status, ..)| is_of_now && status == "True")
            })
            .await?;
        ensure!(message == "1 of 1 proxies", "{message}");
        Ok(())
    }

    /// Waits until each of the first keys has one pod, and each pod has some.
    pub(crate) async fn placed(&self, keys: usize) -> Result<Vec<String>> {
        let everywhere = |placed: &[String]| {
            let mut pods = self.pods.iter();
            pods.all(|pod| placed.iter().any(|name| name == pod.name()))
        };
        self.visitors
            .settled("each key has one pod", keys, everywhere)
            .await
    }

    /// How many of its handshakes landed so, as the gateway's Envoy counts them: Istio's keeps labels in names.
    pub(crate) async fn landed(&self, admin: Admin, result: &str) -> Result<usize> {
        let labels = [
            format!("clew_route=.={}/chat/", self.name),
            format!("result=.={result};"),
        ];
        let counts = admin.stats("clew_affinity_total").await?;
        let ours = counts
            .into_iter()
            .filter(|(name, _)| labels.iter().all(|label| name.contains(label)));
        Ok(usize::try_from(ours.map(|(_, count)| count).sum::<u64>())?)
    }

    /// Deletes the route, and waits until nothing of it is left.
    pub(crate) async fn close(self) -> Result<()> {
        self.deleted().await
    }

    /// [`Shop::close`], to be opened again.
    pub(crate) async fn deleted(&self) -> Result<()> {
        self.route.delete().await?;
        self.route.gone().await?;
        self.deleted_objects().await
    }

    /// Waits until nothing is left of what the route became.
    pub(crate) async fn deleted_objects(&self) -> Result<()> {
        for kind in ["virtualservices", "destinationrules"] {
            let path = format!("/apis/networking.istio.io/v1/namespaces/{}/{kind}", self.name);
            wait::until(&format!("no {kind} are left"), LONG, async || {
                let list: Value = serde_json::from_str(&self.client.text(&path).await.ok()?).ok()?;
                list["items"].as_array()?.is_empty().then_some(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Runs `clew install` for the gateway of a shop to its end.
pub(crate) async fn install(cluster: &Cluster, shop: &str, arguments: &[&str]) -> Result<Output> {
    install_by(&standalone::binary()?, cluster, shop, arguments).await
}

/// [`install`] with this `clew`.
pub(crate) async fn install_by(
    clew: &Path,
    cluster: &Cluster,
    shop: &str,
    arguments: &[&str],
) -> Result<Output> {
    let mut command = tokio::process::Command::new(clew);
    command
        .args([
            "install",
            "--namespace",
            NAMESPACE,
            "--gateway",
            &format!("{shop}/edge"),
        ])
        .args(["--service", &format!("clew:{PORT}")])
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig());
    standalone::output(command).await
}
