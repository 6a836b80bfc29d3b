//! What the filter costs: CPU for each upgrade and each message, memory for each idle session, CPU for each placement.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::{Request, Socket};
use clew_e2e::{process, wait};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::arms::{Rounds, alternate, cpu_each};
use crate::requests::{get, send};

const ROUNDS: usize = 9;
const UPGRADES: usize = 500;
const TALKERS: usize = 32;
const MESSAGES: u64 = 250;
const MESSAGE: usize = 128;
const IDLE: usize = 2000;
const PLACEMENTS: usize = 2000;
const PLACING_ROUNDS: usize = 25;

const WORKERS: usize = 2;

/// One Envoy: without the filter (twice: their difference is the noise), and with it.
struct Arm {
    gateway: SocketAddr,
    pid: u32,
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let scene = Scene::new(4, keyed()).await?;
    // Started alike, by the same files: one with the module, the others with the filter taken out of the chain.
    let envoy = async |module| PlainEnvoy::beside(scene.state.path(), module, WORKERS).await;
    let module = scene.state.module()?;
    let envoys = [
        envoy(None).await?,
        envoy(None).await?,
        envoy(Some(&*module)).await?,
    ];
    let arms = envoys.each_ref().map(|envoy| Arm {
        gateway: envoy.gateway,
        pid: envoy.pid,
    });
    let requests: Vec<Request> = (0..UPGRADES)
        .map(|i| Request::new("/ws").header("x-room", format!("room-{}", i % 300)))
        .collect();

    for arm in &arms {
        let opened = async || requests[0].place(arm.gateway).await.ok();
        wait::until("the filter has its rules", Duration::from_secs(20), opened).await?;
    }
    // Every arm warm before memory is looked at: its workers, its pools, its allocator.
    for arm in &arms {
        scene::place(arm.gateway, &requests).await?;
    }
    idle_memory(figures, &arms).await?;

    let upgrade = alternate(&arms, ROUNDS, async |arm: &Arm| {
        let work = async { scene::place(arm.gateway, &requests).await.map(drop) };
        cpu_each(arm.pid, UPGRADES, work).await
    })
    .await?;
    figures.add(ratio(
        "P1",
        "CPU per upgrade ÷ without the filter",
        &upgrade,
        1.20,
        ROUNDS * UPGRADES,
    ));

    let mut talkers: Vec<Vec<tokio::sync::Mutex<Socket>>> = Vec::new();
    for arm in &arms {
        let open = requests[..TALKERS]
            .iter()
            .map(|request| request.open(arm.gateway));
        let sockets: Vec<Socket> = stream::iter(open).buffered(8).try_collect().await?;
        talkers.push(sockets.into_iter().map(tokio::sync::Mutex::new).collect());
    }
    let pairs: Vec<(&Arm, &Vec<_>)> = arms.iter().zip(&talkers).collect();
    let count = TALKERS * usize::try_from(MESSAGES)?;
    let echo = alternate(
        &pairs,
        ROUNDS,
        async |(arm, talkers): &(&Arm, &Vec<tokio::sync::Mutex<Socket>>)| {
            let volleys = stream::iter(talkers.iter())
                .map(async |talker| talker.lock().await.echo(MESSAGES, MESSAGE).await)
                .buffer_unordered(TALKERS)
                .try_collect::<()>();
            cpu_each(arm.pid, count, volleys).await
        },
    )
    .await?;
    figures.add(ratio(
        "P2",
        "CPU per echoed 128-byte message ÷ without",
        &echo,
        1.05,
        ROUNDS * count,
    ));
    drop(talkers);

    placement(figures).await
}

fn keyed() -> Value {
    json!({"sessionKey": {"sources": [{"type": "Header", "header": {"name": "x-room"}}]}})
}

/// `[without, without again, with]`
fn ratio(id: &str, what: &str, rounds: &Rounds, bound: f64, n: usize) -> Figure {
    let compared = rounds.ratio(2);
    let nanos = |arm| rounds.median(arm);
    Figure {
        id: id.to_owned(),
        what: what.to_owned(),
        value: compared.value,
        unit: "1",
        bound: Bound::AtMost(bound),
        noise: compared.noise,
        n: n as u64,
        control: json!({"without_ns": nanos(0), "without_again_ns": nanos(1), "with_ns": nanos(2)}),
    }
}

async fn idle_memory(figures: &mut Figures, arms: &[Arm]) -> Result<()> {
    let mut each = Vec::new();
    for arm in arms {
        let before = process::memory_bytes(arm.pid)?;
        let requests: Vec<Request> = (0..IDLE)
            .map(|i| Request::new("/ws").header("x-room", format!("room-{i}")))
            .collect();
        let open = requests.iter().map(|request| request.open(arm.gateway));
        let sockets: Vec<Socket> = stream::iter(open).buffered(32).try_collect().await?;
        // Idle: nothing moves any more, so the CPU time stands still but for the timers.
        let mut last = process::cpu_nanos(arm.pid)?;
        wait::until_true("Envoy is idle", Duration::from_secs(20), || {
            let now = process::cpu_nanos(arm.pid).unwrap_or(last);
            let idle = now - last < 2_000_000;
            last = now;
            idle
        })
        .await?;
        each.push((process::memory_bytes(arm.pid)? as f64 - before as f64) / IDLE as f64 / 1024.0);
        let goodbyes = sockets.into_iter().map(Socket::goodbye);
        stream::iter(goodbyes)
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
    }
    figures.add(Figure {
        id: "P4".to_owned(),
        what: "memory per idle session, more than without the filter".to_owned(),
        value: each[2] - f64::midpoint(each[0], each[1]),
        unit: "KiB",
        bound: Bound::AtMost(4.0),
        noise: (each[0] - each[1]).abs(),
        n: IDLE as u64,
        control: json!({"without_kib": each[0], "without_again_kib": each[1], "with_kib": each[2]}),
    });
    Ok(())
}

/// The difference between placing among many pods and among one, everything else equal: the same Envoy, the same
/// server, plain requests (which are placed as upgrades are) over warm connections, one key that lives on one pod.
async fn placement(figures: &mut Figures) -> Result<()> {
    let mut servers = Vec::new();
    for number in 0..1000 {
        servers.push(EchoServer::start(&format!("pod-{number}")).await?);
    }
    let pods: Vec<Pod> = servers.iter().map(|s| Pod::new(s.name(), s.address())).collect();
    let sizes = [("one", 1), ("again", 1), ("ten", 10), ("thousand", 1000)];
    let mut rules = vec![manifests::rule("rooms", "/ws", SERVICE, PORT, keyed())];
    let mut backends = Vec::new();
    for (name, size) in sizes {
        rules.push(manifests::rule(name, &format!("/{name}"), name, PORT, keyed()));
        backends.push(manifests::service(name, PORT));
        backends.push(manifests::endpoint_slice(name, PORT, &pods[..size]));
    }
    let scene = Scene::new(2, keyed()).await?;
    scene.folder.put_all("sizes", &backends)?;
    scene
        .folder
        .put("route", &manifests::route(ROUTE, json!(rules)))?;
    for (name, _) in sizes {
        let probe = Request::new(format!("/{name}")).header("x-room", "probe");
        let placed = async || probe.place(scene.gateway()).await.ok();
        wait::until("the backends of all sizes", Duration::from_secs(30), placed).await?;
    }
    let pid = scene.clew.ready.pid;
    let rounds = alternate(&sizes, PLACING_ROUNDS, async |(name, _): &(&str, usize)| {
        let request = get(
            &format!("/{name}?status=403"),
            true,
            Some(("x-room", "the-one-key")),
        );
        let requests = vec![request; PLACEMENTS];
        cpu_each(pid, PLACEMENTS, async {
            send(scene.gateway(), &requests, 4).await.map(drop)
        })
        .await
    })
    .await?;
    for (arm, bound) in [(2, 1.0), (3, 10.0)] {
        let size = sizes[arm].1;
        let compared = rounds.difference(arm);
        let nanos = |arm| rounds.median(arm);
        figures.add(Figure {
            id: format!("placement.{size}"),
            what: format!("CPU of placing among {size} pods, more than among 1"),
            value: compared.value / 1000.0,
            unit: "µs",
            bound: Bound::AtMost(bound),
            noise: compared.noise / 1000.0,
            n: (PLACING_ROUNDS * PLACEMENTS) as u64,
            control: json!({"one_ns": nanos(0), "one_again_ns": nanos(1), "many_ns": nanos(arm)}),
        });
    }
    Ok(())
}
