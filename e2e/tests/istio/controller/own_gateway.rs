//! A Gateway of Istio's class, where a route becomes HTTPRoutes to a second Service of the same pods: all is as at Istio's own.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Cluster;
use clew_e2e::controller::NAMESPACE;
use clew_e2e::gateway::{Gateway, PORT};
use clew_e2e::pod::{self, Entering};
use clew_e2e::standalone::{self, Output};
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{scene, wait};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::edits::LISTENERS;
use super::shop::Shop;
use super::{SOON, alone};
use crate::Mesh;

const NAME: &str = "own-gateway";
const GATEWAY: &str = "own";
const KEYS: usize = 150;
const SESSIONS: usize = 60;
const DRAIN: Duration = Duration::from_secs(8);
/// What a busy machine may take more.
const LATE: Duration = Duration::from_secs(3);
/// What a route becomes here.
const OURS: [&str; 3] = [
    "/apis/gateway.networking.k8s.io/v1/namespaces/own-gateway/httproutes",
    "/apis/networking.istio.io/v1/namespaces/own-gateway/destinationrules",
    "/api/v1/namespaces/own-gateway/services",
];

fn edits() -> usize {
    if crate::full() { 500 } else { 50 }
}

/// Carried by pods that are there.
fn gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": GATEWAY, "namespace": NAME},
        "spec": {
            "gatewayClassName": "istio",
            "addresses": [{"type": "Hostname", "value": format!("{GATEWAY}.{NAME}.svc.cluster.local")}],
            "listeners": [{"name": "http", "protocol": "HTTP", "port": PORT}],
        },
    })
}

async fn install(cluster: &Cluster, how: &str) -> Result<Output> {
    let mut command = tokio::process::Command::new(standalone::binary()?);
    command
        .args(["install", how, "--namespace", NAMESPACE])
        .args(["--gateway", &format!("{NAME}/{GATEWAY}")])
        .args(["--service", &format!("clew:{}", pod::PORT)])
        .env("KUBECONFIG", cluster.kubeconfig());
    standalone::output(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_find_their_pods_through_a_gateway_of_istios_class_whatever_changes() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::empty(mesh, NAME).await?;
    let client = shop.client.clone();
    client.apply(&gateway()).await?;
    let own = Gateway::start_for(&mesh.cluster, &mesh.istio, NAME, GATEWAY).await?;
    let found = keys_find_their_pods(mesh, shop, &own).await;
    // Whatever it was: nobody after this is to find a gateway whose pod says nothing.
    own.leave().await?;
    found?;
    let installed = install(&mesh.cluster, "--print").await?;
    let installed: Value = serde_saphyr::from_str(installed.success()?)?;
    for object in installed["items"].as_array().context("a list")? {
        client.same(object)?.delete().await?;
    }
    client.same(&gateway())?.delete().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn keys_find_their_pods(mesh: &Mesh, mut shop: Shop, own: &Gateway) -> Result<()> {
    shop.visitors.gateway = own.address;
    shop.manifest["spec"]["parentRefs"] = json!([{"name": GATEWAY}]);
    shop.manifest["spec"]["rules"][0]["drain"] = json!({"timeout": format!("{}s", DRAIN.as_secs())});
    for n in 0..3 {
        shop.add_pod(n).await?;
    }
    let _entering = Entering::start(&shop.client, NAME, "chat");
    install(&mesh.cluster, "--yes").await?.success()?;
    shop.apply_route().await?;
    for path in OURS {
        let ours = ours(&shop, path).await?;
        ensure!(ours > 0, "nothing of ours in {path}");
    }
    let first = shop.visitors.place(KEYS).await?;
    for _ in 0..2 {
        let again = shop.visitors.place(KEYS).await?;
        let strays = first.iter().zip(&again).filter(|(a, b)| a != b).count();
        ensure!(strays == 0, "{strays} of {KEYS} keys strayed");
    }
    for pod in &shop.pods {
        let keys = first.iter().filter(|by| *by == pod.name()).count();
        ensure!(keys > KEYS / 6, "{} has {keys} keys", pod.name());
    }
    let listeners = own.admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");
    let mut sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;

    shop.add_pod(3).await?;
    let joined = shop.pods[3].name().to_owned();
    let placed = shop
        .visitors
        .settled("the new pod has taken its keys", KEYS, |placed| {
            placed.contains(&joined)
        })
        .await?;
    let moved = first.iter().zip(&placed).filter(|(from, to)| from != to);
    let (taken, elsewhere): (Vec<_>, Vec<_>) = moved.partition(|(_, to)| **to == joined);
    ensure!(elsewhere.is_empty(), "moved between the others: {elsewhere:?}");
    scene::all_answer(&sessions).await?;

    let edits = edits();
    let handshakes = edited(&mut shop, edits, &placed).await?;
    scene::all_answer(&sessions).await?;
    let closed = leaves(&mut shop, &mut sessions).await?;
    sessions.retain(Session::is_live);
    shop.deleted().await?;
    for path in OURS {
        wait::until(&format!("nothing of ours is left in {path}"), LONG, async || {
            (ours(&shop, path).await.ok()? == 0).then_some(())
        })
        .await?;
    }
    scene::all_answer(&sessions).await?;
    let now = own.admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    println!(
        "{KEYS} keys, 3 times: 0 strays; a pod more: {} moved, all of them to it; {edits} edits under {SESSIONS} sessions and {handshakes} \
         handshakes: 0 lost, 0 astray; a pod deleted: its {} sessions closed with 1012 within {:.1} s of {DRAIN:?}; route deleted under \
         the other {}: 0 lost; no listener touched",
        taken.len(),
        closed.len(),
        closed.iter().copied().fold(0.0, f64::max),
        sessions.len(),
    );
    Ok(())
}

/// How many objects of ours are there.
async fn ours(shop: &Shop, path: &str) -> Result<usize> {
    let path = format!("{path}?labelSelector=app.kubernetes.io/managed-by=clew");
    let list: Value = serde_json::from_str(&shop.client.text(&path).await?)?;
    Ok(list["items"].as_array().context("a list")?.len())
}

/// Edits the route; how many handshakes there were meanwhile, each of which found its pod.
async fn edited(shop: &mut Shop, edits: usize, placed: &[String]) -> Result<usize> {
    let visitors = shop.visitors.clone();
    let over = Cell::new(false);
    let handshaking = async {
        let (mut handshakes, mut astray) = (0, Vec::new());
        while !over.get() {
            let key = handshakes % placed.len();
            handshakes += 1;
            // It ends as it is dropped: a closing handshake takes Envoy a second.
            match visitors.request(key).open(visitors.gateway).await {
                Ok(socket) if socket.served_by() == placed[key] => {}
                Ok(socket) => astray.push(format!("key {key} is on {}", socket.served_by())),
                Err(why) => astray.push(format!("{why:#}")),
            }
        }
        ensure!(
            astray.is_empty(),
            "{} of {handshakes} handshakes: {:?}",
            astray.len(),
            &astray[..astray.len().min(5)]
        );
        Ok(handshakes)
    };
    let editing = async {
        for edit in 0..edits {
            let rule = &mut shop.manifest["spec"]["rules"][0];
            rule["timeouts"] = json!({"handshake": format!("{}s", 5 + edit % 7)});
            rule["limits"] = json!({"maxMessageSize": format!("{}Ki", 64 + edit)});
            // And leads to another second Service.
            if edit % 10 == 0 {
                rule["resilience"] = json!({"maxPendingHandshakes": 500 + edit});
            }
            shop.client.apply(&shop.manifest).await?;
            if edit % 10 == 9 {
                shop.programmed().await?;
            }
        }
        shop.programmed().await?;
        over.set(true);
        Ok(())
    };
    let (handshakes, ()) = tokio::try_join!(handshaking, editing)?;
    Ok(handshakes)
}

/// A pod is deleted: when each of its sessions was closed, in seconds from then.
async fn leaves(shop: &mut Shop, sessions: &mut [Session]) -> Result<Vec<f64>> {
    let began = Instant::now();
    shop.pods[0].terminate().await?;
    let leaving = shop.pods[0].name();
    let mut closed = Vec::new();
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(SOON).await?;
        let (code, _, at) = record.close.clone().with_context(|| format!("{record:?}"))?;
        ensure!(code == Some(1012) && record.is_whole(), "{record:?}");
        closed.push((at - began).as_secs_f64());
    }
    ensure!(!closed.is_empty(), "nobody was on {leaving}");
    let is_late = |after: &f64| *after > (DRAIN + LATE).as_secs_f64();
    ensure!(!closed.iter().any(is_late), "after the window: {closed:?}");
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    Ok(closed)
}
