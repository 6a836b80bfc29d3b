//! A mesh's tools on handshakes through istiod, each beside what happens without it, under sessions that notice none of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::echo_server::SERVED_BY;
use clew_e2e::pod::PORT;
use clew_e2e::tools::{Bench, KEYS};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use clew_e2e::{scene, wait};
use futures_util::future::join_all;
use serde_json::json;

use super::edits::LISTENERS;
use super::shop::{Shop, install};
use super::{ISTIO, alone};
use crate::Mesh;

const NAME: &str = "tools";
const SESSIONS: usize = 40;

/// Whom no tool may disturb.
struct Bystanders<'m> {
    mesh: &'m Mesh,
    sessions: Vec<Session>,
    listeners: BTreeMap<String, u64>,
}

impl Bystanders<'_> {
    #[expect(
        clippy::print_stdout,
        reason = "what a test measured belongs beside its verdict"
    )]
    async fn unmoved(&self, said: &str) -> Result<()> {
        println!("{said}");
        scene::all_answer(&self.sessions).await.context(said.to_owned())?;
        let now = self.mesh.gateway.admin.stats(LISTENERS).await?;
        ensure!(now == self.listeners, "{said}: a listener changed: {now:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_of_a_route_are_for_handshakes_through_istiod_and_leave_sessions_alone() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    // Who comes first is tried first.
    theirs(&shop).await?;
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    let bystanders = Bystanders {
        mesh,
        sessions: shop
            .visitors
            .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
            .await?,
        listeners: mesh.gateway.admin.stats(LISTENERS).await?,
    };
    ensure!(!bystanders.listeners.is_empty(), "nothing is counted");
    let mut bench = Bench {
        placed: shop.visitors.place(KEYS).await?,
        visitors: &shop.visitors,
        pods: &mut shop.pods,
        client: &shop.client,
        route: &shop.route,
        manifest: shop.manifest.clone(),
    };
    bystanders.unmoved(&their_timeout(&bench).await?).await?;
    bystanders.unmoved(&bench.timeouts().await?).await?;
    bystanders.unmoved(&faults(&mut bench).await?).await?;
    bystanders.unmoved(&bench.outliers().await?).await?;
    bystanders.unmoved(&their_outliers(&bench).await?).await?;
    bystanders.unmoved(&bench.retries().await?).await?;
    bystanders.unmoved(&bench.limits().await?).await?;

    let records: Vec<_> = bystanders.sessions.iter().map(Session::record).collect();
    let sum = |of: fn(&clew_e2e::ws_client::Record) -> u64| records.iter().map(of).sum::<u64>();
    let counted = format!(
        "{SESSIONS} sessions all along: sent {}, got {}, lost {}, doubled or out of order {}; no listener touched",
        sum(|record| record.sent),
        sum(|record| record.echoes.received),
        sum(|record| record.echoes.missing),
        sum(|record| record.echoes.repeated),
    );
    bystanders.unmoved(&counted).await?;
    drop(bystanders);
    for kind in ["VirtualService", "DestinationRule"] {
        shop.client.object(ISTIO, kind, NAME, "theirs").delete().await?;
    }
    shop.close().await
}

/// The same Service at the same gateway, by a VirtualService and a DestinationRule as people write them.
async fn theirs(shop: &Shop) -> Result<()> {
    let host = format!("chat.{NAME}.svc.cluster.local");
    let hash = json!({"consistentHash": {"httpQueryParameterName": "room", "maglev": {}}});
    let outlier = json!({"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "60s", "maxEjectionPercent": 50});
    let rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "theirs", "namespace": NAME},
        "spec": {"host": host, "trafficPolicy": {"loadBalancer": hash, "outlierDetection": outlier}},
    });
    let virtual_service = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "theirs", "namespace": NAME},
        "spec": {
            "hosts": [format!("{NAME}.example.com")], "gateways": ["edge"],
            "http": [{
                "match": [{"uri": {"prefix": "/theirs"}}],
                "timeout": "1s",
                "route": [{"destination": {"host": host, "port": {"number": PORT}}}],
            }],
        },
    });
    shop.client.apply(&rule).await?;
    shop.client.apply(&virtual_service).await?;
    Ok(())
}

fn to_theirs(visitors: &Visitors, key: usize) -> Request {
    Request::new(format!("/theirs?room={key}")).host(&visitors.host)
}

/// Istio's own timeout is one of handshakes, too.
async fn their_timeout(bench: &Bench<'_>) -> Result<String> {
    let socket = to_theirs(bench.visitors, 1).open(bench.visitors.gateway).await?;
    let session = socket.session(Traffic::every(Duration::from_millis(50), 64));
    let old = || session.opened.elapsed() > Duration::from_secs(3);
    wait::until_true("a session is three times as old", LONG, old).await?;
    session.check().await?;
    Ok("a session of Istio's own route outlives its timeout of 1s".to_owned())
}

async fn faults(bench: &mut Bench<'_>) -> Result<String> {
    const LATE: Duration = Duration::from_millis(450);
    const ASKED: usize = 300;
    let refused =
        |outcomes: &[clew_e2e::visitors::Outcome]| outcomes.iter().filter(|one| one.status == 555).count();
    let opened =
        |outcomes: &[clew_e2e::visitors::Outcome]| outcomes.iter().filter(|one| one.status == 101).count();
    let before = bench.visitors.ask_all(0..ASKED).await?;
    ensure!(opened(&before) == ASKED, "the control");
    let fault =
        json!({"abort": {"percent": 20, "status": 555}, "delay": {"percent": 20, "duration": "500ms"}});
    bench.say(&json!({"resilience": {"fault": fault}})).await?;
    wait::until("faults are injected", LONG, async || {
        let outcomes = bench.visitors.ask_all(0..16).await.ok()?;
        (refused(&outcomes) > 0).then_some(())
    })
    .await?;
    let outcomes = bench.visitors.ask_all(0..ASKED).await?;
    let late = outcomes.iter().filter(|one| one.after > LATE).count();
    let refused = refused(&outcomes);
    ensure!(refused + opened(&outcomes) == ASKED, "something else");
    // Five standard deviations from sixty.
    ensure!(
        (25..=95).contains(&refused) && (25..=95).contains(&late),
        "{refused} refused and {late} held back"
    );
    bench.say(&json!({})).await?;
    bench.at_home().await?;
    Ok(format!(
        "{ASKED} handshakes: {refused} refused and {late} held back on purpose, of 20% each"
    ))
}

/// Where Istio's own rule counts them, sessions that end eject healthy pods.
async fn their_outliers(bench: &Bench<'_>) -> Result<String> {
    let before = wait::until("each key has one pod by theirs", LONG, async || {
        let one = their_place(bench.visitors).await.ok()?;
        let two = their_place(bench.visitors).await.ok()?;
        (one == two && bench.placed.iter().all(|pod| one.contains(pod))).then_some(one)
    })
    .await?;
    bench.end_all(|key| to_theirs(bench.visitors, key)).await?;
    let after = their_place(bench.visitors).await?;
    let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    ensure!(moved > 0, "the control: none of their pods was ejected");
    Ok(format!(
        "{KEYS} sessions ended by their servers, by Istio's own outlierDetection: {moved} keys moved"
    ))
}

/// Asked by plain requests: the end of a session would count.
async fn their_place(visitors: &Visitors) -> Result<Vec<String>> {
    let asked = (0..KEYS).map(async |key| {
        let answer = to_theirs(visitors, key).plain().send(visitors.gateway).await?;
        let Answer::Refused(head, _) = answer else {
            anyhow::bail!("a 101");
        };
        Ok(head.header(SERVED_BY).unwrap_or_default())
    });
    join_all(asked).await.into_iter().collect()
}
