//! Pods that no rule leads to any more, as after the last step of a blue/green rollout: their sessions drain as all others do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::workstation::{clew, operator};
use clew_e2e::ws_client::{Session, Traffic};
use serde_json::json;

use super::shop::Shop;
use super::{SOON, alone};

const NAME: &str = "lingering";
const KEYS: usize = 80;

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_no_rule_leads_to_drain_as_all_others() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, NAME).await?;
    let jane = &operator(&mesh.cluster, &shop.client, NAME).await?;
    shop.client.apply(&service(NAME, "blue")).await?;
    let mut blue = Vec::new();
    for n in 0..3 {
        blue.push(Pod::start(&shop.client, NAME, "blue", &format!("blue-{n}")).await?);
    }
    let both =
        json!([{"name": "chat", "port": PORT, "weight": 1}, {"name": "blue", "port": PORT, "weight": 1}]);
    shop.manifest["spec"]["rules"][0]["backendRefs"] = both;
    shop.apply_route().await?;
    shop.visitors
        .settled("each pod has keys", KEYS, |placed| {
            let all = shop.pods.iter().chain(&blue);
            all.into_iter()
                .all(|pod| placed.iter().any(|name| name == pod.name()))
        })
        .await?;
    let talk = Traffic::every(Duration::from_millis(100), 64);
    let mut sessions = shop.visitors.sessions(KEYS, talk).await?;

    // Nothing leads to the second Service any more. One of its pods is deleted, and one is drained by hand.
    shop.manifest["spec"]["rules"][0]["backendRefs"] = json!([{"name": "chat", "port": PORT}]);
    shop.apply_route().await?;
    let [deleted, drained, kept] = &mut blue[..] else {
        anyhow::bail!("three were started")
    };
    deleted.terminate().await?;
    let of_deleted = all_closed(&mut sessions, deleted.name()).await?;
    clew(jane, &["drain", drained.name(), "-n", NAME])
        .await?
        .success()?;
    let of_drained = all_closed(&mut sessions, drained.name()).await?;
    let shown = clew(jane, &["sessions", "-n", NAME]).await?;
    let line = shown.stdout.lines().find(|line| line.contains(kept.name()));
    ensure!(line.is_some_and(|line| !line.contains("gone")), "{shown:?}");

    // Nor does any to the first.
    shop.deleted().await?;
    let gone = shop.pods.first_mut().context("a pod")?;
    gone.terminate().await?;
    let of_route = all_closed(&mut sessions, gone.name()).await?;
    for session in &mut sessions {
        session.check().await.context("who is elsewhere stays")?;
    }
    println!(
        "sessions of pods that no rule leads to: {of_deleted} of a deleted one, {of_drained} of a drained one, {of_route} of a deleted route: \
         all closed with 1012, whole; {} others stay",
        sessions.len()
    );
    Ok(())
}

/// Takes those of a pod out, and waits until each was closed.
async fn all_closed(sessions: &mut Vec<Session>, pod: &str) -> Result<usize> {
    let mut of_it: Vec<_> = sessions
        .extract_if(.., |session| session.served_by == pod)
        .collect();
    ensure!(!of_it.is_empty(), "nobody is on {pod}");
    for session in &mut of_it {
        let record = session.ended(SOON).await?;
        ensure!(
            record.code() == Some(1012) && record.is_whole(),
            "{pod}: {record:?}"
        );
    }
    Ok(of_it.len())
}
