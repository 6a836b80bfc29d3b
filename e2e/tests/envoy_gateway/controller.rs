//! `clew controller` and `clew install` with Envoy Gateway: what holds on Istio holds here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::scene;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::Traffic;
use serde_json::json;

use crate::ALONE;
use crate::shop::{Shop, install};

const KEYS: usize = 300;
const SESSIONS: usize = 60;
/// What counts when a listener is another one than before.
pub(crate) const LISTENERS: &str =
    "^listener_manager\\.listener_(added|modified|removed|stopped|in_place_updated)$";

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_find_their_pods_edits_cut_nothing_and_a_deleted_pod_lets_its_sessions_go() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let admin = &all.filtered.admin;
    let listeners = admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");
    let mut shop = Shop::open(all, "sessions").await?;
    let first = shop.visitors.place(KEYS).await?;
    for _ in 0..2 {
        let again = shop.visitors.place(KEYS).await?;
        let strays = first.iter().zip(&again).filter(|(a, b)| a != b).count();
        ensure!(strays == 0, "{strays} of {KEYS} keys strayed");
    }
    println!("{KEYS} keys, 3 times: 0 strays");

    let (edits, at_once) = if crate::full() { (1000, 300) } else { (100, 100) };
    let sessions = shop
        .visitors
        .sessions(at_once, Traffic::every(Duration::from_millis(200), 256))
        .await?;
    for edit in 0..edits {
        let rule = &mut shop.manifest["spec"]["rules"][0];
        rule["timeouts"] = json!({"handshake": format!("{}s", 5 + edit % 7)});
        rule["limits"] = json!({"maxMessageSize": format!("{}Ki", 64 + edit)});
        rule["resilience"] = json!({"maxPendingHandshakes": 500 + edit % 3});
        shop.client.apply(&shop.manifest).await?;
        if edit % 10 == 9 {
            shop.programmed().await?;
        }
        // At any moment a handshake finds its pod.
        let key = edit % at_once;
        let pod = shop.visitors.request(key).place(all.filtered.address).await?;
        ensure!(pod == first[key], "key {key} is on {pod} after edit {edit}");
    }
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!("{edits} edits under {at_once} sessions: 0 lost, 0 handshakes astray");
    drop(sessions);

    shop.add_pod(3).await?;
    let joined = shop.pods[3].name().to_owned();
    let after = shop
        .visitors
        .settled("the new pod has taken its keys", KEYS, |placed| {
            placed.contains(&joined)
        })
        .await?;
    let moved = || first.iter().zip(&after).filter(|(before, after)| before != after);
    let elsewhere = moved().filter(|(_, after)| **after != joined).count();
    ensure!(
        elsewhere == 0,
        "{elsewhere} keys moved between pods that were there before"
    );
    println!(
        "a pod joins: {} of {KEYS} keys moved, all of them to it",
        moved().count()
    );

    let mut sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    shop.pods[0].terminate().await?;
    let leaving = shop.pods[0].name().to_owned();
    let mut closed = 0;
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        closed += 1;
    }
    ensure!(closed > 0, "nobody was on {leaving}");
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    println!("{closed} sessions of a deleted pod: all closed with 1012, whole");
    shop.close().await?;
    let now = admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_installation_lets_all_sessions_leave_first_and_cuts_none() -> Result<()> {
    const SESSIONS: usize = 200;
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let shop = Shop::open(all, "installed").await?;
    let again = install(&all.cluster, &["--yes"]).await?;
    ensure!(again.stderr.contains("installed already"), "{again:?}");
    for (mode, size) in [("open", 64), ("closed", 64)] {
        let mut sessions = shop
            .visitors
            .sessions(SESSIONS, Traffic::every(Duration::from_millis(100), size))
            .await?;
        let installed = install(&all.cluster, &["--yes", "--failure-mode", mode]).await?;
        installed.success()?;
        ensure!(installed.stderr.contains("leave first"), "{installed:?}");
        for session in &mut sessions {
            let record = session.ended(LONG).await?;
            ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        }
        shop.visitors.settled("sessions come again", 10, |_| true).await?;
        println!("--failure-mode {mode} under {SESSIONS} sessions: all closed with 1012, none cut");
    }
    shop.close().await
}
