//! What others have on the mesh for a Service that ours leads to from a gateway: a client there, behind its own sidecar, is treated as before.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Client;
use clew_e2e::echo_server::SERVED_BY;
use clew_e2e::pod::PORT;
use clew_e2e::sidecar::Sidecar;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use clew_e2e::{scene, wait};
use serde_json::{Value, json};

use super::shop::{Shop, install};
use super::{ISTIO, alone, condition};

const NAME: &str = "neighbours";
const USERS: usize = 40;
const KEYS: usize = 60;
/// What their VirtualService marks its answers with.
const THEIRS: &str = "x-theirs";

fn host() -> String {
    format!("chat.{NAME}.svc.cluster.local")
}

/// Their route for the Service's own name, on the mesh, which is what no gateway named means; and their rule for it, by another key than ours. Of two
/// of one second the first by its letters is the older one.
fn theirs() -> (Value, Value) {
    let virtual_service = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "aside", "namespace": NAME},
        "spec": {
            "hosts": ["chat"],
            "http": [{
                "match": [{"uri": {"prefix": "/ws"}}],
                "headers": {"response": {"set": {THEIRS: "1"}}},
                "route": [{"destination": {"host": "chat", "port": {"number": PORT}}}],
            }],
        },
    });
    let rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "theirs", "namespace": NAME},
        "spec": {"host": "chat", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}},
    });
    (virtual_service, rule)
}

/// Somebody on the mesh.
fn visitor(user: usize) -> Request {
    Request::new("/ws?room=1")
        .host(&host())
        .header("x-user", user.to_string())
}

/// The pods of the first users on the mesh, by their route.
async fn placed(sidecar: &Sidecar) -> Result<Vec<String>> {
    let mut by = Vec::new();
    for user in 0..USERS {
        let Answer::Refused(head, _) = visitor(user).plain().send(sidecar.address).await? else {
            anyhow::bail!("a 101");
        };
        ensure!(
            head.header(THEIRS).as_deref() == Some("1"),
            "not by their route: {head:?}"
        );
        by.push(head.header(SERVED_BY).context("nobody")?);
    }
    Ok(by)
}

/// As soon as two looks in a row find the same: each user has one of the three pods.
async fn settled(sidecar: &Sidecar) -> Result<Vec<String>> {
    let settled = wait::until("theirs is in force on the mesh", LONG, async || {
        let (one, two) = (placed(sidecar).await.ok()?, placed(sidecar).await.ok()?);
        let pods: BTreeSet<_> = one.iter().collect();
        (one == two && pods.len() == 3).then_some(one)
    });
    settled.await.with_context(|| sidecar.log())
}

/// Waits until Envoy beside the client has heard of what was written so far: by an object that says so there.
async fn heard(client: &Client, sidecar: &Sidecar, mark: &str) -> Result<()> {
    let entry = json!({
        "apiVersion": ISTIO, "kind": "ServiceEntry", "metadata": {"name": "mark", "namespace": NAME},
        "spec": {
            "hosts": [format!("{mark}.{NAME}.example.org")], "resolution": "STATIC", "location": "MESH_EXTERNAL",
            "ports": [{"number": PORT, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "10.77.0.9"}],
        },
    });
    client.apply(&entry).await?;
    let told = format!("{mark}.{NAME}.example.org");
    wait::until(&format!("the sidecar has heard of {mark}"), LONG, async || {
        let routes = sidecar
            .admin
            .get("/config_dump?resource=dynamic_route_configs")
            .await
            .ok()?;
        routes.contains(&told).then_some(())
    })
    .await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_have_on_the_mesh_for_the_same_service_goes_on_as_it_was() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    let client = shop.client.clone();
    let (mut virtual_service, rule) = theirs();
    client.apply(&virtual_service).await?;
    client.apply(&rule).await?;
    let sidecar = Sidecar::start(&mesh.cluster, &mesh.istio, NAME).await?;
    let before = settled(&sidecar).await?;
    let mut sessions = Vec::new();
    for user in 0..USERS {
        let socket = visitor(user).open(sidecar.address).await?;
        sessions.push(socket.session(Traffic::every(Duration::from_millis(200), 64)));
    }
    let written: Vec<_> = sessions.iter().map(|session| session.served_by.clone()).collect();
    ensure!(written == before, "upgrades go elsewhere than requests");

    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    let by_key = shop.visitors.place(KEYS).await?;
    let unmoved = async |step: &str| {
        heard(&client, &sidecar, step).await?;
        ensure!(
            placed(&sidecar).await? == before,
            "{step}: their requests go elsewhere"
        );
        scene::all_answer(&sessions).await.context(step.to_owned())
    };
    unmoved("rendered").await?;
    let status = shop.route.get().await?.context("the route")?["status"].to_string();
    ensure!(
        !status.contains("aside") && !status.contains("theirs"),
        "they are not in each other's way: {status}"
    );
    for (step, field, value) in [
        ("timeouts", "timeouts", json!({"handshake": "7s"})),
        ("pending", "resilience", json!({"maxPendingHandshakes": 700})),
        (
            "matches",
            "matches",
            json!([{"path": {"type": "PathPrefix", "value": "/ws"}}]),
        ),
    ] {
        shop.manifest["spec"]["rules"][0][field] = value;
        shop.apply_route().await?;
        unmoved(step).await?;
    }

    // Said otherwise; and younger than ours.
    virtual_service["spec"]["gateways"] = json!(["mesh"]);
    client.apply(&virtual_service).await?;
    client.same(&rule)?.delete().await?;
    client.same(&rule)?.gone().await?;
    client.apply(&rule).await?;
    ensure!(
        settled(&sidecar).await? == before,
        "their rule is younger than ours and does not hold"
    );
    unmoved("younger").await?;
    ensure!(shop.visitors.place(KEYS).await? == by_key, "keys moved");

    // At our gateway, with our host, it is in the way, and older.
    let spec = virtual_service["spec"].clone();
    virtual_service["spec"]["gateways"] = json!(["mesh", "edge"]);
    virtual_service["spec"]["hosts"] = json!(["chat", format!("{NAME}.example.com")]);
    client.apply(&virtual_service).await?;
    let (_, _, message) = shop
        .route
        .until("the status names it", |route| {
            condition(route, "Accepted").filter(|(_, reason, _)| reason == "Conflicted")
        })
        .await?;
    ensure!(
        message.contains("VirtualService neighbours/aside is older"),
        "{message}"
    );
    virtual_service["spec"] = spec;
    client.apply(&virtual_service).await?;
    shop.programmed().await?;
    unmoved("apart").await?;

    shop.route.delete().await?;
    shop.route.gone().await?;
    unmoved("deleted").await?;
    scene::none_lost(&sessions)?;
    println!(
        "{USERS} sessions and {USERS} requests a step by a sidecar, ours rendered, edited and deleted: 0 lost, 0 elsewhere"
    );
    for object in [&virtual_service, &rule] {
        let object = client.same(object)?;
        ensure!(object.get().await?.is_some(), "it is gone");
        object.delete().await?;
    }
    shop.deleted_objects().await
}
