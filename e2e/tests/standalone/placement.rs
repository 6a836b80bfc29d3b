//! Membership moves the least that it can, and what `clew` says offline is what the real Envoy does.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use clew_e2e::scene::Scene;
use clew_e2e::statistics::{CHANCE, fair_shares};
use clew_e2e::ws_client::Request;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::session_keys::token;
use crate::{by_room, rooms};

const KEYS: usize = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_joins_or_leaves_moves_the_minimum_and_no_innocent_key() -> Result<()> {
    let mut scene = Scene::new(5, json!({"sessionKey": by_room()})).await?;
    let requests = rooms(0..KEYS);
    let before = scene.place(&requests).await?;

    // What `clew simulate` says of a sixth pod, over keys of its own.
    let (keys, count) = (KEYS.to_string(), |v: &Value| v.as_f64().context("a number"));
    let simulated = scene
        .command("simulate", &["--keys", &keys, "--add", "1", "-o", "json"])
        .await?
        .json()?;
    let moved = &simulated["moved"];
    assert_eq!(
        (count(&moved["ratio"])?, count(&moved["innocent"])?),
        (1.0, 0.0),
        "{simulated}"
    );
    let simulated_moves = count(&moved["keys"])?;

    let joined = scene.add_pod().await?;
    scene.settled().await?;
    let with_sixth = scene.place(&requests).await?;
    let moved: Vec<usize> = (0..KEYS).filter(|key| before[*key] != with_sixth[*key]).collect();
    let innocent = moved.iter().filter(|key| with_sixth[**key] != joined).count();
    let taken = with_sixth.iter().filter(|home| **home == joined).count();
    println!(
        "joined: {} moved, {taken} the minimum, {innocent} innocent; simulated {simulated_moves}",
        moved.len()
    );
    assert_eq!((moved.len(), innocent), (taken, 0));
    // A sixth of the keys, as chance allows, and as the simulation said.
    let counts = |homes: &[String]| {
        let mut counts = BTreeMap::new();
        homes
            .iter()
            .for_each(|home| *counts.entry(home.clone()).or_insert(0) += 1);
        counts.into_values().collect::<Vec<usize>>()
    };
    let p = fair_shares(&counts(&with_sixth), &[1.0; 6])?;
    assert!(p > CHANCE, "{:?} p = {p}", counts(&with_sixth));
    let sigma = (KEYS as f64 * (1.0 / 6.0) * (5.0 / 6.0)).sqrt();
    assert!(
        (simulated_moves - taken as f64).abs() < 6.0 * sigma,
        "simulated {simulated_moves}, measured {taken}"
    );

    let leaver = scene.pods[1].name.clone();
    let simulated = scene
        .command("simulate", &["--keys", &keys, "--remove", &leaver, "-o", "json"])
        .await?
        .json()?;
    assert_eq!(
        (
            count(&simulated["moved"]["ratio"])?,
            count(&simulated["moved"]["innocent"])?
        ),
        (1.0, 0.0)
    );
    scene.remove_pod(&leaver)?;
    scene.settled().await?;
    let without = scene.place(&requests).await?;
    let orphans = with_sixth.iter().filter(|home| **home == leaver).count();
    let moved: Vec<usize> = (0..KEYS)
        .filter(|key| with_sixth[*key] != without[*key])
        .collect();
    let innocent = moved.iter().filter(|key| with_sixth[**key] != leaver).count();
    println!(
        "left: {} moved, {orphans} the minimum, {innocent} innocent",
        moved.len()
    );
    let astray: Vec<usize> = moved
        .iter()
        .copied()
        .filter(|key| with_sixth[*key] != leaver)
        .collect();
    assert_eq!(
        (moved.len(), innocent),
        (orphans, 0),
        "{}",
        traces(&scene, &astray)
    );
    let simulated_moves = count(&simulated["moved"]["keys"])?;
    assert!(
        (simulated_moves - orphans as f64).abs() < 6.0 * sigma,
        "simulated {simulated_moves}, was {orphans}"
    );

    // The one that left comes back to its own keys.
    let server = scene.server(&leaver)?.address();
    scene.pods.push(clew_e2e::manifests::Pod::new(&leaver, server));
    scene.save_pods()?;
    scene.settled().await?;
    let again = scene.place(&requests).await?;
    let astray: Vec<usize> = (0..KEYS).filter(|key| again[*key] != with_sixth[*key]).collect();
    assert!(
        astray.is_empty(),
        "placement depends on nothing but membership: {} {}",
        astray.len(),
        traces(&scene, &astray)
    );
    Ok(())
}

/// Every session that these keys ever had: where the filter wanted it, and where it was.
fn traces(scene: &Scene, keys: &[usize]) -> String {
    let mut lines = String::new();
    for key in keys.iter().take(10) {
        let target = format!("/ws?room=room-{key}");
        for server in &scene.servers {
            for connection in server.connections().iter().filter(|c| c.head.target == target) {
                let wanted = connection.head.header("x-clew-host").unwrap_or_default();
                lines += &format!(
                    "\n{target}: wanted {wanted}, was on {} {}",
                    server.name(),
                    server.address()
                );
            }
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_names_the_pod_that_envoy_chose() -> Result<()> {
    let sources = json!([
        {"type": "Cookie", "cookie": {"name": "sid"}},
        {"type": "Header", "header": {"name": "x-room"}},
        {"type": "QueryParam", "queryParam": {"name": "room"}},
        {"type": "PathSegment", "pathSegment": {"index": 1}},
        {"type": "JWTClaim", "jwtClaim": {"name": "user.id", "verification": "None"}},
        {"type": "Subprotocol", "subprotocol": {"prefix": "room."}},
        {"type": "Header", "header": {"name": "Host"}},
    ]);
    let kinds = sources.as_array().map_or(0, Vec::len);
    let scene = Scene::new(7, json!({"sessionKey": {"sources": sources}})).await?;
    let requests: Vec<Request> = (0..1000)
        .map(|key| match key % kinds {
            0 => Request::new("/ws").header("Cookie", format!("a=1; sid=\"key-{key}\"")),
            1 => Request::new("/ws?x=%20").header("X-Room", format!("key-{key}")),
            2 => Request::new(format!("/ws?room=key%2D{key}")),
            3 => Request::new(format!("/ws/key-{key}/x")),
            4 => Request::new("/ws").header("Authorization", format!("Bearer {}", token(key, 0))),
            5 => Request::new("/ws").header("Sec-WebSocket-Protocol", format!("chat, room.key-{key}")),
            _ => Request::new("/ws").host(&format!("key-{key}.example.com")),
        })
        .collect();
    let chosen = scene.place(&requests).await?;
    let explained: Vec<Value> = stream::iter(&requests)
        .map(async |request| {
            let line = format!("GET {}", request.target());
            let headers: Vec<String> = request.headers().collect();
            let mut arguments = vec!["--request", line.as_str(), "-o", "json"];
            headers
                .iter()
                .for_each(|header| arguments.extend(["-H", header.as_str()]));
            scene.command("explain", &arguments).await?.json()
        })
        .buffered(4)
        .try_collect()
        .await?;
    let mut wrong = Vec::new();
    for ((request, pod), answer) in requests.iter().zip(&chosen).zip(&explained) {
        let address = scene.server(pod)?.address().to_string();
        if answer["backend"]["address"] != json!(address) {
            wrong.push(format!(
                "{} went to {pod} at {address}: {answer}",
                request.target()
            ));
        }
    }
    let right = requests.len() - wrong.len();
    println!(
        "explain: {right} of {} as Envoy chose, e.g. {}",
        requests.len(),
        explained[0]
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    let sources: BTreeSet<&str> = explained
        .iter()
        .filter_map(|answer| answer["key"]["source"].as_str())
        .collect();
    assert_eq!(sources.len(), kinds, "{sources:?}");
    assert!(
        explained[0]["why"].is_string() && explained[0]["rule"].is_string(),
        "{}",
        explained[0]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_popular_key_does_not_drown_its_pod() -> Result<()> {
    let policy = json!({
        "sessionKey": by_room(),
        "loadBalancer": {"type": "ConsistentHash", "boundedLoad": {"percent": 125}},
    });
    let scene = Scene::new(5, policy).await?;
    // Half of all sessions want one room.
    let requests = rooms((0..400).map(|i| if i % 2 == 0 { 0 } else { i }));
    let mut sessions = Vec::new();
    for request in &requests {
        sessions.push(
            request
                .open(scene.gateway())
                .await?
                .session(clew_e2e::ws_client::Traffic::idle()),
        );
    }
    let mut shares = BTreeMap::new();
    sessions
        .iter()
        .for_each(|s| *shares.entry(s.served_by.as_str()).or_insert(0u32) += 1);
    let most = shares.values().max().copied().unwrap_or(0);
    println!("bounded load 125 %: {shares:?}");
    assert!(f64::from(most) <= 1.25 * 400.0 / 5.0, "{shares:?}");
    Ok(())
}
