//! The same at a Gateway of Istio's class, whose pods are Istio's agent with its Envoy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::gateway::Gateway;
use clew_e2e::istio::{Istio, namespace};
use clew_e2e::pod::Pod;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Session, Traffic};
use clew_e2e::{controller, scene, standalone, wait};
use serde_json::{Value, json};

use super::owned::Owned;
use super::{KEYS, SESSIONS, at, leaves, many_stray};
use crate::controller::LISTENERS;
use crate::{ALONE, CONTROLLER_PORT, Scene};

/// Where the Gateway is, and its name.
const PARENT: (&str, &str) = ("owned-infra", "own");

fn gateway() -> Value {
    let (namespace, name) = PARENT;
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "gatewayClassName": "istio",
            "addresses": [{"type": "Hostname", "value": format!("{name}.{namespace}.svc.cluster.local")}],
            "listeners": [{
                "name": "http", "protocol": "HTTP", "port": 80,
                "allowedRoutes": {"namespaces": {"from": "All"}},
            }],
        },
    })
}

async fn install(all: &Scene) -> Result<()> {
    let mut command = tokio::process::Command::new(standalone::binary()?);
    command
        .args(["install", "--yes", "--namespace", controller::NAMESPACE])
        .args(["--gateway", &format!("{}/{}", PARENT.0, PARENT.1)])
        .args(["--service", &format!("clew:{CONTROLLER_PORT}")])
        .env("KUBECONFIG", all.cluster.kubeconfig());
    standalone::output(command).await?.success().map(drop)
}

fn rule(namespace: &str, name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"host": host, "trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "3s"}}}},
    })
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_somebodys_route_find_their_pods_through_istio_too() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, client) = crate::scene().await?;
    client.apply(&namespace(PARENT.0)).await?;
    let istio = Istio::start(&all.cluster).await?;
    client.apply(&gateway()).await?;
    let pods = Gateway::start_for(&all.cluster, &istio, PARENT.0, PARENT.1).await?;
    install(all).await?;
    let mut owned = Owned::new(all, "meshed", pods.address, PARENT).await?;
    let (_, strays) = owned.strays(KEYS).await?;
    many_stray(strays)?;
    println!("without a policy: {strays} strays of {}", 2 * KEYS);
    let mut sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(200), 256))
        .await?;
    let listeners = pods.admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");

    let first = owned.policy("first", &["chat"]);
    let applied = owned.apply(&first).await?;
    let ours = applied.get().await?.context("the policy")?;
    ensure!(
        ours["metadata"]["finalizers"][0] == "clew.dev/objects-elsewhere",
        "what it has in another namespace would stay: {ours:#}"
    );
    let placed = owned.sticky(KEYS).await?;
    let (_, strays) = owned.strays(KEYS).await?;
    ensure!(strays == 0, "{strays} keys strayed");
    println!("with one: {KEYS} keys, 3 times: 0 strays");
    owned.plain_http_passes(&placed).await?;

    let second = owned.policy("second", &["chat"]);
    owned.client.apply(&second).await?;
    let said = owned.says(&second, "Accepted", "Conflicted").await?;
    ensure!(said.contains("meshed/first"), "{said}");
    applied.delete().await?;
    applied.gone().await?;
    owned.says(&second, "Programmed", "Programmed").await?;
    let after = owned.sticky(KEYS).await?;
    ensure!(after == placed, "a key moved with the policy that has it");
    owned.refused_edits_take_nothing(&second, &placed).await?;

    let theirs = rule(owned.name, "theirs", "chat");
    owned.client.apply(&theirs).await?;
    let said = owned.says(&second, "Accepted", "Conflicted").await?;
    ensure!(said.contains("meshed/theirs"), "{said}");
    owned.nothing_is_left(&[PARENT.0, owned.name]).await?;
    // What theirs says is what the gateway's cluster has.
    let clusters = "/config_dump?resource=dynamic_active_clusters&name_regex=.*chat.meshed.*";
    wait::until("theirs holds", LONG, async || {
        let clusters = pods.admin.get(clusters).await.ok()?;
        clusters.contains("\"connect_timeout\": \"3s\"").then_some(())
    })
    .await?;
    owned.client.same(&theirs)?.delete().await?;
    owned.says(&second, "Programmed", "Programmed").await?;
    let after = owned.sticky(KEYS).await?;
    ensure!(after == placed, "a key is elsewhere than before");

    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    println!("applied, conflict, takeover, somebody's own: 0 of {SESSIONS} sessions lost");
    drop(sessions);

    // A rule without a name, and one of the same name to another backend, which the policy is not for.
    let mut unnamed = owned.http_route(
        "unnamed",
        "unnamed.",
        &json!([{"name": "chat", "port": clew_e2e::pod::PORT}]),
    );
    unnamed["spec"]["rules"][0]
        .as_object_mut()
        .context("a rule")?
        .remove("name");
    owned.client.apply(&unnamed).await?;
    owned
        .client
        .apply(&clew_e2e::pod::service(owned.name, "game"))
        .await?;
    let _game = Pod::start(&owned.client, owned.name, "game", "meshed-game").await?;
    let game = owned.http_route(
        "game",
        "game.",
        &json!([{"name": "game", "port": clew_e2e::pod::PORT}]),
    );
    owned.client.apply(&game).await?;
    let third = owned.policy("third", &["unnamed"]);
    let third = owned.apply(&third).await?;
    let visitors = at(pods.address, "unnamed.meshed.example.com");
    let after = visitors.settled("keys stay", KEYS, |_| true).await?;
    ensure!(after == placed, "a rule without a name has keys elsewhere");
    let evil = at(pods.address, "game.meshed.example.com");
    let evil_one = evil.request(0).header("origin", "https://evil.example.org");
    ensure!(
        owned.status(&evil_one.clone()).await? == 101,
        "a policy is for a rule that is only called the same"
    );
    third.delete().await?;
    third.gone().await?;

    sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let closed = leaves(&mut owned, &mut sessions).await?;
    println!("{closed} sessions of a deleted pod: all closed with 1012, whole");
    sessions.retain(Session::is_live);
    let object = owned.client.same(&second)?;
    object.delete().await?;
    object.gone().await?;
    owned.nothing_is_left(&[PARENT.0, owned.name]).await?;
    scene::all_answer(&sessions).await?;
    println!("{} sessions when the policy is gone: 0 lost", sessions.len());
    let now = pods.admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    for name in ["chat", "unnamed", "game"] {
        owned
            .client
            .same(&owned.http_route(name, "", &json!([])))?
            .delete()
            .await?;
    }
    owned.client.same(&gateway())?.delete().await
}
