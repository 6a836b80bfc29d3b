//! The API server away, the controller killed, two of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::controller::{Controller, NAMESPACE};
use clew_e2e::visitors::LONG;
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{scene, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shop::{Shop, install};
use super::{ISTIO, SOON, alone, leads, metric, second_life_is_quiet, writes};

const KEYS: usize = 60;
/// Until the keys of a pod that dies are answered by others.
const DEATH: Duration = Duration::from_secs(10);

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_api_server_and_controller_sessions_stay_and_new_ones_find_their_pods() -> Result<()> {
    let outage = Duration::from_secs(if crate::full() { 120 } else { 20 });
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let mut shop = Shop::closed(mesh, "outage").await?;
    // Nobody takes the endpoint of a dead pod away.
    shop.manifest["spec"]["rules"][0]["resilience"] = json!({"connectRetries": 2});
    install(&mesh.cluster, "outage", &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    let placed = shop.placed(KEYS).await?;
    let sessions = shop
        .visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(100), 64))
        .await?;
    mesh.cluster.stop_api_server();
    ensure!(
        shop.visitors.place(KEYS).await? == placed,
        "keys strayed without API server"
    );
    controller.signal(Signal::KILL)?;
    controller.end(SOON).await?;
    // It waits for the API server, and so do pods that come.
    controller.launch_again(&mesh.cluster)?;
    let began = Instant::now();
    while began.elapsed() < outage / 2 {
        ensure!(
            shop.visitors.place(KEYS).await? == placed,
            "keys strayed without controller, after {:?}",
            began.elapsed()
        );
        scene::all_answer(&sessions).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sessions = one_dies(&shop, &placed, sessions, began + outage).await?;
    mesh.cluster.start_api_server().await?;
    controller.ready().await?;
    second_life_is_quiet(controller).await?;
    // Both control planes follow the cluster again; istiod takes its time.
    let dead = shop.pods[0].name().to_owned();
    shop.pods[0].remove().await?;
    let left: BTreeSet<_> = shop.pods[1..].iter().map(|pod| pod.name().to_owned()).collect();
    let is_dealt_out = |now: &[String]| {
        let its = placed.iter().zip(now).filter(|(before, _)| **before == dead);
        its.map(|(_, now)| now.clone()).collect::<BTreeSet<_>>() == left
    };
    let without = shop
        .visitors
        .settled("the dead pod's keys are dealt out", KEYS, is_dealt_out)
        .await?;
    ensure!(strays(&placed, &without, &dead) == 0, "keys strayed afterwards");
    shop.add_pod(3).await?;
    let joined = shop.pods[3].name().to_owned();
    let with = shop
        .visitors
        .settled("the new pod has its keys", KEYS, |now| now.contains(&joined))
        .await?;
    ensure!(
        strays(&with, &without, &joined) == 0,
        "keys strayed with a new pod"
    );
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!(
        "{outage:?} without API server, the controller killed meanwhile: {} sessions on pods that live, 0 lost; {KEYS} keys, 0 strays",
        sessions.len()
    );
    shop.close().await
}

/// Of three pods one dies, and nobody takes its endpoint away: its sessions end, and its keys have other pods at once. The sessions that are left.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn one_dies(
    shop: &Shop,
    placed: &[String],
    sessions: Vec<Session>,
    until: Instant,
) -> Result<Vec<Session>> {
    let dead = shop.pods[0].name();
    let its: Vec<_> = (0..KEYS).filter(|key| placed[*key] == dead).collect();
    let died = Instant::now();
    shop.pods[0].server.die();
    wait::until("its keys are answered elsewhere", SOON, async || {
        let asked = shop.visitors.ask_all(its.iter().copied()).await.ok()?;
        asked
            .iter()
            .all(|one| one.status == 101 && one.by != dead)
            .then_some(())
    })
    .await?;
    let elsewhere = died.elapsed();
    ensure!(elsewhere < DEATH, "its keys wait for {elsewhere:?}");
    let (ending, sessions): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.served_by == dead);
    for mut session in ending {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1006), "{record:?}");
    }
    let (mut longest, mut before) = (Duration::ZERO, None);
    while Instant::now() < until {
        let asked = shop.visitors.ask_all(0..KEYS).await?;
        let refused = asked.iter().find(|one| one.status != 101);
        ensure!(refused.is_none(), "{refused:?}");
        longest = asked.iter().map(|one| one.after).fold(longest, Duration::max);
        let now: Vec<_> = asked.into_iter().map(|one| one.by).collect();
        ensure!(strays(placed, &now, dead) == 0, "keys of others strayed: {now:?}");
        let before = before.get_or_insert_with(|| now.clone());
        ensure!(*before == now, "its keys stray: {now:?}");
        scene::all_answer(&sessions).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!(
        "a pod dies without API server: its {} keys are answered elsewhere after {elsewhere:?}, no handshake waits for more than {longest:?}",
        its.len(),
    );
    Ok(sessions)
}

/// How many keys are on other pods than before, but for those that were on this one.
fn strays(before: &[String], after: &[String], but: &str) -> usize {
    let others = before.iter().zip(after).filter(|(before, _)| *before != but);
    others.filter(|(before, after)| before != after).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_controllers_one_writes_and_who_slept_past_its_lease_writes_no_more() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let first = controller.as_mut().context("a controller")?;
    let mut shop = Shop::open(mesh, "replicas").await?;
    leads(first).await?;
    let mut second = Controller::start(&mesh.cluster, "clew-1").await?;
    // Proxies poll now one and now the other.
    let placed = shop.visitors.place(KEYS).await?;
    let sessions = shop
        .visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(100), 64))
        .await?;
    ensure!(
        metric(&second, "clew_controller_leader").await? == 0.0,
        "both lead"
    );
    let admin = &mesh.cluster.kubeconfig();
    both_are_asked(admin, &["2 replicas of the controller answer"], "clew-0_").await?;
    let before = writes(first).await?;
    first.signal(Signal::STOP)?;
    leads(&second).await?;
    let who_sleeps = [
        "1 replicas of the controller answer",
        "replica clew-0 does not answer",
    ];
    both_are_asked(admin, &who_sleeps, "clew-1_").await?;
    shop.manifest["spec"]["rules"][0]["timeouts"] = json!({"handshake": "7s"});
    shop.client.apply(&shop.manifest).await?;
    let route_has_it = |live: &serde_json::Value| (live["spec"]["http"][0]["timeout"] == "7s").then_some(());
    let generated = shop.route.get().await?.context("the route")?["status"]["generated"].clone();
    let name = generated
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["kind"] == "VirtualService");
    let name = name
        .and_then(|one| one["name"].as_str())
        .context("a VirtualService")?;
    let virtual_service = shop.client.object(ISTIO, "VirtualService", "replicas", name);
    virtual_service
        .until("the other one writes", route_has_it)
        .await?;
    first.signal(Signal::CONT)?;
    wait::until("it has noticed", SOON, async || {
        (metric(first, "clew_controller_leader").await.ok()? == 0.0).then_some(())
    })
    .await?;
    ensure!(writes(first).await? == before, "it wrote past its lease");
    ensure!(shop.visitors.place(KEYS).await? == placed, "keys strayed");
    second.signal(Signal::TERM)?;
    ensure!(second.end(SOON).await? == 0, "{}", second.log());
    shop.client
        .object("discovery.k8s.io/v1", "EndpointSlice", NAMESPACE, "clew-1")
        .delete()
        .await?;
    leads(first).await?;
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    shop.close().await
}

/// However the proxies are spread over the replicas, those that answer know each session, and know it once; one proxy is one; and `clew check` says who
/// answers and who writes.
async fn both_are_asked(admin: &Path, says: &[&str], writes: &str) -> Result<()> {
    let mut last = None;
    let whole = wait::until("the sessions are seen whole", LONG, async || {
        let said = clew(admin, &["sessions", "-n", "replicas", "-o", "json"]).await;
        let said = said.ok()?;
        let total = said.json().ok().map(|said| said["total"].clone());
        last = Some(said);
        (total? == KEYS).then_some(())
    });
    whole.await.with_context(|| format!("{last:?}"))?;
    // A proxy may be on its way from one that sleeps; but it is never two.
    let mut said = Value::Null;
    let found = wait::until("one proxy is one", LONG, async || {
        let status = clew(admin, &["status", "-n", "replicas", "-o", "json"]).await;
        said = status.ok()?.json().ok()?;
        let proxies = said["gateways"][0]["each"].as_array()?;
        match &proxies[..] {
            [] => None,
            [one] => (one["acknowledged"] == true).then_some(Ok(())),
            several => Some(Err(anyhow::anyhow!("{several:#?}"))),
        }
    });
    found.await.with_context(|| format!("{said:#}"))??;
    let checked = clew(admin, &["check"]).await?;
    for what in says {
        ensure!(checked.stdout.contains(what), "{what}: {checked:?}");
    }
    let mut lines = checked.stdout.lines();
    ensure!(
        lines.any(|line| line.contains(writes) && line.contains("holds the Lease and writes")),
        "{checked:?}"
    );
    Ok(())
}
