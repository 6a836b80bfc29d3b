//! What a placement costs by how many pods there are: the difference between placing among many and among one, everything
//! else equal. Envoy itself answers, by a fault behind the filter, so that little else is done for a request; it has one
//! worker, of which only the CPU time counts; and the arms take short turns, so that what drifts hits all of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::manifests::{self, Pod};
use clew_e2e::process::Thread;
use clew_e2e::requests::{Volley, get};
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::Request;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::arms::{Compared, alternate};
use crate::cost::keyed;

const CONNECTIONS: usize = 32;
/// On each connection.
const REQUESTS: usize = 12;
/// What the turn of another arm has left in the caches is gone after these.
const WARM: usize = 3;
const ROUNDS: usize = 400;
/// Names of equal length, with how many pods each has. The first two are the control, twice.
const SIZES: [(&str, usize); 4] = [("one-a", 1), ("one-b", 1), ("ten-a", 10), ("thous", 1000)];
const ANSWER: u16 = 429;

/// For each size a rule that Envoy answers, and one that leads to the pods.
fn rules() -> Value {
    let mut answered = keyed();
    answered["resilience"] = json!({"fault": {"abort": {"percent": 100, "status": ANSWER}}});
    let of_size = |(name, _): (&str, _)| {
        let open = format!("open-{name}");
        [
            manifests::rule(name, &format!("/{name}"), name, PORT, answered.clone()),
            manifests::rule(&open, &format!("/{open}"), name, PORT, keyed()),
        ]
    };
    let rooms = manifests::rule("rooms", "/ws", SERVICE, PORT, keyed());
    SIZES.into_iter().flat_map(of_size).chain([rooms]).collect()
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
    scene.folder.put("route", &manifests::route(ROUTE, rules()))?;
    let reached = async |gateway, name: &str| {
        let request = Request::new(format!("/open-{name}")).header("x-room", "the-one-key");
        let pod = request.place(gateway).await.ok()?;
        let server = servers.iter().find(|server| server.name() == pod)?;
        let wish = server.connections().last()?.head.header("x-clew-host");
        (wish? == server.address().to_string()).then_some(())
    };
    let known = "the pods of each size are known";
    for (name, _) in SIZES {
        wait::until(known, Duration::from_secs(60), async || {
            reached(scene.gateway(), name).await
        })
        .await?;
    }
    let envoy = PlainEnvoy::beside(scene.state.path(), Some(&scene.state.module()?), 1).await?;
    for (name, _) in SIZES {
        wait::until(known, Duration::from_secs(60), async || {
            reached(envoy.gateway, name).await
        })
        .await?;
    }

    let worker = Thread::named(envoy.pid, "wrk:worker_0")?;
    let mut arms = Vec::new();
    for (name, _) in SIZES {
        // Plain requests, which are placed as upgrades are, of one key.
        let request = get(&format!("/{name}"), false, Some(("x-room", "the-one-key")));
        arms.push(Mutex::new(
            Volley::new(envoy.gateway, CONNECTIONS, request, ANSWER).await?,
        ));
    }
    let rounds = alternate(&arms, ROUNDS, async |arm: &Mutex<Volley>| {
        let mut arm = arm.lock().await;
        arm.ask(WARM).await?;
        let before = worker.cpu_nanos().await?;
        arm.ask(REQUESTS).await?;
        Ok((worker.cpu_nanos().await? - before) as f64 / (CONNECTIONS * REQUESTS) as f64)
    })
    .await?;
    let (ten, thousand) = (rounds.difference(2), rounds.difference(3));
    let by_slope = Compared {
        value: (thousand.value - ten.value) / 99.0,
        noise: (thousand.noise + ten.noise) / 99.0,
    };
    let nanos = SIZES.map(|(name, _)| name).into_iter().zip(0..);
    let nanos: serde_json::Map<String, Value> = nanos
        .map(|(name, arm)| (format!("{name}_ns"), rounds.median(arm).into()))
        .collect();
    let mut add = |id: &str, what: &str, compared: Compared, bound: f64| {
        figures.add(Figure {
            id: format!("placement.{id}"),
            what: what.to_owned(),
            value: compared.value / 1000.0,
            unit: "µs",
            bound: Bound::AtMost(bound),
            noise: compared.noise / 1000.0,
            n: (ROUNDS * CONNECTIONS * REQUESTS) as u64,
            control: nanos.clone().into(),
        });
    };
    add("10", "CPU of placing among 10 pods, more than among 1", ten, 1.0);
    let what = "the same by what each pod costs: (1,000 pods − 10 pods) ÷ 99";
    add("10.slope", what, by_slope, 1.0);
    add(
        "1000",
        "CPU of placing among 1,000 pods, more than among 1",
        thousand,
        10.0,
    );
    // The control: a thousand pods must show, or nothing was placed.
    ensure!(
        thousand.value > thousand.noise,
        "a thousand pods cost nothing: {thousand:?}"
    );
    Ok(())
}
