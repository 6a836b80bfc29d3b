//! A gateway of two pods: what each of its proxies does, and what is said of all of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::controller::Controller;
use clew_e2e::gateway::Gateway;
use clew_e2e::statistics::{CHANCE, evenly_spread, peak};
use clew_e2e::visitors::Visitors;
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{process, scene, wait};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::shop::{Shop, install};
use super::{SOON, alone, condition, unprogrammed};
use crate::Mesh;

const NAME: &str = "proxies";
const KEYS: usize = 120;
/// Through each of them.
const SESSIONS: usize = 150;
const DRAIN: Duration = Duration::from_secs(12);
/// What a busy machine may take more.
const LATE: Duration = Duration::from_secs(3);
/// What it leaves at its end to those who do not answer, and what of a second the API server does not say.
const TAIL: Duration = Duration::from_secs(1);
const PODS: [&str; 2] = ["istio-ingressgateway-0", "istio-ingressgateway-1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_two_pods_agrees_on_keys_drains_on_both_and_is_counted_as_it_is() -> Result<()> {
    let (mesh, controller) = alone().await?;
    let controller = controller.as_ref().context("it runs")?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    shop.manifest["spec"]["rules"][0]["drain"] = json!({"timeout": format!("{}s", DRAIN.as_secs())});
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    let another = Gateway::start_another(&mesh.cluster, &mesh.istio).await?;
    let found = two_proxies(mesh, controller, &mut shop, &another).await;
    // Whatever it was: all other sentences know of one.
    another.leave().await?;
    let one = says(&shop, "Programmed", "1 of 1 proxies").await;
    found?;
    one?;
    shop.close().await
}

async fn two_proxies(mesh: &Mesh, controller: &Controller, shop: &mut Shop, another: &Gateway) -> Result<()> {
    says(shop, "Programmed", "2 of 2 proxies").await?;
    let doors = [mesh.gateway.address, another.address].map(|gateway| Visitors {
        gateway,
        ..shop.visitors.clone()
    });
    for door in &doors {
        door.welcome().await?;
    }
    same_pods(&doors).await?;
    let talk = Traffic::every(Duration::from_millis(200), 64);
    let mut ours = doors[0].sessions(SESSIONS, talk.clone()).await?;
    let mut theirs = doors[1].sessions(SESSIONS, talk).await?;
    counted(mesh).await?;
    drained(shop, [&mut ours, &mut theirs]).await?;
    same_pods(&doors).await?;
    for sessions in [&mut ours, &mut theirs] {
        sessions.retain(Session::is_live);
    }
    paused(controller, shop, another, &doors).await?;
    for sessions in [&ours, &theirs] {
        scene::all_answer(sessions).await?;
    }
    killed(shop, another, &mut theirs).await?;
    scene::all_answer(&ours).await
}

/// Waits until the status says this of the newest text.
async fn says(shop: &Shop, reason: &str, message: &str) -> Result<()> {
    let said = |route: &serde_json::Value| {
        let is_of_now = route["status"]["observedGeneration"] == route["metadata"]["generation"];
        let (_, why, what) = condition(route, "Programmed")?;
        (is_of_now && why == reason && what.contains(message)).then_some(())
    };
    shop.route.until(&format!("{reason}: {message}"), said).await
}

/// Each key has one pod, whichever way it comes; and each pod has keys.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn same_pods(doors: &[Visitors; 2]) -> Result<()> {
    let mut differ = KEYS;
    let placed = wait::until("both proxies have the same pods", SOON, async || {
        let [one, other] = [doors[0].place(KEYS).await.ok()?, doors[1].place(KEYS).await.ok()?];
        differ = one.iter().zip(&other).filter(|(a, b)| a != b).count();
        (differ == 0).then_some(one)
    });
    let placed = placed
        .await
        .with_context(|| format!("{differ} of {KEYS} keys differ"))?;
    for _ in 0..2 {
        for door in doors {
            ensure!(
                door.place(KEYS).await? == placed,
                "a key strayed at {}",
                door.gateway
            );
        }
    }
    let pods: std::collections::BTreeSet<_> = placed.iter().collect();
    ensure!(pods.len() > 1, "all are on {pods:?}");
    println!("{KEYS} keys, 3 times through each proxy, on {pods:?}: 0 differ");
    Ok(())
}

/// What is connected is summed over the proxies, and each is named.
async fn counted(mesh: &Mesh) -> Result<()> {
    let kubeconfig = mesh.cluster.kubeconfig();
    let ask = async |command: &str| {
        let asked = clew(&kubeconfig, &[command, "-n", NAME, "-o", "json"]).await;
        asked.ok()?.json().ok()
    };
    wait::until("the sessions of both are counted", SOON, async || {
        (ask("sessions").await?["total"] == 2 * SESSIONS).then_some(())
    })
    .await?;
    let status = ask("status").await.context("no status")?;
    let gateways = status["gateways"].as_array().into_iter().flatten();
    let each: Vec<_> = gateways
        .flat_map(|gateway| gateway["each"].as_array().into_iter().flatten())
        .collect();
    for pod in PODS {
        let called = format!("{pod}.istio-system");
        let is_it = |one: &&&serde_json::Value| one["proxy"] == called;
        let one = each.iter().find(is_it).with_context(|| format!("{status:#}"))?;
        ensure!(
            one["acknowledged"] == true && one["sessions"] == SESSIONS,
            "{one:#}"
        );
    }
    Ok(())
}

/// A deleted pod lets the sessions of both go, evenly over its window.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn drained(shop: &mut Shop, doors: [&mut Vec<Session>; 2]) -> Result<()> {
    let began = Instant::now();
    shop.pods[0].terminate().await?;
    let leaving = shop.pods[0].name();
    let window = (DRAIN - TAIL).as_secs_f64();
    let mut all = Vec::new();
    for (sessions, pod) in doors.into_iter().zip(PODS) {
        let mut closed = Vec::new();
        for session in sessions.iter_mut() {
            if session.served_by != leaving {
                session.check().await.context("who is not on the pod stays")?;
                continue;
            }
            let record = session.ended(SOON).await?;
            let (code, _, at) = record.close.clone().with_context(|| format!("{record:?}"))?;
            ensure!(code == Some(1012) && record.is_whole(), "{record:?}");
            closed.push((at - began).as_secs_f64());
        }
        ensure!(closed.len() > SESSIONS / 6, "{} were on {leaving}", closed.len());
        println!("{pod}: {}", spread(&closed, window)?);
        all.extend(closed);
    }
    println!("both: {}", spread(&all, window)?);
    shop.pods[0].remove().await
}

/// What there is to say of closes that are even, and within their window.
fn spread(closed: &[f64], window: f64) -> Result<String> {
    let last = closed.iter().copied().fold(0.0, f64::max);
    let (distance, p) = evenly_spread(closed.to_vec(), 0.0, window)?;
    let said = format!(
        "{} sessions of a deleted pod closed with 1012, whole, the last {last:.1} s of {DRAIN:?} after that; distance from even {distance:.3}, \
         p = {p:.3}; the busiest second has {} for {:.1} on average",
        closed.len(),
        peak(closed, 1.0),
        closed.len() as f64 / window,
    );
    ensure!(
        last <= (DRAIN + LATE).as_secs_f64() && p > CHANCE,
        "{said}: {closed:?}"
    );
    Ok(said)
}

/// A proxy that sleeps is behind, then unknown, then missed; and where it goes on it has what was said meanwhile.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn paused(
    controller: &Controller,
    shop: &mut Shop,
    another: &Gateway,
    doors: &[Visitors; 2],
) -> Result<()> {
    let others = unprogrammed(controller).await?;
    let envoy = another.envoy()?;
    ensure!(process::signal(envoy, Signal::STOP), "it is gone");
    let began = Instant::now();
    shop.manifest["spec"]["rules"][0]["limits"] = json!({"maxMessageSize": "1Ki"});
    shop.client.apply(&shop.manifest).await?;
    let mut moments = Vec::new();
    for (reason, message, unprogrammed) in [
        ("ProxiesBehind", "1 of 2 proxies", 1.0),
        ("Programmed", "1 of 1 proxies", 0.0),
        ("FilterNotInstalled", "1 of 2 ready pods", 1.0),
    ] {
        says(shop, reason, message).await?;
        counts(controller, others + unprogrammed).await?;
        moments.push(format!("{message} after {:.1} s", began.elapsed().as_secs_f64()));
    }
    says(shop, "FilterNotInstalled", PODS[1]).await?;
    is_limited(&doors[0]).await?;
    ensure!(process::signal(envoy, Signal::CONT), "it is gone");
    let again = Instant::now();
    says(shop, "Programmed", "2 of 2 proxies").await?;
    println!(
        "a proxy that sleeps: {}; 2 of 2 proxies {:.1} s after it goes on",
        moments.join(", "),
        again.elapsed().as_secs_f64()
    );
    counts(controller, others).await?;
    is_limited(&doors[1]).await
}

/// The controller's metrics have so many routes that are not in force everywhere.
async fn counts(controller: &Controller, routes: f64) -> Result<()> {
    let what = format!("{routes} routes are not programmed");
    wait::until(&what, SOON, async || {
        (unprogrammed(controller).await.ok()? == routes).then_some(())
    })
    .await
}

/// A message that was not too large before is.
async fn is_limited(door: &Visitors) -> Result<()> {
    let socket = door.request(0).open(door.gateway).await?;
    let mut session = socket.session(Traffic::every(Duration::from_millis(20), 2 << 10));
    let record = session.ended(SOON).await?;
    ensure!(record.code() == Some(1009), "{record:?}");
    Ok(())
}

/// One that died is counted no more, and its sessions are the only ones that end.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn killed(shop: &Shop, another: &Gateway, sessions: &mut [Session]) -> Result<()> {
    ensure!(process::signal(another.envoy()?, Signal::KILL), "it is gone");
    let began = Instant::now();
    says(shop, "Programmed", "1 of 1 proxies").await?;
    println!(
        "a proxy that was killed: 1 of 1 proxies after {:.1} s; {} sessions ended with it",
        began.elapsed().as_secs_f64(),
        sessions.len()
    );
    for session in sessions {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1006), "{record:?}");
    }
    Ok(())
}
