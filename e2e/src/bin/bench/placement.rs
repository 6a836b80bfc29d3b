//! What a placement costs by how many pods there are: the difference between placing among many and among one,
//! everything else equal. Envoy itself answers, by a fault behind the filter, so that little else is done for a request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::manifests::{self, Pod};
use clew_e2e::requests::{get, pipeline};
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::Request;
use serde_json::{Value, json};

use crate::arms::{alternate, cpu_each};
use crate::cost::keyed;

const REQUESTS: usize = 4000;
const ROUNDS: usize = 15;
/// Names of equal length, with how many pods each has. The first two are the control, twice.
const SIZES: [(&str, usize); 4] = [("one-a", 1), ("one-b", 1), ("ten-a", 10), ("thous", 1000)];
const ANSWER: u16 = 429;

fn rules(fault: bool) -> Value {
    let mut policy = keyed();
    if fault {
        policy["resilience"] = json!({"fault": {"abort": {"percent": 100, "status": ANSWER}}});
    }
    let of_size = |(name, _)| manifests::rule(name, &format!("/{name}"), name, PORT, policy.clone());
    let rules = SIZES.map(of_size).into_iter();
    rules
        .chain([manifests::rule("rooms", "/ws", SERVICE, PORT, keyed())])
        .collect()
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let mut servers = Vec::new();
    for number in 0..1000 {
        servers.push(EchoServer::start(&format!("pod-{number}")).await?);
    }
    let pods: Vec<Pod> = servers.iter().map(|s| Pod::new(s.name(), s.address())).collect();
    let objects = SIZES.map(|(name, size)| {
        [
            manifests::service(name, PORT),
            manifests::endpoint_slice(name, PORT, &pods[..size]),
        ]
    });
    let scene = Scene::new(2, keyed()).await?;
    scene.folder.put_all("sizes", objects.as_flattened())?;
    let save = |fault| scene.folder.put("route", &manifests::route(ROUTE, rules(fault)));
    save(false)?;
    for (name, _) in SIZES {
        let probe = Request::new(format!("/{name}")).header("x-room", "probe");
        let placed = async || probe.place(scene.gateway()).await.ok();
        wait::until("the backends of all sizes", Duration::from_secs(30), placed).await?;
    }
    save(true)?;
    for (name, _) in SIZES {
        let answered = async || ask(scene.gateway(), name, 8).await.ok();
        wait::until("the faults", Duration::from_secs(30), answered).await?;
    }
    let pid = scene.clew.ready.pid;
    let rounds = alternate(&SIZES, ROUNDS, async |(name, _): &(&str, usize)| {
        cpu_each(pid, REQUESTS, ask(scene.gateway(), name, REQUESTS)).await
    })
    .await?;
    for (arm, bound) in [(2, 1.0), (3, 10.0)] {
        let size = SIZES[arm].1;
        let compared = rounds.difference(arm);
        let nanos = |arm| rounds.median(arm);
        figures.add(Figure {
            id: format!("placement.{size}"),
            what: format!("CPU of placing among {size} pods, more than among 1"),
            value: compared.value / 1000.0,
            unit: "µs",
            bound: Bound::AtMost(bound),
            noise: compared.noise / 1000.0,
            n: (ROUNDS * REQUESTS) as u64,
            control: json!({"one_ns": nanos(0), "one_again_ns": nanos(1), "many_ns": nanos(arm)}),
        });
    }
    Ok(())
}

/// Plain requests, which are placed as upgrades are, of one key, over four connections that stay.
async fn ask(gateway: SocketAddr, name: &str, requests: usize) -> Result<()> {
    let request = get(&format!("/{name}"), false, Some(("x-room", "the-one-key")));
    let one = || pipeline(gateway, &request, requests / 4, ANSWER);
    tokio::try_join!(one(), one(), one(), one()).map(drop)
}
