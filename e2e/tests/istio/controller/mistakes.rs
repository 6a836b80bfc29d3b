//! What people get wrong, and what becomes of it when they mend it.

use anyhow::{Context, Result, ensure};
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::visitors::LONG;
use clew_e2e::wait;
use clew_e2e::ws_client::Answer;
use serde_json::{Value, json};

use super::shop::Shop;
use super::{alone, condition};

/// Waits until a handshake is answered with this status; and with a 101 by whom.
pub(super) async fn answered(shop: &Shop, status: u16) -> Result<String> {
    let mut last = None;
    wait::until(
        &format!("a handshake is answered with {status}"),
        LONG,
        async || match shop.visitors.request(0).send(shop.visitors.gateway).await.ok()? {
            Answer::Opened(socket) => {
                let by = socket.served_by();
                socket.goodbye().await.ok()?;
                last = Some(format!("101 by {by}"));
                (status == 101).then_some(by)
            }
            Answer::Refused(head, body) => {
                last = Some(format!("{} {}", head.status, String::from_utf8_lossy(&body)));
                (head.status == status).then(String::new)
            }
        },
    )
    .await
    .with_context(|| format!("it is answered with {last:?}"))
}

/// Waits until a route's condition has a reason.
async fn says(shop: &Shop, kind: &str, reason: &str) -> Result<String> {
    let (_, _, message) = shop
        .route
        .until(reason, |route| {
            let is_of_now = route["status"]["observedGeneration"] == route["metadata"]["generation"];
            condition(route, kind).filter(|(_, said, _)| is_of_now && said == reason)
        })
        .await?;
    Ok(message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_elsewhere_is_reached_when_it_is_granted_and_not_before() -> Result<()> {
    const OTHER: &str = "granted-other";
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "granted").await?;
    let client = shop.client.clone();
    client.apply(&namespace(OTHER)).await?;
    client.apply(&service(OTHER, "chat")).await?;
    let _pod = Pod::start(&client, OTHER, "chat", "other-0").await?;
    shop.manifest["spec"]["rules"][0]["backendRefs"] =
        json!([{"name": "chat", "namespace": OTHER, "port": PORT}]);
    client.apply(&shop.manifest).await?;
    let message = says(&shop, "ResolvedRefs", "RefNotPermitted").await?;
    ensure!(message.contains("ReferenceGrant"), "{message}");
    answered(&shop, 500).await?;
    let grant = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": "routes", "namespace": OTHER},
        "spec": {
            "from": [{"group": "clew.dev", "kind": "WebSocketRoute", "namespace": "granted"}],
            "to": [{"group": "", "kind": "Service"}],
        },
    });
    client.apply(&grant).await?;
    says(&shop, "ResolvedRefs", "ResolvedRefs").await?;
    let by = answered(&shop, 101).await?;
    ensure!(by == "other-0", "{by}");
    client.same(&grant)?.delete().await?;
    says(&shop, "ResolvedRefs", "RefNotPermitted").await?;
    answered(&shop, 500).await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_routes_in_conflict_the_older_one_holds_until_it_goes() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "conflict").await?;
    let client = shop.client.clone();
    client.apply(&service("conflict", "younger")).await?;
    let _pod = Pod::start(&client, "conflict", "younger", "younger-0").await?;
    let mut younger = shop.manifest.clone();
    younger["metadata"]["name"] = json!("younger");
    younger["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("younger");
    client.apply(&younger).await?;
    let live = client.same(&younger)?;
    let (_, _, message) = live
        .until("it is refused", |route| {
            condition(route, "Accepted").filter(|(_, reason, _)| reason == "Conflicted")
        })
        .await?;
    ensure!(
        message.contains("conflict/chat"),
        "it does not name the winner: {message}"
    );
    let by = shop.visitors.request(0).place(shop.visitors.gateway).await?;
    ensure!(by.starts_with("conflict-"), "{by} answers");
    shop.route.delete().await?;
    live.until("it takes over", |route| {
        condition(route, "Programmed").filter(|(status, ..)| status == "True")
    })
    .await?;
    wait::until("handshakes get there", LONG, async || {
        let by = shop.visitors.request(0).place(shop.visitors.gateway).await.ok()?;
        (by == "younger-0").then_some(())
    })
    .await?;
    live.delete().await?;
    live.gone().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_listener_or_without_pods_it_says_so_and_recovers() -> Result<()> {
    const NAME: &str = "unready";
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, NAME).await?;
    let client = shop.client.clone();
    let host = shop.manifest["spec"]["hostnames"].clone();
    shop.manifest["spec"]["hostnames"] = json!(["nobody-serves.example.com"]);
    client.apply(&shop.manifest).await?;
    let message = says(&shop, "Accepted", "NoMatchingListenerHostname").await?;
    ensure!(message.contains("nobody-serves.example.com"), "{message}");
    // It stays in force as it was.
    answered(&shop, 101).await?;
    client
        .apply(&istio_gateway(
            NAME,
            "edge",
            &[&format!("{NAME}.example.com"), "nobody-serves.example.com"],
        ))
        .await?;
    shop.programmed().await?;
    shop.manifest["spec"]["hostnames"] = host;
    client.apply(&shop.manifest).await?;
    shop.programmed().await?;
    answered(&shop, 101).await?;

    for pod in std::mem::take(&mut shop.pods) {
        pod.remove().await?;
    }
    answered(&shop, 503).await?;
    let live = shop.route.get().await?.context("the route")?;
    ensure!(
        condition(&live, "Accepted").is_some_and(|(status, ..)| status == "True"),
        "{live:#}"
    );
    shop.add_pod(7).await?;
    let by = answered(&shop, 101).await?;
    ensure!(by == "unready-7", "{by}");
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_spoiled_while_no_controller_runs_takes_nothing_away() -> Result<()> {
    const KEYS: usize = 60;
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let mut shop = Shop::open(mesh, "unseen").await?;
    let client = shop.client.clone();
    let placed = shop.visitors.place(KEYS).await?;
    let good = shop.manifest.clone();
    let elsewhere = json!({"sources": [{"type": "Header", "header": {"name": "x-room"}}]});
    let no_expression = json!([{"path": {"type": "RegularExpression", "value": "("}}]);
    let edits = [
        ("sessionKey", elsewhere, "RemapRefused"),
        ("matches", no_expression, "InvalidRule"),
    ];
    for (field, value, reason) in edits {
        controller.signal(rustix::process::Signal::KILL)?;
        controller.end(super::SOON).await?;
        shop.manifest = good.clone();
        shop.manifest["spec"]["rules"][0][field] = value;
        client.apply(&shop.manifest).await?;
        controller.start_again(&mesh.cluster).await?;
        says(&shop, "Accepted", reason).await?;
        ensure!(
            shop.visitors.place(KEYS).await? == placed,
            "{reason}: keys strayed"
        );
        client.apply(&good).await?;
        shop.programmed().await?;
    }
    shop.close().await
}

/// As another version of the controller leaves things: words in the status, in an object, in an annotation that this one does
/// not know. It says and writes its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_controller_left_is_read_as_far_as_it_is_known() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let shop = Shop::open(mesh, "newer").await?;
    let client = shop.client.clone();
    controller.signal(rustix::process::Signal::TERM)?;
    ensure!(controller.end(super::SOON).await? == 0, "{}", controller.log());

    let live = shop.route.get().await?.context("the route")?;
    let mut status = json!({
        "apiVersion": super::CLEW, "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "newer"}, "status": live["status"],
    });
    let conditions = &mut status["status"]["parents"][0]["conditions"];
    conditions[2]["reason"] = json!("SomethingNew");
    conditions[2]["status"] = json!("False");
    client.apply_status(&status).await?;
    let mut marked = shop.manifest.clone();
    marked["metadata"]["annotations"] =
        json!({"clew.dev/in-force": json!({"parentRefs": [], "rules": "of another kind"}).to_string()});
    client.apply(&marked).await?;
    let list = "/apis/networking.istio.io/v1/namespaces/newer/virtualservices";
    let list: Value = serde_json::from_str(&client.text(list).await?)?;
    let name = list["items"][0]["metadata"]["name"]
        .as_str()
        .context("a VirtualService")?;
    let object = client.object(super::ISTIO, "VirtualService", "newer", name);
    let mut edited = object.get().await?.context("it is there")?;
    let ours = edited["spec"].clone();
    edited["metadata"]
        .as_object_mut()
        .context("metadata")?
        .remove("managedFields");
    edited["apiVersion"] = json!(super::ISTIO);
    edited["spec"]["http"][0]["retries"] = json!({"attempts": 7});
    edited["spec"]["http"][0]["headers"] = json!({"response": {"add": {"x-newer": "1"}}});
    client.apply(&edited).await?;

    controller.start_again(&mesh.cluster).await?;
    object
        .until("it is as this version has it", |live| {
            (live["spec"] == ours).then_some(())
        })
        .await?;
    shop.programmed().await?;
    answered(&shop, 101).await?;
    shop.close().await
}
