//! What a session costs the proxy that carries it: NGINX, HAProxy, Envoy without the filter, and Clew.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::balancer::{Balancer, Configuration, Kind, Server};
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::scene::{self, Scene};
use clew_e2e::ws_client::Request;
use clew_e2e::{address, wait};
use serde_json::json;

use crate::arms::{Rounds, alternate};
use crate::cost::keyed;
use crate::load::{IDLE, Proxy, Talker, UPGRADES, VOLLEY, WORKERS};

const ROUNDS: usize = 7;
const NAMES: [&str; 5] = ["Clew", "Clew again", "NGINX", "HAProxy", "Envoy without Clew"];

/// Costs of each of [`CARRIERS`].
pub(super) struct Costs {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) each: [f64; 4],
}

/// Whose they are.
pub(super) const CARRIERS: [&str; 4] = ["NGINX", "HAProxy", "Envoy", "Clew"];

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
    let [clew, again, plain] = envoys.each_ref().map(|envoy| Proxy {
        gateway: envoy.gateway,
        pid: envoy.pid,
    });
    let [nginx, haproxy] = [&nginx, &haproxy].map(|balancer| Proxy {
        gateway: balancer.address(),
        pid: balancer.pid(),
    });
    let arms = [clew, again, nginx, haproxy, plain];

    let requests: Vec<Request> = (0..IDLE)
        .map(|room| Request::new("/ws").header("x-room", format!("room-{room}")))
        .collect();
    for arm in &arms {
        let opened = async || requests[0].place(arm.gateway).await.ok();
        wait::until("it takes sessions", Duration::from_secs(20), opened).await?;
        // Warm before memory is looked at.
        scene::place(arm.gateway, &requests[..UPGRADES]).await?;
    }

    let mut idle = Vec::new();
    for arm in &arms {
        idle.push(arm.idle(&requests).await?);
    }
    let upgrades = alternate(&arms, ROUNDS, async |arm: &Proxy| {
        Ok(arm.upgrades(&requests[..UPGRADES]).await? / 1e3)
    })
    .await?;
    let mut talking = Vec::new();
    for arm in &arms {
        talking.push((arm, arm.talkers(&requests).await?));
    }
    let messages = alternate(
        &talking,
        ROUNDS,
        async |(arm, talkers): &(&Proxy, Vec<Talker>)| Ok(arm.volley(talkers).await? / 1e3),
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
            ROUNDS * VOLLEY,
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
