//! The API server away, the controller killed, two of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::controller::{Controller, NAMESPACE};
use clew_e2e::visitors::LONG;
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::Traffic;
use clew_e2e::{scene, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shop::Shop;
use super::{ISTIO, SOON, alone, leads, metric, second_life_is_quiet, writes};

const KEYS: usize = 60;

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_api_server_and_controller_sessions_stay_and_new_ones_find_their_pods() -> Result<()> {
    let outage = Duration::from_secs(if crate::full() { 120 } else { 20 });
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let mut shop = Shop::open(mesh, "outage").await?;
    let placed = shop.visitors.place(KEYS).await?;
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
    while began.elapsed() < outage {
        ensure!(
            shop.visitors.place(KEYS).await? == placed,
            "keys strayed without controller, after {:?}",
            began.elapsed()
        );
        scene::all_answer(&sessions).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    mesh.cluster.start_api_server().await?;
    controller.ready().await?;
    second_life_is_quiet(controller).await?;
    ensure!(
        shop.visitors.place(KEYS).await? == placed,
        "keys strayed afterwards"
    );
    // Both control planes follow the cluster again; istiod takes its time.
    shop.add_pod(3).await?;
    let joined = shop.pods[3].name().to_owned();
    wait::until("the new pod has its keys", Duration::from_secs(120), async || {
        shop.visitors
            .place(KEYS)
            .await
            .ok()?
            .contains(&joined)
            .then_some(())
    })
    .await?;
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!(
        "{outage:?} without API server, the controller killed meanwhile: {} sessions, 0 lost; {KEYS} keys, 0 strays",
        sessions.len()
    );
    shop.close().await
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
