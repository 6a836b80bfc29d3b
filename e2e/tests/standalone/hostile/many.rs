//! Thousands of hostile clients and servers beside good sessions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::Traffic;
use clew_e2e::{address, process, wait};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;

use super::VM_FAILURES;
use super::attack::{self, HostileServer};
use crate::{SOON, by_room, full, rooms};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_hostile_inputs_end_no_session_and_take_no_memory() -> Result<()> {
    let (attacks, good) = if full() { (3000, 500) } else { (600, 100) };
    let (scene, evil) = scene().await?;
    let pid = scene.clew.ready.pid;
    let every = Duration::from_secs(1);
    let sessions = scene
        .open(&rooms(0..good), |_| Traffic::every(every, 200))
        .await?;
    let round = async |numbers: std::ops::Range<usize>| -> Result<usize> {
        let gateway = scene.gateway();
        let ends: Vec<_> = stream::iter(numbers)
            .map(|number| attack::run(gateway, number, number % 7 == 6))
            .buffer_unordered(24)
            .collect()
            .await;
        let mut opened = 0;
        let mut staying = Vec::new();
        for end in ends {
            let (was_opened, stays) = end?;
            opened += usize::from(was_opened);
            staying.extend(stays);
        }
        scene::none_lost(&sessions)?;
        // Those that stayed leave together.
        drop(staying);
        Ok(opened)
    };
    // What is allocated once is there after a first round.
    let warm = attacks / 5;
    let mut opened = round(0..warm).await?;
    settled(&scene, good).await?;
    let before = process::memory_bytes(pid)?;
    opened += round(warm..attacks).await?;
    settled(&scene, good).await?;
    let after = process::memory_bytes(pid)?;
    let grown = (after as f64 - before as f64) / f64::from(1 << 20);
    println!(
        "{attacks} hostile inputs, {opened} of them got a 101; Envoy's memory {} MiB before, {} MiB after",
        before >> 20,
        after >> 20
    );
    // The control: they are not all refused at the door, and the hostile server was reached.
    ensure!(opened > attacks / 4, "only {opened} got in");
    ensure!(
        evil.reached() > attacks / 20,
        "only {} reached the hostile server",
        evil.reached()
    );
    // And tokens that nobody signed were read.
    let admin = scene.clew.ready.admin;
    admin
        .counts("clew_affinity_total", &[("result", "invalid")], 1..)
        .await?;
    scene::all_answer(&sessions).await?;
    ensure!(grown < 24.0, "memory grew by {grown:.1} MiB");
    let failures = scene.clew.ready.admin.stats(VM_FAILURES).await?;
    println!("{failures:?}");
    ensure!(
        !failures.is_empty() && failures.values().all(|count| *count == 0),
        "VMs failed: {failures:?}"
    );
    Ok(())
}

/// Good servers behind `/ws` and `/all`, and a hostile one behind `/evil`.
async fn scene() -> Result<(Scene, HostileServer)> {
    let everything = super::everything();
    let rules = json!([
        manifests::rule(
            "rooms",
            "/ws",
            SERVICE,
            address::PORT,
            json!({"sessionKey": by_room()})
        ),
        manifests::rule(
            "all",
            "/all",
            SERVICE,
            address::PORT,
            json!({
                "sessionKey": {"sources": everything},
                "sessionPersistence": {"type": "Cookie", "cookie": {"name": "clew-session"}},
            })
        ),
    ]);
    let scene = Scene::with(3, manifests::route(ROUTE, rules.clone())).await?;
    let evil = HostileServer::start(address::next()).await?;
    let (name, port) = ("evil", address::PORT);
    scene
        .folder
        .put("evil-service", &manifests::service(name, port))?;
    let pods = [Pod::new("evil-0", evil.address)];
    scene
        .folder
        .put("evil-endpoints", &manifests::endpoint_slice(name, port, &pods))?;
    let mut rules = rules.as_array().cloned().context("rules")?;
    rules.push(manifests::rule(
        "evil",
        "/evil",
        name,
        port,
        json!({"sessionKey": by_room()}),
    ));
    scene
        .folder
        .put("route", &manifests::route(ROUTE, rules.into()))?;
    wait::until("the hostile server is reached", SOON, async || {
        attack::run(scene.gateway(), 0, true).await.ok()?;
        (evil.reached() > 0).then_some(())
    })
    .await?;
    Ok((scene, evil))
}

/// Waits until only the good sessions are left.
async fn settled(scene: &Scene, good: usize) -> Result<()> {
    wait::until("the attackers are gone", Duration::from_secs(60), async || {
        let admin = scene.clew.ready.admin;
        let active = admin.metric("clew_sessions_active", &[]).await.ok()?;
        ((active - good as f64).abs() < 0.5).then_some(())
    })
    .await
}
