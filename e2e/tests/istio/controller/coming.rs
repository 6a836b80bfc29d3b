//! Who comes with a VirtualService and a `consistentHash` of their own, changes over as the guide tells them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::pod::PORT;
use clew_e2e::scene;
use clew_e2e::ws_client::Traffic;
use serde_json::{Value, json};

use super::shop::{Shop, install};
use super::{ISTIO, SOON, alone, condition};

const NAME: &str = "coming";
const SESSIONS: usize = 40;
const KEYS: usize = 300;

/// Two routes of theirs, the first of them for handshakes; and their rule.
fn theirs() -> (Value, Value) {
    let virtual_service = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "chat", "namespace": NAME},
        "spec": {
            "hosts": [format!("{NAME}.example.com")],
            "gateways": ["edge"],
            "http": [
                {
                    "match": [{"uri": {"prefix": "/ws"}}],
                    "route": [{"destination": {"host": "chat", "port": {"number": PORT}}}],
                },
                {"directResponse": {"status": 404}},
            ],
        },
    });
    let rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "chat", "namespace": NAME},
        "spec": {"host": "chat", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "room"}}}},
    });
    (virtual_service, rule)
}

/// How many keys moved, and how many had to when this pod came or went.
fn moved(before: &[String], after: &[String], pod: &str) -> (usize, usize) {
    let pairs = || before.iter().zip(after);
    let had_to = pairs().filter(|(from, to)| from != to && (*from == pod || *to == pod));
    (pairs().filter(|(from, to)| from != to).count(), had_to.count())
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_consistent_hash_already_changes_over_under_open_sessions() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    // What is left of theirs takes everything, so this must be narrower.
    shop.manifest["spec"]["rules"][0]["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/ws"}}]);
    let client = shop.client.clone();
    let (mut virtual_service, rule) = theirs();
    client.apply(&virtual_service).await?;
    client.apply(&rule).await?;
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    let visitors = shop.visitors.clone();
    let on = async |pods: usize| {
        let what = format!("keys are on {pods} pods");
        let are = |placed: &[String]| placed.iter().collect::<BTreeSet<_>>().len() == pods;
        visitors.settled(&what, KEYS, are).await
    };

    let three = on(3).await?;
    shop.add_pod(3).await?;
    let by_istio = moved(&three, &on(4).await?, shop.pods[3].name());
    let talk = Traffic::every(Duration::from_millis(100), 64);
    let early = visitors.sessions(SESSIONS, talk.clone()).await?;

    client.apply(&shop.manifest).await?;
    let conflicted = shop.route.until("theirs is older", |route| {
        condition(route, "Accepted").filter(|(_, reason, _)| reason == "Conflicted")
    });
    let (_, _, message) = conflicted.await?;
    ensure!(
        message.contains("VirtualService coming/chat is older"),
        "{message}"
    );
    virtual_service["spec"]["http"] = json!([{"directResponse": {"status": 404}}]);
    client.apply(&virtual_service).await?;
    shop.programmed().await?;
    visitors.welcome().await?;
    scene::all_answer(&early).await?;
    scene::none_lost(&early)?;

    let four = on(4).await?;
    shop.add_pod(4).await?;
    let five = on(5).await?;
    let joined = moved(&four, &five, shop.pods[4].name());
    let mut late = visitors.sessions(SESSIONS, talk).await?;
    let leaver = shop.pods[4].name().to_owned();
    shop.pods[4].terminate().await?;
    let (mut closed, mut stayed) = (0, 0);
    for session in &mut late {
        if session.served_by == leaver {
            let record = session.ended(SOON).await?;
            ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
            closed += 1;
        } else {
            session.check().await?;
            stayed += 1;
        }
    }
    ensure!(closed > 0 && stayed > 0, "{closed} and {stayed}");
    let left = moved(&five, &on(4).await?, &leaver);
    scene::all_answer(&early).await?;
    println!(
        "{KEYS} keys, moved and had to: a pod joins, by Istio's consistentHash {by_istio:?}, with Clew {joined:?}; leaves {left:?}; \
         {SESSIONS} sessions through the change-over: 0 lost; {closed} of the pod that left: closed with 1012, whole; {stayed} others stayed"
    );
    ensure!(
        by_istio.0 > by_istio.1,
        "the control moves no more than must: {by_istio:?}"
    );
    ensure!(joined.0 == joined.1 && left.0 == left.1, "{joined:?}, {left:?}");
    for object in [&virtual_service, &rule] {
        client.same(object)?.delete().await?;
    }
    shop.close().await
}
