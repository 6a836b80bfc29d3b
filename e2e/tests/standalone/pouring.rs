//! Pods join and leave while handshakes pour in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::scene::Scene;
use clew_e2e::wait;
use clew_e2e::ws_client::Request;
use serde_json::json;
use tokio::time::Instant;

use crate::{SOON, by_room};

const POURERS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_101_went_where_the_filter_wanted_or_was_counted_as_missed() -> Result<()> {
    let mut scene = Scene::new(5, json!({"sessionKey": by_room()})).await?;
    let admin = scene.clew.ready.admin;
    let is_missed = [("result", "missed")];
    let before = admin.metric("clew_affinity_total", &is_missed).await?.round() as usize;
    let (stop, poured) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let pourers: Vec<_> = (0..POURERS)
        .map(|pourer| {
            let (stop, poured, gateway) = (Arc::clone(&stop), Arc::clone(&poured), scene.gateway());
            tokio::spawn(async move {
                let mut key = pourer;
                while !stop.load(Ordering::Acquire) {
                    let room = format!("poured-{key}");
                    let request = Request::new(format!("/ws?room={room}")).header("x-poured", room);
                    request
                        .place(gateway)
                        .await
                        .context("a handshake during the change")?;
                    poured.fetch_add(1, Ordering::AcqRel);
                    key += POURERS;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    let enough = async |more: usize| {
        let goal = poured.load(Ordering::Acquire) + more;
        wait::until_true("handshakes", SOON, || {
            poured.load(Ordering::Acquire) >= goal || pourers.iter().any(|p| p.is_finished())
        })
        .await
    };
    enough(300).await?;
    let mut changes = Vec::new();
    for round in 0..4 {
        changes.push(Instant::now());
        let joined = scene.add_pod().await?;
        let taken = || scene.server(&joined).is_ok_and(|server| server.opened() > 20);
        wait::until_true("sessions on the pod that joined", SOON, taken).await?;
        enough(200).await?;
        changes.push(Instant::now());
        let leaver = scene.pods[round].name.clone();
        scene.remove_pod(&leaver)?;
        wait::until("the pod that left is no host", SOON, async || {
            let address = scene.server(&leaver).ok()?.address().to_string();
            (!admin.hosts().await.ok()?.contains(&address)).then_some(())
        })
        .await?;
        enough(200).await?;
    }
    // The misses, if any, are over a second after the last change: pour on until then and a little longer.
    let last = changes.last().copied().context("changes")?;
    wait::until_true("two seconds more", SOON, || {
        last.elapsed() > Duration::from_secs(2)
    })
    .await?;
    stop.store(true, Ordering::Release);
    for pourer in pourers {
        pourer.await??;
    }

    let mut total = 0;
    let mut missed = BTreeMap::new();
    for server in &scene.servers {
        let address = server.address().to_string();
        for connection in server.connections() {
            if connection.head.header("x-poured").is_none() {
                continue;
            }
            total += 1;
            let wanted = connection
                .head
                .header("x-clew-host")
                .context("a session that nobody placed")?;
            if wanted != address {
                let change = changes.iter().rev().find(|c| **c <= connection.opened);
                let late = change
                    .map(|change| connection.opened - *change)
                    .context("missed before any change")?;
                missed.insert(connection.opened, late);
            }
        }
    }
    let latest = missed.values().max().copied().unwrap_or_default();
    println!(
        "{total} sessions through 8 changes: {} missed, the latest {latest:?} after a change",
        missed.len()
    );
    assert_eq!(total, poured.load(Ordering::Acquire));
    assert!(latest < Duration::from_secs(1), "misses go on for {latest:?}");
    let counted = before + missed.len();
    admin
        .counts("clew_affinity_total", &is_missed, counted..=counted)
        .await
}
