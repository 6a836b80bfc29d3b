//! What cuts live sessions on Istio and what does not, a row at a time; and what stands beside ours, which stays as it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::echo_server::SERVED_BY;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use clew_e2e::{address, http, scene, wait};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::edits::LISTENERS;
use super::shop::{Shop, install};
use super::{ISTIO, alone, condition};
use crate::Mesh;

const SESSIONS: usize = 40;
const KEYS: usize = 100;
/// More than Envoy holds for a stream by itself.
const LARGE: usize = 4 << 20;

/// A module that has a memory, says which interface it is written for, and does nothing.
const IDLE: &[u8] = b"\0asm\x01\0\0\0\x01\x09\x02\x60\0\0\x60\x01\x7f\x01\x7f\x03\x03\x02\0\x01\x05\x03\x01\0\x01\x07\x2d\x03\x06memory\x02\0\x17proxy_abi_version_0_2_1\0\0\x06malloc\0\x01\x0a\x0a\x02\x02\0\x0b\x05\0\x41\x80\x08\x0b";

/// Sessions that are to live, and listeners that are to stay.
struct Watch<'m> {
    mesh: &'m Mesh,
    sessions: Vec<Session>,
    listeners: std::collections::BTreeMap<String, u64>,
    rows: usize,
}

impl Watch<'_> {
    async fn unmoved(&mut self, row: &str) -> Result<()> {
        scene::all_answer(&self.sessions).await.context(row.to_owned())?;
        let now = self.mesh.gateway.admin.stats(LISTENERS).await?;
        ensure!(
            now == self.listeners,
            "{row}: a listener changed: {now:?} is not {:?}",
            self.listeners
        );
        self.rows += 1;
        Ok(())
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ours_becomes_on_istio_cuts_no_session_whatever_changes() -> Result<()> {
    const NAME: &str = "cuts";
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, NAME).await?;
    let placed = shop.visitors.place(KEYS).await?;
    let mut watch = Watch {
        sessions: shop
            .visitors
            .sessions(SESSIONS, Traffic::every(Duration::from_millis(100), 64))
            .await?,
        listeners: mesh.gateway.admin.stats(LISTENERS).await?,
        rows: 0,
        mesh,
    };
    ensure!(!watch.listeners.is_empty(), "nothing is counted");
    let first = shop.manifest.clone();
    let rule = "/spec/rules/0";
    for (row, pointer, value) in [
        ("timeout", rule, json!({"timeouts": {"handshake": "7s"}})),
        ("retries", rule, json!({"resilience": {"connectRetries": 3}})),
        (
            "fault",
            rule,
            json!({"resilience": {"fault": {"delay": {"percent": 1, "duration": "1ms"}}}}),
        ),
        ("name", rule, json!({"name": "renamed"})),
        (
            "match",
            rule,
            json!({"matches": [{"path": {"type": "PathPrefix", "value": "/ws"}}]}),
        ),
        (
            "host",
            "/spec",
            json!({"hostnames": [format!("{NAME}.example.com"), format!("also.{NAME}.example.com")]}),
        ),
        (
            "outlier detection",
            rule,
            json!({"resilience": {"outlierDetection": {"consecutiveHandshakeFailures": 9, "ejectionTime": "9s"}}}),
        ),
        (
            "limits",
            rule,
            json!({"resilience": {"maxPendingHandshakes": SESSIONS - 1}}),
        ),
    ] {
        shop.manifest = first.clone();
        let at = shop.manifest.pointer_mut(pointer).context("it is there")?;
        at.as_object_mut()
            .context("an object")?
            .extend(value.as_object().cloned().unwrap_or_default());
        shop.apply_route().await.context(row)?;
        ensure!(shop.visitors.place(KEYS).await? == placed, "{row}: keys moved");
        watch.unmoved(row).await?;
    }

    for balancer in ["LeastSessions", "Random"] {
        shop.manifest = first.clone();
        shop.manifest["spec"]["rules"][0]["loadBalancer"] = json!({"type": balancer});
        shop.apply_route().await?;
        wait::until("keys decide no more", LONG, async || {
            (shop.visitors.place(KEYS).await.ok()? != placed).then_some(())
        })
        .await?;
        watch.unmoved(balancer).await?;
    }
    their_rule(&mut shop, &mut watch, &first, &placed).await?;
    let canary = weighted(&mut shop, &placed).await?;
    watch.unmoved("a second weighted destination").await?;
    shop.manifest = first;
    shop.apply_route().await?;
    shop.visitors
        .settled("its keys come back", KEYS, |now| now == placed)
        .await?;
    drop(canary);

    let list = format!("/apis/networking.istio.io/v1/namespaces/{NAME}/virtualservices");
    let list: Value = serde_json::from_str(&shop.client.text(&list).await?)?;
    let name = list["items"][0]["metadata"]["name"]
        .as_str()
        .context("a VirtualService")?;
    let object = shop.client.object(ISTIO, "VirtualService", NAME, name);
    let uid = object.get().await?.context("it is there")?["metadata"]["uid"].clone();
    object.delete().await?;
    object
        .until("it comes back", |live| {
            (live["metadata"]["uid"] != uid).then_some(())
        })
        .await?;
    watch.unmoved("VirtualService deleted").await?;

    module(&shop, &mut watch).await?;
    pods_go(&mut shop, &mut watch).await?;
    shop.deleted().await?;
    watch.unmoved("the route deleted").await?;
    println!(
        "{} rows under {SESSIONS} sessions: 0 lost, no listener touched",
        watch.rows
    );
    Ok(())
}

/// What the user's own rule for the Service says holds for our subset too, but how pods are chosen.
async fn their_rule(shop: &mut Shop, watch: &mut Watch<'_>, first: &Value, placed: &[String]) -> Result<()> {
    let admin = &watch.mesh.gateway.admin;
    // Who waits for a connection does not wait long.
    shop.manifest = first.clone();
    shop.manifest["spec"]["rules"][0]["timeouts"] = json!({"handshake": "3s"});
    shop.apply_route().await?;
    let mut rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "theirs", "namespace": "cuts"},
        "spec": {"host": "chat.cuts.svc.cluster.local"},
    });
    let least = json!({"simple": "LEAST_REQUEST"});
    let ring =
        json!({"consistentHash": {"httpQueryParameterName": "room", "ringHash": {"minimumRingSize": 9}}});
    let mut limited = None;
    for (mark, (row, policy)) in [
        (
            "their timeouts",
            json!({"connectionPool": {"tcp": {"maxConnectionDuration": "1s", "idleTimeout": "1s"}, "http": {"idleTimeout": "1s"}}}),
        ),
        ("their outlier detection", json!({"outlierDetection": {"consecutive5xxErrors": 1}})),
        ("their ring", json!({"loadBalancer": ring})),
        ("their least requests", json!({"loadBalancer": least})),
        (
            "their limits, below those who are there",
            json!({"connectionPool": {"tcp": {"maxConnections": SESSIONS / 4}, "http": {"http1MaxPendingRequests": 1}}}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("3.10{mark}s");
        rule["spec"]["trafficPolicy"] = policy;
        rule["spec"]["trafficPolicy"]["connectionPool"]["tcp"]["connectTimeout"] = json!(told);
        rule["spec"]["subsets"] = json!([{"name": "theirs", "labels": {"mark": told}}]);
        shop.client.apply(&rule).await.context(row)?;
        wait::until(row, LONG, async || {
            let ours = "/config_dump?resource=dynamic_active_clusters&name_regex=.*clew.*chat[.]cuts.*";
            admin.get(ours).await.ok()?.contains(&told).then_some(())
        })
        .await?;
        if row.contains("limits") {
            let opened = (0..SESSIONS).map(async |key| shop.visitors.request(key).open(shop.visitors.gateway).await);
            let opened = join_all(opened).await;
            limited = Some(opened.iter().filter(|one| one.is_err()).count());
        } else {
            ensure!(shop.visitors.place(KEYS).await? == placed, "{row}: keys moved");
            watch.sessions.extend(shop.visitors.sessions(2, Traffic::idle()).await?);
        }
        watch.unmoved(row).await?;
    }
    ensure!(
        limited.is_some_and(|refused| (1..SESSIONS).contains(&refused)),
        "{limited:?} of {SESSIONS} handshakes are refused"
    );
    shop.client.same(&rule)?.delete().await?;
    shop.manifest = first.clone();
    shop.apply_route().await?;
    let is_so = |now: &[String]| now == placed;
    shop.visitors.settled("theirs is gone", KEYS, is_so).await?;
    watch.unmoved("their rule deleted").await
}

/// A backend more moves what it gets, and nothing else.
async fn weighted(shop: &mut Shop, placed: &[String]) -> Result<Pod> {
    shop.client.apply(&service("cuts", "canary")).await?;
    let pod = Pod::start(&shop.client, "cuts", "canary", "canary-0").await?;
    shop.manifest["spec"]["rules"][0]["backendRefs"] = json!([
        {"name": "chat", "port": PORT, "weight": 80}, {"name": "canary", "port": PORT, "weight": 20},
    ]);
    shop.apply_route().await?;
    let now = shop
        .visitors
        .settled("the canary has its share", KEYS, |now| {
            now.iter().any(|pod| pod == "canary-0")
        })
        .await?;
    let moved = placed
        .iter()
        .zip(&now)
        .filter(|(before, now)| before != now)
        .count();
    let taken = now.iter().filter(|pod| *pod == "canary-0").count();
    ensure!(moved == taken, "{moved} keys moved, and the canary has {taken}");
    ensure!((5..45).contains(&taken), "{taken} of {KEYS} keys for a fifth");
    Ok(pod)
}

/// Another configuration, and what goes with the module.
async fn module(shop: &Shop, watch: &mut Watch<'_>) -> Result<()> {
    let cluster = &watch.mesh.cluster;
    let printed = install(cluster, "cuts", &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let plugin = &list["items"][0];
    let mut labelled = plugin.clone();
    labelled["metadata"]["labels"]["team"] = json!("chat");
    for plugin in [&labelled, plugin] {
        shop.client.apply(plugin).await?;
        shop.visitors.place(1).await?;
        watch.unmoved("the labels of the WasmPlugin").await?;
    }
    let open = install(cluster, "cuts", &["--yes", "--failure-mode", "open"]).await?;
    open.success()?;
    ensure!(open.stderr.contains("no session ends"), "{open:?}");
    shop.visitors.place(1).await?;
    watch.unmoved("another configuration of the WasmPlugin").await?;
    install(cluster, "cuts", &["--yes"]).await?.success()?;
    let filter = shop.client.same(&list["items"][1])?;
    filter.delete().await?;
    filter.gone().await?;
    let again = install(cluster, "cuts", &["--yes"]).await?;
    again.success()?;
    ensure!(again.stderr.contains("no session ends"), "{again:?}");
    shop.visitors.place(1).await?;
    watch.unmoved("the EnvoyFilter of the buffers").await
}

/// Whoever is on a pod that is only no longer listed stays there.
async fn pods_go(shop: &mut Shop, watch: &mut Watch<'_>) -> Result<()> {
    let gone = shop.pods[0].name().to_owned();
    ensure!(watch.sessions.iter().any(|session| session.served_by == gone));
    shop.pods[0].remove().await?;
    shop.visitors
        .settled("its keys are elsewhere", KEYS, |now| !now.contains(&gone))
        .await?;
    watch.unmoved("an endpoint removed").await?;
    for pod in &shop.pods[1..] {
        pod.remove().await?;
    }
    super::mistakes::answered(shop, 503).await?;
    watch.unmoved("all endpoints removed").await?;
    let chat = shop.client.object("v1", "Service", "cuts", "chat");
    chat.delete().await?;
    chat.gone().await?;
    super::mistakes::answered(shop, 500).await?;
    watch.unmoved("the Service deleted").await
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_more_or_less_on_a_gateway_cuts_every_session_there() -> Result<()> {
    const NAME: &str = "plugins";
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, NAME).await?;
    let printed = install(&mesh.cluster, NAME, &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let ours = &list["items"][0];
    let mut elsewhere = ours.clone();
    elsewhere["spec"]["selector"]["matchLabels"] = json!({"app": "nobody"});
    let address = (address::next_in_cluster(), PORT).into();
    http::serve(address, IDLE.to_vec()).await?;
    let mut theirs = ours.clone();
    theirs["metadata"] = json!({"name": "theirs", "namespace": ours["metadata"]["namespace"]});
    theirs["spec"] =
        json!({"selector": ours["spec"]["selector"], "url": format!("http://{address}/idle.wasm")});

    let written = async |plugin: &Value| shop.client.apply(plugin).await.map(drop);
    let deleted = async |plugin: &Value| shop.client.same(plugin)?.delete().await;
    all_cut(&shop, "a second plugin", written(&theirs)).await?;
    all_cut(&shop, "the second one deleted", deleted(&theirs)).await?;
    all_cut(&shop, "ours for other pods", written(&elsewhere)).await?;
    all_cut(&shop, "ours for these again", written(ours)).await?;
    all_cut(&shop, "ours deleted", deleted(ours)).await?;
    let missed = |route: &Value| {
        condition(route, "Programmed").filter(|(_, reason, _)| reason == "FilterNotInstalled")
    };
    shop.route.until("the status misses it", missed).await?;
    let installed = async {
        let made = install(&mesh.cluster, NAME, &["--yes"]).await?;
        made.success()?;
        ensure!(made.stderr.contains("cuts every WebSocket"), "{made:?}");
        Ok(())
    };
    all_cut(&shop, "ours installed", installed).await?;
    // The one that was deleted still counts for a while.
    let is_one = |route: &Value| {
        condition(route, "Programmed")
            .filter(|(status, _, said)| status == "True" && said == "1 of 1 proxies")
    };
    shop.route.until("one proxy has it", is_one).await?;
    println!(
        "6 changes of a gateway's plugins under {SESSIONS} sessions each: all cut, without a Close frame"
    );
    shop.close().await
}

/// None of the sessions outlives a change; who comes then gets to a pod.
async fn all_cut(shop: &Shop, row: &str, change: impl Future<Output = Result<()>>) -> Result<()> {
    let traffic = Traffic::every(Duration::from_millis(100), 64);
    let mut sessions = shop
        .visitors
        .sessions(SESSIONS, traffic)
        .await
        .context(row.to_owned())?;
    change.await.context(row.to_owned())?;
    for session in &mut sessions {
        let record = session.ended(LONG).await.context(row.to_owned())?;
        ensure!(record.code() == Some(1006), "{row}: a Close frame: {record:?}");
    }
    super::mistakes::answered(shop, 101)
        .await
        .context(row.to_owned())
        .map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_of_others_for_the_same_service_go_on_as_they_were() -> Result<()> {
    const NAME: &str = "beside";
    const USERS: usize = 40;
    let (mesh, _controller) = alone().await?;
    let shop = Shop::closed(mesh, NAME).await?;
    let client = shop.client.clone();
    let host = format!("chat.{NAME}.svc.cluster.local");
    client
        .apply(&json!({
            "apiVersion": ISTIO, "kind": "DestinationRule", "metadata": {"name": "theirs", "namespace": NAME},
            "spec": {"host": host, "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}}},
        }))
        .await?;
    client
        .apply(&json!({
            "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "theirs", "namespace": NAME},
            "spec": {
                "hosts": [format!("{NAME}.example.com")], "gateways": ["edge"],
                "http": [{
                    "match": [{"uri": {"prefix": "/theirs"}}],
                    "headers": {"response": {"set": {"x-theirs": "1"}}},
                    "route": [{"destination": {"host": host, "port": {"number": PORT}}}],
                }],
            },
        }))
        .await?;
    let theirs = async || {
        let mut by = Vec::new();
        for user in 0..USERS {
            let request = Request::new("/theirs")
                .host(&format!("{NAME}.example.com"))
                .header("x-user", user.to_string())
                .plain();
            let Answer::Refused(head, _) = request.send(shop.visitors.gateway).await? else {
                anyhow::bail!("a 101");
            };
            ensure!(head.header("x-theirs").as_deref() == Some("1"), "{head:?}");
            by.push(head.header(SERVED_BY).context("nobody")?);
        }
        Ok::<_, anyhow::Error>(by)
    };
    let before = wait::until("theirs is in force", LONG, async || {
        let (one, two) = (theirs().await.ok()?, theirs().await.ok()?);
        (one == two).then_some(one)
    })
    .await?;
    let pods: std::collections::BTreeSet<_> = before.iter().collect();
    ensure!(pods.len() == 3, "{pods:?}");
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    shop.visitors.place(KEYS).await?;
    ensure!(theirs().await? == before, "their requests go elsewhere");
    shop.route.delete().await?;
    shop.route.gone().await?;
    ensure!(
        theirs().await? == before,
        "their requests go elsewhere afterwards"
    );
    for kind in ["VirtualService", "DestinationRule"] {
        let object = client.object(ISTIO, kind, NAME, "theirs");
        ensure!(object.get().await?.is_some(), "{kind} is gone");
        object.delete().await?;
    }
    shop.deleted_objects().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_the_gateway_in_both_directions() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "large").await?;
    for key in 0..4 {
        let mut socket = shop.visitors.request(key).open(shop.visitors.gateway).await?;
        socket
            .echo(2, LARGE)
            .await
            .with_context(|| format!("session {key}"))?;
        socket.echo(2, 64).await?;
        socket.goodbye().await?;
    }
    shop.close().await
}
