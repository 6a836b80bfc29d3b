//! The controller killed at every write that a script of changes makes it do: before the API server has it, and after.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Moment, Relay};
use clew_e2e::controller::{Controller, NAMESPACE};
use clew_e2e::istio::namespace;
use clew_e2e::pod::service;
use clew_e2e::ws_client::Traffic;
use clew_e2e::{scene, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::edits::LISTENERS;
use super::shop::Shop;
use super::{ISTIO, SOON, alone, second_life_is_quiet};
use crate::Mesh;

const SESSIONS: usize = 60;
const SHOP: &str = "killed";
const CANARY: &str = "killed-canary";

/// What the script works on.
struct Script {
    shop: Shop,
    /// The pods of the first keys, as long as no pod comes.
    placed: Vec<String>,
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_killed_at_each_write_gets_there_and_loses_no_session() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let relay = Relay::start(&mesh.cluster).await?;
    let mut script = Script::prepare(mesh).await?;
    let sessions = script
        .shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(100), 64))
        .await?;
    let listeners = mesh.gateway.admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");
    let wanted = objects(&script.shop.client).await?;
    move_to(mesh, controller, &relay.kubeconfig).await?;
    second_life_is_quiet(controller).await?;

    // In each step of the script it dies before and after each write that the step makes it do.
    let client = script.shop.client.clone();
    let mut kills = Vec::new();
    let began = std::time::Instant::now();
    relay.strike_anywhere(controller.pid()).await;
    {
        let running = pin!(script.run(&relay));
        let dying = async {
            loop {
                let write = relay.struck().await?;
                controller.end(SOON).await?;
                println!("{:.1} s: {write}", began.elapsed().as_secs_f64());
                kills.push(write);
                inherit(&client).await?;
                controller.launch_again(&mesh.cluster)?;
                relay.strike_anywhere(controller.pid()).await;
            }
            #[expect(unreachable_code, reason = "it says what the block is")]
            Ok::<(), anyhow::Error>(())
        };
        tokio::select! {
            ran = running => ran?,
            failed = dying => failed?,
        }
    }
    println!("killed at {} points, every step reached", kills.len());
    scene::all_answer(&sessions).await?;
    ensure!(kills.len() > 20, "nothing to kill it at: {kills:?}");
    same(&wanted, &objects(&script.shop.client).await?)?;

    if crate::full() {
        relay.spare().await;
        script.run(&relay).await?;
        let writes = relay.writes().await;
        println!("the script makes {writes} writes");
        for at in 0..writes {
            for moment in [Moment::Before, Moment::After] {
                let what = format!("killed at write {at} of {writes}, {moment:?}");
                killed_once(mesh, controller, &relay, &mut script, (at, moment))
                    .await
                    .with_context(|| what.clone())?;
                same(&wanted, &objects(&script.shop.client).await?).context(what)?;
                scene::none_lost(&sessions)?;
            }
        }
    }
    let now = mesh.gateway.admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    scene::all_answer(&sessions).await?;
    println!("{SESSIONS} sessions through it all: 0 lost, no listener touched");
    relay.spare().await;
    move_to(mesh, controller, &controller.own.clone()).await?;
    script.shop.close().await
}

/// Runs the script with one kill in it.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn killed_once(
    mesh: &Mesh,
    controller: &mut Controller,
    relay: &Relay,
    script: &mut Script,
    (at, moment): (usize, Moment),
) -> Result<()> {
    let client = script.shop.client.clone();
    relay.strike(at, moment, controller.pid()).await;
    let dying = async {
        let write = relay.struck().await?;
        controller.end(SOON).await?;
        inherit(&client).await?;
        relay.spare().await;
        controller.start_again(&mesh.cluster).await?;
        Ok::<_, anyhow::Error>(Some(write))
    };
    let mut dying = pin!(dying);
    let mut killed = None;
    {
        let mut running = pin!(script.run(relay));
        loop {
            tokio::select! {
                ran = &mut running => break ran?,
                write = &mut dying, if killed.is_none() => killed = write?,
            }
        }
    }
    match killed {
        Some(write) => println!("write {at}, {moment:?} {write}: reached"),
        // Writes of one moment can come together in another order, or as one.
        None => println!("write {at}, {moment:?}: the script ended before it"),
    }
    Ok(())
}

/// The Lease is free: nobody need wait until it has run out, as it does when its holder was killed.
async fn inherit(client: &Client) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "clew-controller", "namespace": NAMESPACE},
        "spec": {"holderIdentity": ""},
    });
    client.apply(&lease).await?;
    Ok(())
}

/// Ends the controller in order, and starts it with another way to the API server.
pub(super) async fn move_to(
    mesh: &Mesh,
    controller: &mut Controller,
    kubeconfig: &std::path::Path,
) -> Result<()> {
    controller.signal(Signal::TERM)?;
    ensure!(controller.end(SOON).await? == 0, "{}", controller.log());
    kubeconfig.clone_into(&mut controller.kubeconfig);
    controller.start_again(&mesh.cluster).await
}

impl Script {
    async fn prepare(mesh: &Mesh) -> Result<Self> {
        let shop = Shop::open(mesh, SHOP).await?;
        let client = &shop.client;
        client.apply(&namespace(CANARY)).await?;
        client.apply(&service(CANARY, "chat")).await?;
        client
            .apply(&json!({
                "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
                "metadata": {"name": "routes", "namespace": CANARY},
                "spec": {
                    "from": [{"group": "clew.dev", "kind": "WebSocketRoute", "namespace": SHOP}],
                    "to": [{"group": "", "kind": "Service"}],
                },
            }))
            .await?;
        let placed = shop.visitors.place(SESSIONS).await?;
        Ok(Self { shop, placed })
    }

    /// From the route as it is back to it: edited, given a backend elsewhere, with a pod more and again
    /// without, deleted, and applied anew.
    async fn run(&mut self, relay: &Relay) -> Result<()> {
        let first = self.shop.manifest.clone();
        let rule =
            |shop: &mut Shop, field: &str, value: Value| shop.manifest["spec"]["rules"][0][field] = value;
        rule(&mut self.shop, "timeouts", json!({"handshake": "7s"}));
        self.applied("edited").await?;
        relay.forget().await;
        let elsewhere = json!({"name": "chat", "namespace": CANARY, "port": 8080, "weight": 0});
        let here = first["spec"]["rules"][0]["backendRefs"][0].clone();
        rule(&mut self.shop, "backendRefs", json!([here, elsewhere]));
        self.applied("with a backend elsewhere").await?;
        relay.forget().await;
        self.shop.manifest = first;
        self.applied("as it was").await?;
        self.shop
            .client
            .object(ISTIO, "DestinationRule", CANARY, "chat-clew")
            .gone()
            .await?;
        self.shop
            .route
            .until("nothing holds it", |route| {
                route["metadata"]["finalizers"].is_null().then_some(())
            })
            .await?;

        relay.forget().await;
        let mut pod = self.shop.pod(3).await?;
        let joined = pod.name().to_owned();
        self.shop
            .visitors
            .settled("a pod that comes gets keys", SESSIONS, |placed| {
                placed.contains(&joined)
            })
            .await?;
        pod.terminate().await?;
        let placed = self.placed.clone();
        self.shop
            .visitors
            .settled("a pod that leaves gives them back", SESSIONS, |now| now == placed)
            .await?;
        pod.remove().await?;

        self.shop.deleted().await?;
        relay.forget().await;
        self.applied("again").await
    }

    async fn applied(&self, what: &str) -> Result<()> {
        self.shop.apply_route().await.context(what.to_owned())?;
        let placed = self.shop.visitors.place(SESSIONS).await?;
        ensure!(placed == self.placed, "{what}: keys strayed");
        Ok(())
    }
}

/// What routes have become, without what tells one write from another of the same.
async fn objects(client: &Client) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for namespace in [SHOP, CANARY] {
        for kind in ["virtualservices", "destinationrules"] {
            let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}");
            let list: Value = serde_json::from_str(&client.text(&path).await?)?;
            for object in list["items"].as_array().into_iter().flatten() {
                all.push(json!([
                    kind,
                    object["metadata"]["name"],
                    object["metadata"]["labels"],
                    object["spec"]
                ]));
            }
        }
    }
    Ok(all)
}

fn same(wanted: &[Value], live: &[Value]) -> Result<()> {
    ensure!(wanted.len() >= 2, "nothing was written: {wanted:#?}");
    ensure!(wanted == live, "{live:#?} is not {wanted:#?}");
    Ok(())
}

/// A first start makes what is made once: never twice, wherever it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_is_killed_at_each_write_makes_one_seed_and_one_key() -> Result<()> {
    const HOME: &str = "killed-first";
    let (mesh, _controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    client.apply(&namespace(HOME)).await?;
    let relay = Relay::start(&mesh.cluster).await?;
    let mut first = Controller::launch(&mesh.cluster, HOME, "first", Some(HOME))?;
    first.signal(Signal::KILL)?;
    first.end(SOON).await?;
    first.kubeconfig.clone_from(&relay.kubeconfig);
    let mut made: Vec<Option<Value>> = Vec::new();
    let secrets = async || {
        let mut all = Vec::new();
        for name in ["clew-signing-keys", "clew-secrets"] {
            let secret = client.object("v1", "Secret", HOME, name).get().await?;
            all.push(secret.map(|secret| secret["data"].clone()));
        }
        Ok::<_, anyhow::Error>(all)
    };
    for life in 0.. {
        let moment = [Moment::Before, Moment::After][life % 2];
        first.launch_again(&mesh.cluster)?;
        relay.strike(0, moment, first.pid()).await;
        let leads = wait::until("it leads, or is killed", SOON, async || {
            super::metric(&first, "clew_controller_leader")
                .await
                .is_ok_and(|leads| leads == 1.0)
                .then_some(())
        });
        let write = tokio::select! {
            led = leads => { led?; None }
            write = relay.struck() => Some(write?),
        };
        let now = secrets().await?;
        for (before, now) in std::mem::take(&mut made).iter().zip(&now) {
            ensure!(before.is_none() || before == now, "a Secret was made twice");
        }
        made = now;
        let Some(write) = write else { break };
        first.end(SOON).await?;
        ensure!(life < 8, "still writing: {write}");
        // Two Secrets and a Lease, each before and after.
        ensure!(life < 6 || moment == Moment::Before, "{life} lives, and {write}");
    }
    ensure!(made.iter().all(Option::is_some), "{made:?}");
    Ok(())
}
