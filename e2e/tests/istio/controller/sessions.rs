//! The whole chain: the module installed, a route applied, sessions placed, a pod drained, and nothing left.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::istio;
use clew_e2e::ws_client::Traffic;

use super::shop::{Shop, install};
use super::{SOON, alone};

const KEYS: usize = 300;
const SESSIONS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_is_installed_when_one_says_so_and_once() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::closed(mesh, "installed").await?;
    let printed = install(&mesh.cluster, "installed", &["--print"]).await?;
    let list: serde_json::Value = serde_saphyr::from_str(printed.success()?)?;
    let plugin = &list["items"][0];
    ensure!(
        plugin["metadata"]["namespace"] == istio::NAMESPACE,
        "not where the pods are: {plugin:#}"
    );
    let plugin = shop.client.same(plugin)?;
    // Another sentence may have installed it.
    if plugin.get().await?.is_some() {
        plugin.delete().await?;
    }
    let refused = install(&mesh.cluster, "installed", &[]).await?;
    ensure!(
        refused.code == 2 && refused.stderr.contains("--yes"),
        "{refused:?}"
    );
    ensure!(plugin.get().await?.is_none(), "nobody said yes");
    let installed = install(&mesh.cluster, "installed", &["--yes"]).await?;
    installed.success()?;
    ensure!(installed.stderr.contains("cuts every WebSocket"), "{installed:?}");
    let again = install(&mesh.cluster, "installed", &["--yes"]).await?;
    ensure!(again.stderr.contains("installed already"), "{again:?}");
    shop.apply_route().await?;
    shop.close().await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_find_their_pods_through_istio_and_a_deleted_pod_lets_its_sessions_go() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "sessions").await?;
    let first = shop.visitors.place(KEYS).await?;
    for _ in 0..2 {
        let again = shop.visitors.place(KEYS).await?;
        let strays = first.iter().zip(&again).filter(|(a, b)| a != b).count();
        ensure!(strays == 0, "{strays} of {KEYS} keys strayed");
    }
    let mut load = BTreeMap::<&str, usize>::new();
    for pod in &first {
        *load.entry(pod).or_default() += 1;
    }
    ensure!(
        load.len() == 3 && load.values().all(|keys| *keys > KEYS / 6),
        "{load:?}"
    );

    shop.add_pod(3).await?;
    let joined = shop.pods[3].name().to_owned();
    let after = shop
        .visitors
        .settled("the new pod has taken its keys", KEYS, |placed| {
            placed.contains(&joined)
        })
        .await?;
    let elsewhere = first
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after && **after != joined)
        .count();
    ensure!(
        elsewhere == 0,
        "{elsewhere} keys moved between pods that were there before"
    );

    let mut sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    shop.pods[0].terminate().await?;
    let leaving = shop.pods[0].name().to_owned();
    let mut closed = 0;
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        closed += 1;
    }
    ensure!(closed > 0, "nobody was on {leaving}");
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    let placed = shop.visitors.place(KEYS).await?;
    ensure!(!placed.contains(&leaving), "nobody goes there any more");
    println!(
        "{KEYS} keys, 3 times: 0 strays; {closed} sessions of a deleted pod: all closed with 1012, whole"
    );
    shop.close().await
}
