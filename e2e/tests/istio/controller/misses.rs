//! Sessions that Envoy takes elsewhere than they are sent: after a while their keys are left to its own hash.

use anyhow::{Result, ensure};
use clew_e2e::istio;
use clew_e2e::pod::Pod;
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

use super::shop::Shop;
use super::{alone, condition};

/// So many that of three pods most are surely not the one that a session was sent to.
const SESSIONS: usize = 150;
/// What misses are given to end, and then some.
const LONG: Duration = Duration::from_secs(180);

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_whose_sessions_keep_missing_is_left_to_envoys_own_hash_and_the_status_says_so()
-> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "misses").await?;
    let sent = shop.placed(SESSIONS).await?;
    for (wish, pod) in wishes(&shop).await? {
        ensure!(wish == pod.address().to_string(), "{wish} is {}", pod.name());
    }
    // Envoy sends sessions where it likes, as where it knows the pods by other addresses.
    let patch = json!({
        "applyTo": "CLUSTER",
        "match": {"context": "GATEWAY", "cluster": {"service": "chat.misses.svc.cluster.local"}},
        "patch": {"operation": "MERGE", "value": {"lb_policy": "RANDOM"}},
    });
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "misses", "namespace": istio::NAMESPACE},
        "spec": {"configPatches": [patch]},
    });
    shop.client.apply(&filter).await?;
    wait::until("most keys stray", LONG, async || {
        let strayed = shop.visitors.place(SESSIONS).await.ok()?;
        let strayed = strayed.iter().zip(&sent).filter(|(at, sent)| at != sent);
        (strayed.count() * 2 > SESSIONS).then_some(())
    })
    .await?;
    let before = shop.landed(mesh.gateway.admin, "missed").await?;
    let mut strayed = 0;
    let mut sessions = Vec::new();
    for (key, sent) in sent.iter().enumerate() {
        let socket = shop.visitors.request(key).open(shop.visitors.gateway).await?;
        strayed += usize::from(socket.served_by() != *sent);
        sessions.push(socket.session(Traffic::every(Duration::from_secs(1), 64)));
    }
    ensure!(
        strayed * 2 > SESSIONS,
        "{strayed} of {SESSIONS} sessions are elsewhere"
    );
    wait::until("they are counted", LONG, async || {
        let missed = shop.landed(mesh.gateway.admin, "missed").await.ok()?;
        (missed >= before + strayed).then_some(())
    })
    .await?;
    wait::until("the status says where sessions go", LONG, async || {
        let route = shop.route.get().await.ok()??;
        let (_, reason, message) = condition(&route, "PartiallySupported")?;
        (reason == "FieldsIgnored" && message.contains("misses/chat:") && message.contains("consistent hash"))
            .then_some(())
    })
    .await?;
    for session in &sessions {
        session.check().await?;
    }
    drop(sessions);
    shop.client.same(&filter)?.delete().await?;
    let placed = shop.placed(SESSIONS).await?;
    let elsewhere = placed.iter().zip(&sent).filter(|(at, sent)| at != sent);
    let elsewhere = elsewhere.count();
    ensure!(
        elsewhere * 4 > SESSIONS,
        "{elsewhere} of {SESSIONS} keys are elsewhere than the filter would send them"
    );
    for (wish, _) in wishes(&shop).await? {
        ensure!(
            !wish.is_empty() && wish.parse::<SocketAddr>().is_err(),
            "the filter still chooses pods: {wish}"
        );
    }
    ensure!(shop.visitors.place(SESSIONS).await? == placed, "keys strayed");
    println!(
        "{strayed} of {SESSIONS} sessions elsewhere than they were sent: Envoy's own hash of the keys places them, {elsewhere} on other pods than before"
    );
    shop.close().await
}

/// What the filter wished of a session of each key, and where that one was.
async fn wishes(shop: &Shop) -> Result<Vec<(String, &Pod)>> {
    for pod in &shop.pods {
        pod.server.forget();
    }
    shop.visitors.place(SESSIONS).await?;
    let mut wishes = Vec::new();
    for pod in &shop.pods {
        for connection in pod.server.connections() {
            wishes.push((connection.head.header("x-clew-host").unwrap_or_default(), pod));
        }
    }
    ensure!(wishes.len() == SESSIONS, "{} sessions", wishes.len());
    Ok(wishes)
}
