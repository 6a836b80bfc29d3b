//! Sessions that Envoy takes elsewhere than they are sent: after a while their keys are left to its own hash.

use anyhow::{Result, ensure};
use clew_e2e::istio;
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use serde_json::json;
use std::time::Duration;

use super::shop::Shop;
use super::{alone, condition};

const SESSIONS: usize = 60;
/// What misses are given to end, and then some.
const LONG: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_whose_sessions_keep_missing_is_left_to_envoys_own_hash_and_the_status_says_so()
-> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "misses").await?;
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
    wait::until("keys stray", LONG, async || {
        let (one, other) = (
            shop.visitors.place(SESSIONS).await.ok()?,
            shop.visitors.place(SESSIONS).await.ok()?,
        );
        (one != other).then_some(())
    })
    .await?;
    let sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_secs(1), 64))
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
    let placed = shop
        .visitors
        .settled("each key has one pod again", SESSIONS, |placed| {
            shop.pods
                .iter()
                .all(|pod| placed.iter().any(|name| name == pod.name()))
        })
        .await?;
    ensure!(shop.visitors.place(SESSIONS).await? == placed, "keys strayed");
    shop.close().await
}
