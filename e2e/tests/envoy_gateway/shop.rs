//! A namespace with a Service of real pods, and a route to it that every proxy of the Gateway with the filter has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Cluster, Object};
use clew_e2e::controller;
use clew_e2e::istio::namespace;
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::standalone::{self, Output};
use clew_e2e::ws_client::{Request, Session, Traffic};
use clew_e2e::{scene, wait};
use serde_json::{Value, json};

use crate::{CONTROLLER_PORT, FILTERED, Scene};

/// For hundreds of handshakes, several times, on a busy machine, and for a cluster that Envoy Gateway changes.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// What a route leads to, and how one gets there.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) pods: Vec<Pod>,
    pub(crate) route: Object,
    /// As it was applied.
    pub(crate) manifest: Value,
    all: &'static Scene,
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
            all,
            name,
        };
        for n in 0..3 {
            shop.add_pod(n).await?;
        }
        shop.client.apply(&shop.manifest).await?;
        shop.programmed().await?;
        wait::until("handshakes get there", LONG, async || {
            shop.request(0).place(all.filtered.address).await.ok()
        })
        .await?;
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

    pub(crate) fn request(&self, key: usize) -> Request {
        Request::new(format!("/ws?room={key}")).host(&format!("{}.example.com", self.name))
    }

    /// The pods of the first keys.
    pub(crate) async fn place(&self, keys: usize) -> Result<Vec<String>> {
        let requests: Vec<_> = (0..keys).map(|key| self.request(key)).collect();
        scene::place(self.all.filtered.address, &requests).await
    }

    /// As soon as two looks in a row find the same, and the caller what it waits for.
    pub(crate) async fn settled(
        &self,
        what: &str,
        keys: usize,
        is_so: impl Fn(&[String]) -> bool,
    ) -> Result<Vec<String>> {
        let mut before = Vec::new();
        wait::until(what, LONG, async || {
            let placed = self.place(keys).await.ok()?;
            let stays = placed == before && is_so(&placed);
            before.clone_from(&placed);
            stays.then_some(placed)
        })
        .await
    }

    /// Sessions of the first keys, all of which talk.
    pub(crate) async fn sessions(&self, keys: usize, traffic: Traffic) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for key in 0..keys {
            let socket = self.request(key).open(self.all.filtered.address).await;
            let socket = socket.with_context(|| format!("session {key}"))?;
            sessions.push(socket.session(traffic.clone()));
        }
        Ok(sessions)
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
    let mut command = tokio::process::Command::new(standalone::binary()?);
    command
        .args(["install", "--namespace", controller::NAMESPACE])
        .args(["--gateway", &format!("{NAMESPACE}/{}", FILTERED.0)])
        .args(["--service", &format!("clew:{CONTROLLER_PORT}")])
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig());
    standalone::output(command).await
}
