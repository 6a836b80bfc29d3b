//! The words for pods: what happens to one is what Envoy learns through istiod.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::gateway::istio_gateway;
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::ws_client::{Request, Traffic};
use clew_e2e::{scene, wait};
use serde_json::json;

use crate::Mesh;
use crate::controller::alone;

const HOST: &str = "pods.example.com";
const SOON: Duration = Duration::from_secs(30);

/// Waits until those of `all` that are `there` are healthy hosts of Envoy's, and no other.
async fn envoy_has(mesh: &Mesh, all: &[&Pod], there: &[&Pod]) -> Result<()> {
    let addresses = |pods: &[&Pod]| -> BTreeSet<String> {
        let addresses = pods.iter().map(|pod| pod.address().to_string());
        addresses.collect()
    };
    let (all, there) = (addresses(all), addresses(there));
    let mut last = BTreeSet::new();
    let agreed = wait::until("Envoy has the ready pods", SOON, async || {
        let hosts: BTreeSet<String> = mesh
            .gateway
            .admin
            .healthy_hosts()
            .await
            .ok()?
            .into_iter()
            .collect();
        last = hosts.intersection(&all).cloned().collect();
        (last == there).then_some(())
    });
    agreed
        .await
        .with_context(|| format!("Envoy has {last:?} and not {there:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_sees_pods_come_turn_unready_terminate_and_go_and_a_session_outlives_it_all() -> Result<()> {
    // Others change what the gateway's listeners have, which would end the session.
    let (mesh, _controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    client.apply(&service(NAMESPACE, "pods")).await?;
    client.apply(&istio_gateway(NAMESPACE, "pods", &[HOST])).await?;
    let destination =
        json!({"host": format!("pods.{NAMESPACE}.svc.cluster.local"), "port": {"number": PORT}});
    let by_hand = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "pods", "namespace": NAMESPACE},
        "spec": {"hosts": [HOST], "gateways": ["pods"], "http": [{"route": [{"destination": destination}]}]},
    });
    client.apply(&by_hand).await?;
    let mut one = Pod::start(&client, NAMESPACE, "pods", "pods-0").await?;
    envoy_has(mesh, &[&one], &[&one]).await?;
    let request = Request::new("/ws").host(HOST);
    let gateway = mesh.gateway.address;
    let opened = wait::until("a 101", SOON, async || request.open(gateway).await.ok());
    let session = opened
        .await?
        .session(Traffic::every(Duration::from_millis(20), 64));
    ensure!(session.served_by == "pods-0");

    let mut two = Pod::start(&client, NAMESPACE, "pods", "pods-1").await?;
    envoy_has(mesh, &[&one, &two], &[&one, &two]).await?;
    two.set_ready(false).await?;
    envoy_has(mesh, &[&one, &two], &[&one]).await?;
    two.set_ready(true).await?;
    envoy_has(mesh, &[&one, &two], &[&one, &two]).await?;
    one.terminate().await?;
    envoy_has(mesh, &[&one, &two], &[&two]).await?;
    let object = client.object("v1", "Pod", NAMESPACE, "pods-0");
    let leaving = |pod: &serde_json::Value| pod.pointer("/metadata/deletionTimestamp").map(|_| ());
    object.until("a deletion timestamp", leaving).await?;
    one.remove().await?;
    object.gone().await?;
    wait::until("new sessions are with the other", SOON, async || {
        let placed = scene::place(gateway, &vec![request.clone(); 16]).await.ok()?;
        placed.iter().all(|name| name == "pods-1").then_some(())
    })
    .await?;
    session.check().await
}
