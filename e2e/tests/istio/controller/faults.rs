//! The API server away, the controller killed, two of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Act, Client, Cluster, Object, Relay};
use clew_e2e::controller::{Controller, NAMESPACE};
use clew_e2e::envoy::Admin;
use clew_e2e::visitors::LONG;
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{scene, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::killed::move_to;
use super::shop::{Shop, install};
use super::{ISTIO, SOON, alone, leads, metric, second_life_is_quiet, writes};

const KEYS: usize = 60;
/// Of the shop with two controllers.
const NAME: &str = "replicas";
/// As the route there says, and how often somebody says otherwise.
const WANTED: &str = "7s";
const EDITS: usize = 5;
/// Until the keys of a pod that dies are answered by others.
const DEATH: Duration = Duration::from_secs(10);
/// Until a proxy asks another replica than the one that has ceased to answer: some polls may go to others first, which take 2 s as long as they wait for the
/// one that leads.
const GIVES_UP: Duration = Duration::from_secs(29);

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
    let everywhere = |placed: &[String]| {
        let mut pods = shop.pods.iter();
        pods.all(|pod| placed.iter().any(|name| name == pod.name()))
    };
    let placed = shop
        .visitors
        .settled("each key has one pod", KEYS, everywhere)
        .await?;
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

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_controllers_one_writes_and_who_slept_past_its_lease_writes_no_more() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let first = controller.as_mut().context("a controller")?;
    // Here it can be kept from hearing of the Lease.
    let relay = Relay::start_as(&mesh.cluster, &first.own).await?;
    move_to(mesh, first, &relay.kubeconfig).await?;
    leads(first).await?;
    let mut shop = Shop::open(mesh, NAME).await?;
    let token = who_leads(&mesh.cluster)?;
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
    let asleep_from = mesh.cluster.acts(NAMESPACE)?.len();
    let given_up = given_up(&mesh.gateway.admin, first).await?;
    leads(&second).await?;
    let who_sleeps = [
        "1 replica of the controller answers",
        "replica clew-0 does not answer",
    ];
    both_are_asked(admin, &who_sleeps, "clew-1_").await?;
    shop.manifest["spec"]["rules"][0]["timeouts"] = json!({"handshake": WANTED});
    shop.client.apply(&shop.manifest).await?;
    let by_hand = ByHand::of(&shop).await?;
    by_hand.repaired().await?;

    relay.hold_leases(true);
    second.signal(Signal::STOP)?;
    wakes_alone(first, &by_hand).await?;
    // Both see the same, and one writes.
    second.signal(Signal::CONT)?;
    by_hand.repaired().await?;
    for edit in 0..EDITS {
        by_hand.edit(edit).await?;
        by_hand.repaired().await?;
    }
    relay.hold_leases(false);
    wait::until("it has noticed", SOON, async || {
        (metric(first, "clew_controller_leader").await.ok()? == 0.0).then_some(())
    })
    .await?;
    ensure!(writes(first).await? == before, "it wrote past its lease");
    let written = written_since(&mesh.cluster, asleep_from)?;
    let (its, others): (Vec<_>, Vec<_>) = written.into_iter().partition(|act| act.token == token);
    ensure!(its.is_empty(), "it wrote past its lease: {its:#?}");
    ensure!(others.len() > EDITS, "not seen: {others:#?}");
    ensure!(shop.visitors.place(KEYS).await? == placed, "keys strayed");

    second.signal(Signal::TERM)?;
    ensure!(second.end(SOON).await? == 0, "{}", second.log());
    shop.client
        .object("discovery.k8s.io/v1", "EndpointSlice", NAMESPACE, "clew-1")
        .delete()
        .await?;
    leads(first).await?;
    // The control: now it does what it did not do.
    let leads_from = mesh.cluster.acts(NAMESPACE)?.len();
    by_hand.edit(0).await?;
    by_hand.repaired().await?;
    wait::until("the API server says who wrote", SOON, async || {
        let written = written_since(&mesh.cluster, leads_from).ok()?;
        written.iter().any(|act| act.token == token).then_some(())
    })
    .await?;
    println!(
        "asleep, given up on by a proxy after {given_up:?}; past its lease, {EDITS} edits by hand that it alone saw, {EDITS} that both saw: {} writes in the API server's log, 0 of its",
        others.len(),
    );
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    move_to(mesh, first, &first.own.clone()).await?;
    shop.close().await
}

/// Puts this one to sleep, and waits until a proxy has ceased to wait for its answer, and asks another.
async fn given_up(proxy: &Admin, sleeper: &Controller) -> Result<Duration> {
    let timeouts = format!("::{}::rq_timeout::", sleeper.address);
    let count = async || -> Result<u64> {
        let clusters = proxy.get("/clusters").await?;
        let counts = clusters.lines().filter_map(|line| line.split_once(&timeouts));
        Ok(counts.filter_map(|(_, count)| count.parse::<u64>().ok()).sum())
    };
    let before = count().await?;
    sleeper.signal(Signal::STOP)?;
    let asleep_since = Instant::now();
    wait::until("a proxy asks another", GIVES_UP, async || {
        (count().await.ok()? > before).then_some(())
    })
    .await?;
    Ok(asleep_since.elapsed())
}

/// Nobody else is awake, and it hears nothing of the Lease: it sees what it would mend, and lets it be.
async fn wakes_alone(sleeper: &Controller, by_hand: &ByHand<'_>) -> Result<()> {
    by_hand.edit(EDITS).await?;
    sleeper.signal(Signal::CONT)?;
    for edit in 0..EDITS {
        wait::until("it is done with what was before", SOON, async || {
            (metric(sleeper, "workqueue_depth").await.ok()? == 0.0).then_some(())
        })
        .await?;
        let before = turns(sleeper).await?;
        by_hand.edit(edit).await?;
        wait::until("it has seen that", SOON, async || {
            let waiting = metric(sleeper, "workqueue_depth").await.ok()?;
            (turns(sleeper).await.ok()? > before && waiting == 0.0).then_some(())
        })
        .await?;
        ensure!(by_hand.is(edit).await?, "it wrote past its lease");
    }
    Ok(())
}

/// What a route's handshake timeout has become, for somebody who changes it.
struct ByHand<'s> {
    client: &'s Client,
    virtual_service: Object,
}

impl<'s> ByHand<'s> {
    async fn of(shop: &'s Shop) -> Result<Self> {
        let route = shop.route.get().await?.context("the route")?;
        let mut generated = route["status"]["generated"].as_array().into_iter().flatten();
        let name = generated
            .find(|one| one["kind"] == "VirtualService")
            .and_then(|one| one["name"].as_str())
            .context("a VirtualService")?;
        Ok(Self {
            client: &shop.client,
            virtual_service: shop.client.object(ISTIO, "VirtualService", NAME, name),
        })
    }

    async fn edit(&self, edit: usize) -> Result<()> {
        let live = self.virtual_service.get().await?;
        let mut live = live.context("it is there")?;
        let metadata = live["metadata"].as_object_mut().context("metadata")?;
        for field in ["managedFields", "resourceVersion"] {
            metadata.remove(field);
        }
        live["spec"]["http"][0]["timeout"] = json!(timeout(edit));
        self.client.apply(&live).await?;
        Ok(())
    }

    async fn is(&self, edit: usize) -> Result<bool> {
        let live = self.virtual_service.get().await?.context("it is there")?;
        Ok(live["spec"]["http"][0]["timeout"] == timeout(edit))
    }

    async fn repaired(&self) -> Result<()> {
        let is_wanted = |live: &Value| (live["spec"]["http"][0]["timeout"] == WANTED).then_some(());
        self.virtual_service
            .until("it is as the route says", is_wanted)
            .await
    }
}

fn timeout(edit: usize) -> String {
    format!("{}s", 20 + edit)
}

/// The token of who renewed the Lease last.
fn who_leads(cluster: &Cluster) -> Result<String> {
    let acts = cluster.acts(NAMESPACE)?;
    let mut renewals = acts.iter().rev();
    let last = renewals.find(|act| act.resource == "leases" && act.verb == "update" && act.code == 200);
    let token = &last.context("nobody leads")?.token;
    ensure!(!token.is_empty(), "{last:?}");
    Ok(token.clone())
}

/// What the API server says was written in the shop's namespace, but for its first acts.
fn written_since(cluster: &Cluster, from: usize) -> Result<Vec<Act>> {
    let acts = cluster.acts(NAMESPACE)?.into_iter().skip(from);
    let is_write = |act: &Act| act.namespace == NAME && !["get", "list", "watch"].contains(&&*act.verb);
    Ok(acts.filter(is_write).collect())
}

/// How many turns a controller has made.
async fn turns(controller: &Controller) -> Result<f64> {
    metric(controller, "clew_controller_reconcile_total").await
}

/// However the proxies are spread over the replicas, those that answer know each session, and know it once; one proxy is one; and `clew check` says who
/// answers and who writes.
async fn both_are_asked(admin: &Path, says: &[&str], writes: &str) -> Result<()> {
    let mut last = None;
    let whole = wait::until("the sessions are seen whole", LONG, async || {
        let said = clew(admin, &["sessions", "-n", NAME, "-o", "json"]).await;
        let said = said.ok()?;
        let total = said.json().ok().map(|said| said["total"].clone());
        last = Some(said);
        (total? == KEYS).then_some(())
    });
    whole.await.with_context(|| format!("{last:?}"))?;
    // A proxy may be on its way from one that sleeps; but it is never two.
    let mut said = Value::Null;
    let found = wait::until("one proxy is one", LONG, async || {
        let status = clew(admin, &["status", "-n", NAME, "-o", "json"]).await;
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
