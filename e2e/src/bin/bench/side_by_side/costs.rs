//! What a session costs the proxy that carries it: NGINX, HAProxy, Envoy without the filter, and Clew.

use std::net::SocketAddr;

use anyhow::Result;
use clew_e2e::balancer::{Balancer, Configuration, Kind, Server};
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::scene::{self, Scene};
use clew_e2e::ws_client::{Request, Socket};
use clew_e2e::{address, process};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use tokio::sync::Mutex;

use crate::arms::{Rounds, alternate};
use crate::cost::keyed;

const ROUNDS: usize = 7;
const WORKERS: usize = 2;
const UPGRADES: usize = 500;
const TALKERS: usize = 32;
const MESSAGES: u64 = 500;
const MESSAGE: usize = 128;
const IDLE: usize = 2000;
const NAMES: [&str; 5] = ["Clew", "Clew again", "NGINX", "HAProxy", "Envoy without Clew"];

/// Costs of each of [`CARRIERS`].
pub(super) struct Costs {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) each: [f64; 4],
}

/// Whose they are.
pub(super) const CARRIERS: [&str; 4] = ["NGINX", "HAProxy", "Envoy", "Clew"];

struct Arm {
    gateway: SocketAddr,
    pid: u32,
}

impl Arm {
    /// CPU time in nanoseconds for each of `count` things, of all its processes.
    async fn cpu_each(&self, count: usize, work: impl Future<Output = Result<()>>) -> Result<f64> {
        let family = process::family(self.pid);
        let used = || {
            family
                .iter()
                .map(|pid| process::cpu_nanos(*pid))
                .sum::<Result<u64>>()
        };
        let before = used()?;
        work.await?;
        Ok((used()? - before) as f64 / count as f64)
    }

    fn memory(&self) -> Result<f64> {
        let family = process::family(self.pid);
        let bytes: Result<u64> = family.into_iter().map(process::memory_bytes).sum();
        Ok(bytes? as f64)
    }

    async fn open(&self, requests: &[Request]) -> Result<Vec<Socket>> {
        let open = requests.iter().map(|request| request.open(self.gateway));
        stream::iter(open).buffered(32).try_collect().await
    }
}

pub(super) async fn measure(figures: &mut Figures) -> Result<Vec<Costs>> {
    let scene = Scene::new(4, keyed()).await?;
    let envoy = async |module| PlainEnvoy::beside(scene.state.path(), module, WORKERS).await;
    let module = scene.state.module()?;
    let envoys = [
        envoy(Some(&*module)).await?,
        envoy(Some(&*module)).await?,
        envoy(None).await?,
    ];
    let balancer = async |kind, balance| {
        let servers = scene.pods.iter().map(|pod| Server {
            name: pod.name.clone(),
            address: pod.address,
            takes_sessions: true,
        });
        let configuration = Configuration {
            kind,
            balance,
            servers: servers.collect(),
            idle: 3600,
        };
        Balancer::start(&configuration, address::next()).await
    };
    let nginx = balancer(Kind::Nginx, "hash $http_x_room consistent;").await?;
    let haproxy = balancer(Kind::Haproxy, "balance hdr(x-room)\nhash-type consistent").await?;
    let [clew, again, plain] = envoys.each_ref().map(|envoy| Arm {
        gateway: envoy.gateway,
        pid: envoy.pid,
    });
    let [nginx, haproxy] = [&nginx, &haproxy].map(|balancer| Arm {
        gateway: balancer.address(),
        pid: balancer.pid(),
    });
    let arms = [clew, again, nginx, haproxy, plain];

    let requests: Vec<Request> = (0..IDLE)
        .map(|room| Request::new("/ws").header("x-room", format!("room-{room}")))
        .collect();
    for arm in &arms {
        let opened = async || requests[0].place(arm.gateway).await.ok();
        clew_e2e::wait::until("it takes sessions", std::time::Duration::from_secs(20), opened).await?;
        // Warm before memory is looked at.
        scene::place(arm.gateway, &requests[..UPGRADES]).await?;
    }

    let mut idle = Vec::new();
    for arm in &arms {
        let before = arm.memory()?;
        let sockets = arm.open(&requests).await?;
        idle.push((arm.memory()? - before) / IDLE as f64 / 1024.0);
        let goodbyes = sockets.into_iter().map(Socket::goodbye);
        stream::iter(goodbyes)
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
    }
    let upgrades = alternate(&arms, ROUNDS, async |arm: &Arm| {
        let work = async { scene::place(arm.gateway, &requests[..UPGRADES]).await.map(drop) };
        Ok(arm.cpu_each(UPGRADES, work).await? / 1e3)
    })
    .await?;
    let mut talking = Vec::new();
    for arm in &arms {
        let sockets = arm.open(&requests[..TALKERS]).await?;
        talking.push((arm, sockets.into_iter().map(Mutex::new).collect::<Vec<_>>()));
    }
    let count = TALKERS * usize::try_from(MESSAGES)?;
    let messages = alternate(
        &talking,
        ROUNDS,
        async |(arm, talkers): &(&Arm, Vec<Mutex<Socket>>)| {
            let volleys = stream::iter(talkers.iter())
                .map(async |talker| talker.lock().await.echo(MESSAGES, MESSAGE).await)
                .buffer_unordered(TALKERS)
                .try_collect::<()>();
            Ok(arm.cpu_each(count, volleys).await? / 1e3)
        },
    )
    .await?;

    let medians = |rounds: &Rounds| std::array::from_fn(|arm| rounds.median(arm));
    let idle: [f64; 5] = std::array::from_fn(|arm| idle[arm]);
    let noise = |all: &[f64; 5]| (all[0] - all[1]).abs();
    let mut costs = Vec::new();
    for (id, what, unit, all, n) in [
        (
            "upgrade",
            "CPU per upgrade",
            "µs",
            medians(&upgrades),
            ROUNDS * UPGRADES,
        ),
        (
            "message",
            "CPU per echoed 128-byte message",
            "µs",
            medians(&messages),
            ROUNDS * count,
        ),
        ("idle", "memory per idle session", "KiB", idle, IDLE),
    ] {
        let control = NAMES
            .into_iter()
            .zip(all)
            .map(|(name, value)| (name.to_owned(), json!(value)));
        figures.add(Figure {
            id: id.to_owned(),
            what: what.to_owned(),
            value: all[0],
            unit,
            bound: Bound::None,
            noise: noise(&all),
            n: n as u64,
            control: control.skip(1).collect::<serde_json::Map<_, _>>().into(),
        });
        costs.push(Costs {
            what,
            unit,
            each: [all[2], all[3], all[4], all[0]],
        });
    }
    Ok(costs)
}
