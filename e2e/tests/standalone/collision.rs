//! Keys that were chosen to collide. The attacker has the same Envoy and the same Clew, knows every pod's name and
//! address, tries keys at home until enough of them meet on one pod, and sends those. What it does not have is the seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::requests::{get, send};
use clew_e2e::scene::Scene;
use serde_json::json;

const KEYS: usize = 10_000;
const PODS: usize = 3;
const CONNECTIONS: usize = 16;
/// No pod may hold more than this part of the mean.
const MOST: f64 = 1.15;

/// Where plain requests with these keys are served.
async fn place(gateway: SocketAddr, keys: &[String]) -> Result<Vec<String>> {
    let requests: Vec<Vec<u8>> = keys
        .iter()
        .map(|key| get("/ws", false, Some(("x-room", key))))
        .collect();
    send(gateway, &requests, CONNECTIONS).await
}

/// [`KEYS`] keys that one pod serves at home.
async fn chosen(home: SocketAddr, prefix: &str) -> Result<Vec<String>> {
    let mut chosen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut tried = 0;
    loop {
        let keys: Vec<String> = (tried..tried + KEYS).map(|n| format!("{prefix}{n}")).collect();
        tried += KEYS;
        for (key, pod) in keys.iter().zip(place(home, &keys).await?) {
            chosen.entry(pod).or_default().push(key.clone());
        }
        if let Some(keys) = chosen.values_mut().find(|keys| keys.len() >= KEYS) {
            keys.truncate(KEYS);
            return Ok(core::mem::take(keys));
        }
    }
}

/// The highest number of keys on a pod over the mean.
fn imbalance(pods: &[String]) -> f64 {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        *counts.entry(pod).or_default() += 1;
    }
    let highest = counts.values().copied().max().unwrap_or_default();
    highest as f64 * PODS as f64 / pods.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_chosen_to_collide_spread_like_any_others() -> Result<()> {
    let keyed = || json!({"sessionKey": {"sources": [{"type": "Header", "header": {"name": "x-room"}}]}});
    let scene = Scene::new(PODS, keyed()).await?;
    let addresses: Vec<SocketAddr> = scene.servers.iter().map(|server| server.address()).collect();
    let plain = async || {
        let cluster = json!({
            "type": "STATIC",
            "lb_policy": "MAGLEV",
            "load_assignment": load_assignment("backends", &addresses),
        });
        let by_room = json!([{"header": {"header_name": "x-room"}}]);
        PlainEnvoy::start(cluster, by_room, 1).await
    };

    // Against an unkeyed hash: chosen at one Envoy, sent to another, and to Clew.
    let keys = chosen(plain().await?.gateway, "unkeyed-").await?;
    let unkeyed = imbalance(&place(plain().await?.gateway, &keys).await?);
    let ours = imbalance(&place(scene.gateway(), &keys).await?);
    println!(
        "{KEYS} keys against Envoy's hash: {unkeyed:.3} × the mean with Envoy alone, {ours:.3} with Clew"
    );
    assert!(ours <= MOST, "{ours}");
    assert!(unkeyed > 0.99 * PODS as f64, "the control: {unkeyed}");

    // Against Clew with a seed of the attacker's own.
    let home = Scene::new(PODS, keyed()).await?;
    let keys = chosen(home.gateway(), "keyed-").await?;
    let known = imbalance(&place(home.gateway(), &keys).await?);
    let ours = imbalance(&place(scene.gateway(), &keys).await?);
    println!(
        "{KEYS} keys against another seed: {known:.3} × the mean where the seed is known, {ours:.3} where it is not"
    );
    assert!(ours <= MOST, "{ours}");
    assert!(known > 0.99 * PODS as f64, "the control: {known}");
    Ok(())
}
