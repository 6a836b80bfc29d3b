//! Several backendRefs: shares as the weights say, and a change moves what it must.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::statistics::{CHANCE, fair_shares};
use clew_e2e::wait;
use serde_json::{Value, json};

use crate::{by_room, rooms};

const KEYS: usize = 5000;
const CANARY: &str = "canary";

fn route(stable: u32, canary: u32) -> Value {
    let mut rule = manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()}));
    rule["backendRefs"] = json!([
        {"name": SERVICE, "port": PORT, "weight": stable},
        {"name": CANARY, "port": PORT, "weight": canary},
    ]);
    manifests::route(ROUTE, json!([rule]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_weights_moves_only_its_share() -> Result<()> {
    let mut scene = Scene::new(3, json!({"sessionKey": by_room()})).await?;
    for index in 0..2 {
        scene
            .servers
            .push(EchoServer::start(&format!("{CANARY}-{index}")).await?);
    }
    let pods: Vec<Pod> = scene.servers[3..]
        .iter()
        .map(|s| Pod::new(s.name(), s.address()))
        .collect();
    let backend = [
        manifests::service(CANARY, PORT),
        manifests::endpoint_slice(CANARY, PORT, &pods),
    ];
    scene.folder.put_all("canary", &backend)?;
    let only_stable = scene.place(&rooms(0..KEYS)).await?;

    scene.folder.put("route", &route(90, 10))?;
    let ninety = stable_placement(&scene, &only_stable).await?;
    let eighty = {
        scene.folder.put("route", &route(80, 20))?;
        stable_placement(&scene, &ninety).await?
    };

    let canaries = |homes: &[String]| homes.iter().filter(|home| home.starts_with(CANARY)).count();
    for (homes, weights) in [(&ninety, [90.0, 10.0]), (&eighty, [80.0, 20.0])] {
        let canary = canaries(homes);
        let p = fair_shares(&[KEYS - canary, canary], &weights)?;
        println!("{weights:?}: {canary} of {KEYS} on the canary, p = {p:.3}");
        assert!(p > CHANCE, "{canary} of {KEYS} for {weights:?}");
    }
    let moved: Vec<usize> = (0..KEYS).filter(|key| ninety[*key] != eighty[*key]).collect();
    let wrong = moved
        .iter()
        .filter(|key| !eighty[**key].starts_with(CANARY))
        .count();
    println!(
        "90/10 → 80/20: {} of {KEYS} moved, {wrong} of them for nothing",
        moved.len()
    );
    assert_eq!((moved.len(), wrong), (canaries(&eighty) - canaries(&ninety), 0));
    let stayed = (0..KEYS)
        .filter(|key| !ninety[*key].starts_with(CANARY))
        .all(|key| ninety[key] == only_stable[key]);
    assert!(stayed, "a key that stays with its backend stays on its pod");

    // `x-clew-backend` reaches the pod, and says which backendRef it was.
    let head = |server: &EchoServer| {
        server
            .connections()
            .last()
            .map(|c| c.head.header("x-clew-backend"))
    };
    for server in &scene.servers {
        let name = if server.name().starts_with(CANARY) {
            CANARY
        } else {
            SERVICE
        };
        let backend = head(server).flatten().unwrap_or_default();
        assert!(
            backend.contains(&format!("/{name}:")),
            "{}: {backend:?}",
            server.name()
        );
    }
    Ok(())
}

/// Where the keys are once an edit that moves some has reached both workers.
async fn stable_placement(scene: &Scene, before: &[String]) -> Result<Vec<String>> {
    let rested = wait::until(
        "the keys come to rest elsewhere",
        Duration::from_secs(30),
        async || {
            let sample = rooms(0..500);
            let (one, two) = (scene.place(&sample).await.ok()?, scene.place(&sample).await.ok()?);
            (one == two && one != before[..500]).then_some(one)
        },
    )
    .await?;
    let all = scene.place(&rooms(0..KEYS)).await?;
    assert_eq!(all[..500], rested);
    Ok(all)
}
