//! Several pods drained by one command: by their labels, or by their node.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Client;
use clew_e2e::pod::Pod;
use clew_e2e::workstation::{clew, operator};
use clew_e2e::ws_client::Traffic;
use serde_json::json;

use super::shop::Shop;
use super::{SOON, alone};

const NAME: &str = "groups";
const KEYS: usize = 60;
const NODE: &str = "leaving";

/// Whether a pod says that it is drained.
async fn is_marked(client: &Client, pod: &str) -> Result<bool> {
    let pod = client.object("v1", "Pod", NAME, pod).get().await?;
    let pod = pod.context("the pod")?;
    Ok(pod["metadata"]["annotations"]["clew.dev/drain"].is_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_drained_by_their_labels_or_their_node_and_taken_back() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, NAME).await?;
    let jane = &operator(&mesh.cluster, &shop.client, NAME).await?;
    let elsewhere = Pod::start_on(NODE, &shop.client, NAME, "chat", "groups-3").await?;
    shop.pods.push(elsewhere);
    let all: BTreeSet<String> = shop.pods.iter().map(|pod| pod.name().to_owned()).collect();
    let has_exactly =
        |placed: &[String], pods: &BTreeSet<String>| placed.iter().cloned().collect::<BTreeSet<_>>() == *pods;
    shop.visitors
        .settled("each pod has keys", KEYS, |placed| has_exactly(placed, &all))
        .await?;
    let labelled: BTreeSet<String> = ["groups-0", "groups-1"].map(str::to_owned).into();
    for pod in &labelled {
        let label = ["label", "pod", pod, "zone=b", "-n", NAME];
        mesh.cluster.kubectl(label).await?.success()?;
    }

    let mut sessions = shop
        .visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let nobody = clew(jane, &["drain", "-l", "zone=c", "-n", NAME]).await?;
    ensure!(nobody.code == 1 && nobody.stderr.contains("zone=c"), "{nobody:?}");
    let drained = clew(jane, &["drain", "-l", "zone=b", "-n", NAME, "--watch"]).await?;
    let lines = drained
        .success()?
        .lines()
        .filter(|line| line.contains("holds no session"));
    ensure!(lines.count() == 2, "{drained:?}");
    for session in &mut sessions {
        if labelled.contains(&session.served_by) {
            let record = session.ended(SOON).await?;
            ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        } else {
            session.check().await.context("who is elsewhere stays")?;
        }
    }
    let others: BTreeSet<String> = all.difference(&labelled).cloned().collect();
    ensure!(
        has_exactly(&shop.visitors.place(KEYS).await?, &others),
        "something new went there"
    );
    let back = clew(jane, &["drain", "-l", "zone=b", "-n", NAME, "--cancel"]).await?;
    ensure!(back.success()?.lines().count() == 2, "{back:?}");
    shop.visitors
        .settled("their keys are back", KEYS, |placed| has_exactly(placed, &all))
        .await?;

    // Of a node only what a route leads to.
    let bystander = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bystander", "namespace": NAME},
        "spec": {"nodeName": NODE, "containers": [{"name": "server", "image": "server"}]},
    });
    shop.client.apply(&bystander).await?;
    let drained = clew(jane, &["drain", "--node", NODE, "-n", NAME]).await?;
    ensure!(drained.success()?.lines().count() == 1, "{drained:?}");
    ensure!(is_marked(&shop.client, "groups-3").await?, "{drained:?}");
    ensure!(!is_marked(&shop.client, "bystander").await?, "{drained:?}");
    shop.visitors
        .settled("the node takes nothing new", KEYS, |placed| {
            !placed.iter().any(|pod| pod == "groups-3")
        })
        .await?;
    let back = ["drain", "--node", NODE, "-n", NAME, "--cancel"];
    ensure!(clew(jane, &back).await?.success()?.contains("groups-3"));
    shop.visitors
        .settled("its keys are back", KEYS, |placed| has_exactly(placed, &all))
        .await?;
    let again = clew(jane, &back).await?;
    ensure!(
        again.code == 1 && again.stderr.contains("none of these pods is drained"),
        "{again:?}"
    );
    shop.close().await
}
