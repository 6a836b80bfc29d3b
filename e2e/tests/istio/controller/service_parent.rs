//! A Service on the mesh as a route's parent: the sidecars of its clients have no filter, and carry out what Envoy can by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::scene;
use clew_e2e::sidecar::Sidecar;
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use serde_json::{Value, json};

use super::edits::LISTENERS;
use super::shop::Shop;
use super::{ISTIO, alone, condition};

const NAME: &str = "on-mesh";
const KEYS: usize = 120;
const SESSIONS: usize = 60;
/// What others' VirtualService marks its answers with.
const THEIRS: &str = "x-theirs";

/// What the route asks for and no sidecar does, as the status names it.
const NOT_DONE: &str = "spec.hostnames: on the mesh the Service's own host counts; \
    spec.rules[0].drain: sessions end as the pod ends them; \
    spec.rules[0].security.origin: the sidecars of clients have no filter, and no Origin is compared; \
    spec.rules[0].sessionKey.sources[1]: sidecars hash on one cookie, header, query parameter or peer address; this source is not looked at";

/// A route whose parent is the Service, and a client's sidecar, which carries sessions.
struct OnMesh {
    shop: Shop,
    sidecar: Sidecar,
    sessions: Vec<Session>,
    /// The pods of the keys.
    placed: Vec<String>,
    edits: usize,
    /// While edits were under way.
    handshakes: Handshakes,
}

#[derive(Clone, Copy, Default)]
struct Handshakes {
    asked: usize,
    /// With a 503.
    refused: usize,
}

impl OnMesh {
    /// Edits the rule, and waits until the sidecar does as it says. No handshake meanwhile is answered by another than its key's own pod or one that
    /// may have it; how many are refused.
    async fn edit(&mut self, fields: &Value, may_have: impl Fn(&str) -> bool) -> Result<usize> {
        self.edits += 1;
        let rule = self.shop.manifest["spec"]["rules"][0].as_object_mut();
        let rule = rule.context("a rule")?;
        rule.extend(fields.as_object().cloned().unwrap_or_default());
        // Said by no other edit.
        rule.insert(
            "timeouts".to_owned(),
            json!({"handshake": format!("9s{}ms", self.edits)}),
        );
        let mark = format!("\"9.{:03}s\"", self.edits);
        let edited = async {
            self.shop.client.apply(&self.shop.manifest).await?;
            carried(&self.shop).await?;
            self.sidecar
                .routes(&mark, |routes| routes.contains(&mark))
                .await?;
            wait::until("no cluster is still to come", LONG, async || {
                let warming = self.sidecar.admin.stats("^cluster_manager\\.warming_clusters$");
                (warming.await.ok()?.values().sum::<u64>() == 0).then_some(())
            })
            .await
        };
        let placed = &self.placed;
        let is_right = |key: usize, by: &str| placed.get(key).is_some_and(|pod| pod == by) || may_have(by);
        let handshakes = meanwhile(&self.shop.visitors, is_right, edited).await;
        let handshakes = handshakes.with_context(|| format!("{fields}"))?;
        ensure!(handshakes.asked > 0, "nobody came");
        self.handshakes.asked += handshakes.asked;
        self.handshakes.refused += handshakes.refused;
        scene::all_answer(&self.sessions)
            .await
            .with_context(|| format!("{fields}"))?;
        Ok(handshakes.refused)
    }

    /// Of the keys that are elsewhere now how many are on this pod, and how many on others.
    async fn moved(&mut self, what: &str, to: &str, is_so: impl Fn(&[String]) -> bool) -> Result<[usize; 2]> {
        let now = self.shop.visitors.settled(what, KEYS, is_so).await?;
        scene::all_answer(&self.sessions).await.context(what.to_owned())?;
        let (before, now) = (std::mem::replace(&mut self.placed, now.clone()), now);
        let moved: Vec<_> = before.iter().zip(&now).filter(|(a, b)| a != b).collect();
        let there = moved.iter().filter(|(_, now)| *now == to).count();
        Ok([there, moved.len() - there])
    }
}

/// Handshakes one after the other for as long as something takes.
async fn meanwhile(
    visitors: &Visitors,
    is_right: impl Fn(usize, &str) -> bool,
    something: impl Future<Output = Result<()>>,
) -> Result<Handshakes> {
    let mut something = pin!(something);
    let mut handshakes = Handshakes::default();
    loop {
        let key = handshakes.asked % KEYS;
        let request = visitors.request(key);
        tokio::select! {
            done = &mut something => return done.map(|()| handshakes),
            answer = request.send(visitors.gateway) => {
                match answer? {
                    Answer::Opened(socket) => {
                        let by = socket.served_by();
                        ensure!(is_right(key, &by), "key {key} is on {by}");
                    }
                    Answer::Refused(head, _) => {
                        ensure!(head.status == 503, "{head:?}");
                        handshakes.refused += 1;
                    }
                }
                handshakes.asked += 1;
            }
        }
    }
}

/// Waits until the status says that the newest text is written for the sidecars; what it names as not done.
async fn carried(shop: &Shop) -> Result<String> {
    let live = shop
        .route
        .until("it is written for the sidecars", |route| {
            let is_of_now = route["status"]["observedGeneration"] == route["metadata"]["generation"];
            let programmed = condition(route, "Programmed").filter(|(status, ..)| status == "True");
            (is_of_now && programmed.is_some()).then(|| route.clone())
        })
        .await?;
    let said = |kind: &str| condition(&live, kind).with_context(|| format!("{kind}: {live:#}"));
    for (kind, reason) in [
        ("Accepted", "Accepted"),
        ("ResolvedRefs", "ResolvedRefs"),
        ("Programmed", "Programmed"),
        ("PartiallySupported", "FieldsIgnored"),
    ] {
        let (status, said, message) = said(kind)?;
        ensure!(status == "True" && said == reason, "{kind}: {said}: {message}");
    }
    let (_, _, message) = said("Programmed")?;
    ensure!(
        message == "written for the clients' sidecars, which acknowledge nothing",
        "{message}"
    );
    Ok(said("PartiallySupported")?.2)
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_a_parent_whose_clients_sidecars_carry_keys_to_their_pods() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, NAME).await?;
    let sidecar = Sidecar::start(&mesh.cluster, &mesh.istio, NAME).await?;
    shop.visitors = Visitors {
        gateway: sidecar.address,
        host: format!("chat.{NAME}.svc.cluster.local"),
    };
    shop.visitors.welcome().await.context("without a route")?;
    let spec = &mut shop.manifest["spec"];
    spec["parentRefs"] = json!([{"group": "", "kind": "Service", "name": "chat"}]);
    let header = json!({"type": "Header", "header": {"name": "x-room"}});
    let sources = spec["rules"][0]["sessionKey"]["sources"].as_array_mut();
    sources.context("sources")?.push(header);
    let listeners = sidecar.admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");

    shop.client.apply(&shop.manifest).await?;
    let not_done = carried(&shop).await?;
    ensure!(not_done == NOT_DONE, "{not_done}");
    let pods: Vec<_> = shop.pods.iter().map(|pod| pod.name().to_owned()).collect();
    let everywhere = |placed: &[String]| pods.iter().all(|pod| placed.contains(pod));
    let placed = shop.visitors.settled("each key has one pod", KEYS, everywhere);
    let placed = placed.await.with_context(|| sidecar.log())?;
    for _ in 0..3 {
        let again = shop.visitors.place(KEYS).await?;
        let strays = placed.iter().zip(&again).filter(|(a, b)| a != b).count();
        ensure!(strays == 0, "{strays} of {KEYS} keys strayed");
    }
    let mut load = BTreeMap::<&str, usize>::new();
    for pod in &placed {
        *load.entry(pod).or_default() += 1;
    }
    ensure!(load.values().all(|keys| *keys > KEYS / 6), "{load:?}");
    println!("{KEYS} keys, 3 times by a sidecar: 0 strays, on {load:?}");
    // What is named is so.
    let by_header = Request::new("/ws")
        .host(&shop.visitors.host)
        .header("x-room", "1");
    let by_header = scene::place(sidecar.address, &vec![by_header; KEYS]).await?;
    let by_header: BTreeSet<_> = by_header.iter().collect();
    ensure!(
        by_header.len() == 3,
        "a source that is not looked at: {by_header:?}"
    );

    let mut sessions = Vec::new();
    for (keys, traffic) in [
        (SESSIONS, Traffic::every(Duration::from_millis(100), 64)),
        (2, Traffic::idle()),
    ] {
        sessions.extend(shop.visitors.sessions(keys, traffic).await?);
    }
    let mut on_mesh = OnMesh {
        shop,
        sidecar,
        sessions,
        placed,
        edits: 0,
        handshakes: Handshakes::default(),
    };
    edits(&mut on_mesh).await?;
    pods_come_and_go(&mut on_mesh).await?;
    weights(&mut on_mesh).await?;
    another_route_of_the_host(&mut on_mesh).await?;
    other_sources(&mut on_mesh).await?;

    let OnMesh { shop, sidecar, .. } = &on_mesh;
    let deleted = async {
        shop.deleted().await?;
        sidecar
            .routes("nothing of ours is left", |routes| !routes.contains("clew"))
            .await
    };
    let handshakes = meanwhile(&shop.visitors, |_, _| true, deleted).await;
    let Handshakes { asked, refused } = handshakes.context("the route is deleted")?;
    scene::all_answer(&on_mesh.sessions).await?;
    shop.visitors.place(KEYS).await?;
    let now = sidecar.admin.stats(LISTENERS).await?;
    ensure!(now == listeners, "a listener changed: {now:?}");
    // As its access log flags them.
    let log = sidecar.log();
    let flags = log.lines().filter_map(|line| line.split_once("\" 503 "));
    let flags: BTreeSet<_> = flags.filter_map(|(_, rest)| rest.split(' ').next()).collect();
    let lost: u64 = on_mesh
        .sessions
        .iter()
        .map(|one| one.record().echoes.missing)
        .sum();
    println!(
        "the route deleted: {asked} handshakes meanwhile, {refused} refused (of all that were: {flags:?}); {} sessions all along: 0 ended, {lost} messages lost, no listener touched",
        on_mesh.sessions.len()
    );
    Ok(())
}

/// Each is another route, and half of them are another cluster.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn edits(on_mesh: &mut OnMesh) -> Result<()> {
    for fields in [
        json!({"matches": [{"path": {"type": "PathPrefix", "value": "/ws"}}]}),
        json!({"name": "renamed"}),
        json!({"resilience": {"connectRetries": 3}}),
        json!({"resilience": {"fault": {"delay": {"percent": 1, "duration": "1ms"}}}}),
        json!({"resilience": {"maxPendingHandshakes": SESSIONS - 1}}),
        json!({"resilience": {"outlierDetection": {"consecutiveHandshakeFailures": 9, "ejectionTime": "9s"}}}),
        json!({"resilience": {"maxPendingHandshakes": 1000}}),
        json!({"resilience": {}}),
    ] {
        let refused = on_mesh.edit(&fields, |_| false).await?;
        ensure!(refused == 0, "{fields}: {refused} handshakes are refused");
    }
    // What edits left over goes, and who came by it stays.
    let clusters = async || {
        let clusters = on_mesh.sidecar.admin.get("/clusters").await.ok()?;
        let names = clusters.lines().filter_map(|line| line.split("::").next());
        let ours: BTreeSet<_> = names.filter(|name| name.contains("|clew")).collect();
        (ours.len() == 1).then_some(())
    };
    wait::until("one cluster of ours is left", LONG, clusters).await?;
    scene::all_answer(&on_mesh.sessions).await?;
    ensure!(
        on_mesh.shop.visitors.place(KEYS).await? == on_mesh.placed,
        "keys moved"
    );
    let Handshakes { asked, refused } = on_mesh.handshakes;
    println!(
        "{} edits under {} sessions: 0 lost; {asked} handshakes meanwhile: 0 astray, {refused} refused",
        on_mesh.edits,
        on_mesh.sessions.len(),
    );
    Ok(())
}

/// Envoy's own table moves few keys beside those that it must; and nobody drains a pod.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn pods_come_and_go(on_mesh: &mut OnMesh) -> Result<()> {
    on_mesh.shop.add_pod(3).await?;
    let joined = on_mesh.shop.pods[3].name().to_owned();
    let [taken, others] = on_mesh
        .moved("the new pod has keys", &joined, |now| now.contains(&joined))
        .await?;
    ensure!(
        (KEYS / 12..KEYS / 2).contains(&taken) && others <= KEYS / 10,
        "it took {taken} keys, and {others} others moved"
    );
    let mut leaving = on_mesh.shop.pods.remove(0);
    let name = leaving.name().to_owned();
    let its = on_mesh.placed.iter().filter(|pod| **pod == name).count();
    leaving.terminate().await?;
    let [_, left] = on_mesh
        .moved("nobody goes to the old pod", "", |now| !now.contains(&name))
        .await?;
    let there = on_mesh.sessions.iter().filter(|one| one.served_by == name);
    ensure!(there.count() > 0, "nobody was on {name}");
    let others_left = left - its;
    ensure!(others_left <= KEYS / 10, "{others_left} others moved");
    println!(
        "a pod more: it takes {taken} of {KEYS} keys, {others} others move; a pod less: its {its} keys and {others_left} others; 0 sessions end"
    );
    leaving.remove().await?;
    // Until it ends itself.
    on_mesh.shop.pods.push(leaving);
    Ok(())
}

/// A handshake is dealt to a backend by weight, as the status says, and there to any pod: where there are several, Istio has Envoy hash on nothing.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn weights(on_mesh: &mut OnMesh) -> Result<()> {
    let client = on_mesh.shop.client.clone();
    client.apply(&service(NAME, "canary")).await?;
    let canary = Pod::start(&client, NAME, "canary", "canary-0").await?;
    let backends = json!([
        {"name": "chat", "port": PORT, "weight": 80}, {"name": "canary", "port": PORT, "weight": 20},
    ]);
    on_mesh.edit(&json!({"backendRefs": backends}), |_| true).await?;
    let not_done = carried(&on_mesh.shop).await?;
    ensure!(
        not_done.contains(
            "spec.rules[0].backendRefs: on the mesh each handshake is dealt to a backend by weight, and there to any pod"
        ),
        "{not_done}"
    );
    let mut dealt = 0;
    for _ in 0..3 {
        let by = on_mesh.shop.visitors.place(KEYS).await?;
        dealt += by.iter().filter(|by| *by == canary.name()).count();
    }
    let all = 3 * KEYS;
    // Five standard deviations.
    let few = all / 5 - 38..=all / 5 + 38;
    ensure!(few.contains(&dealt), "{dealt} of {all}, and not {few:?}");
    let first = json!([{"name": "chat", "port": PORT}]);
    on_mesh.edit(&json!({"backendRefs": first}), |_| true).await?;
    let placed = on_mesh.shop.visitors.place(KEYS).await?;
    ensure!(placed == on_mesh.placed, "keys moved");
    println!(
        "a canary of weight 20: it gets {dealt} of {all} handshakes; without it each key is at its pod again"
    );
    Ok(())
}

/// On the mesh a host has one VirtualService, and theirs stays.
async fn another_route_of_the_host(on_mesh: &mut OnMesh) -> Result<()> {
    let OnMesh {
        shop,
        placed,
        sessions,
        ..
    } = on_mesh;
    let theirs = json!({
        "apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "theirs", "namespace": NAME},
        "spec": {
            "hosts": ["chat"],
            "http": [{
                "headers": {"response": {"set": {THEIRS: "1"}}},
                "route": [{"destination": {"host": "chat", "port": {"number": PORT}}}],
            }],
        },
    });
    let request = shop.visitors.request(0).plain();
    let taken = async {
        shop.client.apply(&theirs).await?;
        let (_, _, message) = shop
            .route
            .until("the status names it", |route| {
                condition(route, "Accepted").filter(|(_, reason, _)| reason == "Conflicted")
            })
            .await?;
        ensure!(
            message.contains(&format!(
                "VirtualService {NAME}/theirs routes {}",
                shop.visitors.host
            )),
            "{message}"
        );
        let live = shop.route.get().await?.context("the route")?;
        let programmed = condition(&live, "Programmed");
        ensure!(
            programmed
                .as_ref()
                .is_some_and(|(status, reason, _)| status == "False" && reason == "Pending"),
            "{programmed:?}"
        );
        wait::until("theirs holds", LONG, async || {
            match request.send(shop.visitors.gateway).await.ok()? {
                Answer::Refused(head, _) => (head.header(THEIRS)? == "1").then_some(()),
                Answer::Opened(_) => None,
            }
        })
        .await
    };
    meanwhile(&shop.visitors, |_, _| true, taken)
        .await
        .context("theirs comes")?;
    scene::all_answer(sessions).await?;
    shop.client.same(&theirs)?.delete().await?;
    carried(shop).await?;
    shop.visitors
        .settled("keys come back", KEYS, |now| now == placed)
        .await?;
    scene::all_answer(sessions).await
}

/// What else Envoy can hash on by itself.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn other_sources(on_mesh: &mut OnMesh) -> Result<()> {
    let keyed = |source: &Value| json!({"sessionKey": {"sources": [source]}});
    let header = json!({"type": "Header", "header": {"name": "x-room"}});
    let mut astray = on_mesh.shop.manifest.clone();
    astray["spec"]["rules"][0]["sessionKey"] = keyed(&header)["sessionKey"].clone();
    on_mesh.shop.client.apply(&astray).await?;
    let said = |route: &Value| condition(route, "Accepted").filter(|(_, reason, _)| reason == "RemapRefused");
    on_mesh.shop.route.until("it is refused", said).await?;
    ensure!(
        on_mesh.shop.visitors.place(KEYS).await? == on_mesh.placed,
        "keys moved"
    );

    on_mesh.shop.manifest["metadata"]["annotations"] = json!({"clew.dev/allow-remap": "true"});
    let (gateway, host) = (on_mesh.sidecar.address, on_mesh.shop.visitors.host.clone());
    let request = move || Request::new("/ws").host(&host);
    let mut named = Vec::new();
    for (source, of_key) in [
        (
            header,
            &(|request: Request, key: u8| request.header("x-room", key.to_string()))
                as &dyn Fn(Request, u8) -> Request,
        ),
        (
            json!({"type": "Cookie", "cookie": {"name": "sid"}}),
            &|request, key| request.header("cookie", format!("sid={key}")),
        ),
        (
            json!({"type": "SourceIP", "sourceIP": {"trustedHops": 0}}),
            &|request, key| request.from(Ipv4Addr::new(10, 77, 250, key)),
        ),
    ] {
        on_mesh.edit(&keyed(&source), |_| true).await?;
        let not_done = carried(&on_mesh.shop).await?;
        ensure!(!not_done.contains("sessionKey"), "{not_done}");
        let requests: Vec<_> = (1..=u8::MAX).map(|key| of_key(request(), key)).collect();
        let first = scene::place(gateway, &requests).await?;
        for _ in 0..2 {
            let again = scene::place(gateway, &requests).await?;
            let strays = first.iter().zip(&again).filter(|(a, b)| a != b).count();
            ensure!(strays == 0, "{source}: {strays} keys strayed");
        }
        let pods: BTreeSet<_> = first.iter().collect();
        ensure!(pods.len() == 3, "{source}: {pods:?}");
        named.push(source["type"].to_string());
    }
    println!("{} keys each of {named:?}, 3 times: 0 strays", u8::MAX);
    Ok(())
}
