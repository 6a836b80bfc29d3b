//! Where keys live and what moves them: Clew, and in the same run Envoy's own RING_HASH and MAGLEV.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use clew_e2e::echo_server::EchoServer;
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::requests::{get, send};
use clew_e2e::scene::Scene;
use clew_e2e::statistics::fair_shares;
use clew_e2e::ws_client::{Request, Socket};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use statrs::distribution::{ContinuousCDF, Normal};

const KEYS: usize = 10_000;
const SIZES: [usize; 5] = [3, 5, 10, 30, 200];
const SESSIONS: usize = 2000;
const SESSIONS_ASKED: usize = 300;

/// What a change of membership moved.
struct Moved {
    /// Keys that are elsewhere now.
    keys: usize,
    /// Keys that had to move: those of the backend that left, or that the one that joined took.
    minimum: usize,
    /// Keys that moved between two backends that were there before and after.
    innocent: usize,
}

impl Moved {
    fn between(before: &[String], after: &[String], changed: &str) -> Self {
        let pairs = || before.iter().zip(after).filter(|(before, after)| before != after);
        let innocent = pairs()
            .filter(|(before, after)| *before != changed && *after != changed)
            .count();
        let minimum = before.iter().chain(after).filter(|home| *home == changed).count();
        Self {
            keys: pairs().count(),
            minimum,
            innocent,
        }
    }

    fn ratio(&self) -> f64 {
        self.keys as f64 / self.minimum.max(1) as f64
    }
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    for size in SIZES {
        movement(figures, size).await?;
    }
    bounded_load(figures).await
}

fn key(number: usize) -> String {
    format!("session-{number}")
}

fn keyed() -> Value {
    json!({"sessionKey": {"sources": [{"type": "Header", "header": {"name": "x-room"}}]}})
}

/// Where each key lives, by plain requests: the filter places them as it does the sessions that they belong to.
async fn homes(gateway: SocketAddr) -> Result<Vec<String>> {
    let requests: Vec<Vec<u8>> = (0..KEYS)
        .map(|n| get("/ws", false, Some(("x-room", &key(n)))))
        .collect();
    send(gateway, &requests, 16).await
}

/// The sessions of some of the keys are where those requests were.
async fn sessions_agree(scene: &Scene, homes: &[String]) -> Result<()> {
    let requests: Vec<Request> = (0..SESSIONS_ASKED)
        .map(|n| Request::new("/ws").header("x-room", key(n)))
        .collect();
    let sessions = scene.place(&requests).await?;
    ensure!(
        homes.starts_with(&sessions),
        "sessions are not where requests of their keys are"
    );
    Ok(())
}

async fn movement(figures: &mut Figures, size: usize) -> Result<()> {
    let mut scene = Scene::new(size, keyed()).await?;
    let before = homes(scene.gateway()).await?;
    sessions_agree(&scene, &before).await?;
    let joiner = scene.add_pod().await?;
    scene.settled().await?;
    let after = homes(scene.gateway()).await?;
    let joined = Moved::between(&before, &after, &joiner);
    let leaver = scene.pods[size / 2].name.clone();
    scene.remove_pod(&leaver)?;
    scene.settled().await?;
    let last = homes(scene.gateway()).await?;
    sessions_agree(&scene, &last).await?;
    let left = Moved::between(&after, &last, &leaver);

    // The peers: the same servers, the same keys, the same changes.
    let hosts: Vec<SocketAddr> = scene.servers.iter().map(EchoServer::address).collect();
    let mut peers = BTreeMap::new();
    for policy in ["RING_HASH", "MAGLEV"] {
        let few = peer_places(&hosts[..size], policy).await?;
        let more = peer_places(&hosts, policy).await?;
        let fewer: Vec<SocketAddr> = scene
            .servers
            .iter()
            .filter(|s| s.name() != leaver)
            .map(EchoServer::address)
            .collect();
        let fewer = peer_places(&fewer, policy).await?;
        peers.insert(
            policy,
            (
                Moved::between(&few, &more, &joiner),
                Moved::between(&more, &fewer, &leaver),
            ),
        );
    }
    for (change, ours, which) in [("joined", &joined, 0), ("left", &left, 1)] {
        let of = |policy: &str| {
            peers.get(policy).map(|(joined, left)| if which == 0 { joined } else { left }).map(|moved| {
                json!({"ratio": moved.ratio(), "keys": moved.keys, "minimum": moved.minimum, "innocent": moved.innocent})
            })
        };
        let control = json!({"RING_HASH": of("RING_HASH"), "MAGLEV": of("MAGLEV")});
        let figure = |id: String, what: String, value: f64, bound: Bound| Figure {
            id,
            what,
            value,
            unit: "1",
            bound,
            noise: 0.0,
            n: KEYS as u64,
            control: control.clone(),
        };
        let (id, what) = (
            format!("P5.{size}.{change}"),
            format!("keys moved ÷ minimum, one of {size} {change}"),
        );
        figures.add(figure(id.clone(), what, ours.ratio(), Bound::Exactly(1.0)));
        let what = format!("keys of surviving backends moved, one of {size} {change}");
        figures.add(figure(
            format!("{id}.innocent"),
            what,
            ours.innocent as f64,
            Bound::AtMost(0.0),
        ));
        for (policy, peer) in [("RING_HASH", of("RING_HASH")), ("MAGLEV", of("MAGLEV"))] {
            let peer = peer.context("a peer")?;
            let what = format!("beside it: Envoy's {policy} alone");
            let ratio = peer["ratio"].as_f64().unwrap_or_default();
            figures.add(figure(
                format!("{id}.{}", policy.to_lowercase()),
                what,
                ratio,
                Bound::None,
            ));
        }
    }
    balance(figures, size, &before)
}

/// How evenly the keys lie, beside what chance allows: the highest of `size` fair draws, with one in 10,000 above.
fn balance(figures: &mut Figures, size: usize, homes: &[String]) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    homes
        .iter()
        .for_each(|home| *counts.entry(home).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.resize(size, 0);
    let mean = homes.len() as f64 / size as f64;
    let most = counts.iter().copied().max().unwrap_or(0) as f64;
    let sigma = (mean * (1.0 - 1.0 / size as f64)).sqrt();
    let highest = Normal::standard().inverse_cdf(1.0 - 1e-4 / size as f64);
    let p = fair_shares(&counts, &vec![1.0; size])?;
    figures.add(Figure {
        id: format!("P6.{size}"),
        what: format!("max ÷ mean of keys per backend, {size} backends (p = {p:.3})"),
        value: most / mean,
        unit: "1",
        bound: Bound::AtMost(((1.0 + highest * sigma / mean) * 1000.0).ceil() / 1000.0),
        noise: 0.0,
        n: homes.len() as u64,
        control: json!({"chi_square_p": p}),
    });
    Ok(())
}

/// Where an Envoy of this policy sends each key, without Clew.
async fn peer_places(hosts: &[SocketAddr], policy: &str) -> Result<Vec<String>> {
    let assignment = load_assignment("backends", hosts);
    let cluster = json!({"type": "STATIC", "lb_policy": policy, "load_assignment": assignment});
    let hash_policy = json!([{"header": {"header_name": "x-room"}, "terminal": true}]);
    let envoy = PlainEnvoy::start(cluster, hash_policy, 2).await?;
    homes(envoy.gateway).await
}

/// Sessions whose keys are as unequal as people are (Zipf, exponent 1.1), ten pods, none above 125 % of the mean.
async fn bounded_load(figures: &mut Figures) -> Result<()> {
    let zipf = zipf_keys(SESSIONS, 1000, 1.1);
    let requests: Vec<Request> = zipf
        .iter()
        .map(|k| Request::new("/ws").header("x-room", key(*k)))
        .collect();
    let mut worst = Vec::new();
    for bounded in [false, true] {
        let mut policy = keyed();
        if bounded {
            policy["loadBalancer"] = json!({"type": "ConsistentHash", "boundedLoad": {"percent": 125}});
        }
        let scene = Scene::new(10, policy).await?;
        let open = requests.iter().map(|request| request.open(scene.gateway()));
        let sockets: Vec<Socket> = stream::iter(open).buffered(8).try_collect().await?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        sockets
            .iter()
            .for_each(|socket| *counts.entry(socket.served_by()).or_default() += 1);
        let most = counts.values().copied().max().unwrap_or(0) as f64;
        worst.push(most / (SESSIONS as f64 / 10.0));
    }
    figures.add(Figure {
        id: "P6.bounded".to_owned(),
        what: "max ÷ mean of sessions per pod, boundedLoad 125 %, Zipf 1.1 keys".to_owned(),
        value: worst[1],
        unit: "1",
        bound: Bound::AtMost(1.25),
        noise: 0.0,
        n: SESSIONS as u64,
        control: json!({"without_boundedLoad": worst[0]}),
    });
    Ok(())
}

/// Draws from a Zipf distribution by its cumulative sum, evenly over its range, in an order that mixes them: the same
/// sequence in every run.
fn zipf_keys(count: usize, keys: usize, exponent: f64) -> Vec<usize> {
    let weights: Vec<f64> = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).collect();
    let total: f64 = weights.iter().sum();
    let mut sums = Vec::with_capacity(keys);
    let mut sum = 0.0;
    for weight in weights {
        sum += weight / total;
        sums.push(sum);
    }
    let stride = 787; // coprime with the count
    (0..count)
        .map(|i| (i * stride % count) as f64 / count as f64)
        .map(|at| sums.partition_point(|sum| *sum <= at).min(keys - 1))
        .collect()
}
