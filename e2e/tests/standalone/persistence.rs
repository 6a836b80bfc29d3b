//! Strong persistence: whoever brings a token reaches its pod, wherever that is, or is told that it is gone.

pub(crate) mod lifetime;
mod tokens;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use clew_e2e::address::{self, PORT};
use clew_e2e::echo_server::EchoServer;
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{SOON, by_room, rooms};

/// The header that carries the tokens of these tests.
pub(crate) const HEADER: &str = "x-clew-session";

/// Sessions go by the room, and stay by the token.
pub(crate) fn persistent() -> Value {
    json!({
        "sessionKey": by_room(),
        "sessionPersistence": {"type": "Header", "header": {"name": HEADER}},
    })
}

/// A session's token, and the pod that it is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) token: String,
    pub(crate) pod: String,
}

impl Bound {
    /// Of a first handshake.
    async fn new(gateway: SocketAddr, request: &Request) -> Result<Self> {
        let socket = request.open(gateway).await?;
        let token = socket.head.header(HEADER).context("no token on the 101")?;
        let pod = socket.served_by();
        socket.goodbye().await?;
        Ok(Self { token, pod })
    }

    /// One for each of the rooms.
    pub(crate) async fn rooms(scene: &Scene, keys: std::ops::Range<usize>) -> Result<Vec<Self>> {
        let mut bounds = Vec::new();
        for request in rooms(keys) {
            bounds.push(Self::new(scene.gateway(), &request).await?);
        }
        Ok(bounds)
    }

    /// The next handshake, which comes from another room, so that the key would lead elsewhere.
    pub(crate) fn returns(&self, room: usize) -> Request {
        Request::new(format!("/ws?room=another-{room}")).header(HEADER, self.token.as_str())
    }
}

/// Sessions that return again and again, each to a room that nobody had.
struct Reconnects {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    task: JoinHandle<Result<Tally>>,
}

/// What became of them.
#[derive(Debug, Default)]
struct Tally {
    right: usize,
    strayed: Vec<String>,
    /// The pods of those that got no 101.
    refused: Vec<String>,
}

impl Reconnects {
    fn start(gateway: SocketAddr, bounds: Vec<Bound>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            async move {
                let mut tally = Tally::default();
                let mut room = 0;
                while !stop.load(Ordering::Acquire) {
                    let bound = &bounds[room % bounds.len()];
                    match bound.returns(room).send(gateway).await {
                        Ok(Answer::Opened(socket)) => {
                            let (pod, token) = (socket.served_by(), socket.head.header(HEADER));
                            if pod == bound.pod && token.is_none() {
                                tally.right += 1;
                            } else {
                                tally.strayed.push(format!("{} to {pod}, {token:?}", bound.pod));
                            }
                            // The pod may go away meanwhile.
                            let _ = socket.goodbye().await;
                        }
                        Ok(Answer::Refused(..)) | Err(_) => tally.refused.push(bound.pod.clone()),
                    }
                    room += 1;
                    done.fetch_add(1, Ordering::AcqRel);
                }
                Ok(tally)
            }
        });
        Self { stop, done, task }
    }

    async fn more(&self, count: usize) -> Result<()> {
        let goal = self.done.load(Ordering::Acquire) + count;
        wait::until_true("reconnects", SOON, || self.done.load(Ordering::Acquire) >= goal).await
    }

    async fn stop(self) -> Result<Tally> {
        self.stop.store(true, Ordering::Release);
        self.task.await?
    }
}

/// Every token leads to its pod, at once.
async fn all_return(scene: &Scene, bounds: &[Bound]) -> Result<()> {
    let requests: Vec<_> = bounds
        .iter()
        .enumerate()
        .map(|(room, bound)| bound.returns(room))
        .collect();
    let pods = scene.place(&requests).await?;
    for (bound, pod) in bounds.iter().zip(pods) {
        if bound.pod != pod {
            bail!("a session of {} is on {pod}", bound.pod);
        }
    }
    Ok(())
}

/// A server on an address that another one may have had until now.
async fn serve(scene: &mut Scene, name: &str, address: SocketAddr) -> Result<()> {
    let start = async || EchoServer::start_on(name, address).await.ok();
    scene
        .servers
        .push(wait::until("the address is free", SOON, start).await?);
    Ok(())
}

/// The pod of this name listens elsewhere from now on, and the world is told.
async fn move_pod(scene: &mut Scene, name: &str, address: SocketAddr) -> Result<()> {
    scene.servers.retain(|server| server.name() != name);
    serve(scene, name, address).await?;
    let pod = scene
        .pods
        .iter_mut()
        .find(|pod| pod.name == name)
        .context("no such pod")?;
    pod.address = address;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_finds_its_pod_while_pods_come_and_go_and_one_moves() -> Result<()> {
    let mut scene = Scene::new(3, persistent()).await?;
    let bounds = Bound::rooms(&scene, 0..20).await?;
    let pods: BTreeSet<_> = bounds.iter().map(|bound| bound.pod.clone()).collect();
    assert_eq!(pods.len(), 3);
    let reconnects = Reconnects::start(scene.gateway(), bounds.clone());
    reconnects.more(100).await?;
    let mut joined = Vec::new();
    for _ in 0..3 {
        joined.push(scene.add_pod().await?);
        reconnects.more(40).await?;
    }
    scene.settled().await?;
    reconnects.more(100).await?;
    let moved = bounds[0].pod.clone();
    move_pod(&mut scene, &moved, address::next()).await?;
    scene.save_pods()?;
    reconnects.more(100).await?;
    scene.settled().await?;
    reconnects.more(100).await?;
    for name in &joined {
        scene.remove_pod(name)?;
        reconnects.more(40).await?;
    }
    scene.settled().await?;
    reconnects.more(100).await?;
    let tally = reconnects.stop().await?;
    println!(
        "3 → 6 → 3 pods, one moved: {} reconnects to their pods, {} elsewhere, {} refused while theirs was moving",
        tally.right,
        tally.strayed.len(),
        tally.refused.len()
    );
    assert!(tally.strayed.is_empty(), "{:?}", tally.strayed);
    assert!(
        tally.right >= 500 && tally.refused.iter().all(|pod| *pod == moved),
        "{tally:?}"
    );
    all_return(&scene, &bounds).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_a_pods_address_or_name_does_not_get_its_sessions() -> Result<()> {
    let mut scene = Scene::new(4, persistent()).await?;
    let bounds = Bound::rooms(&scene, 0..40).await?;
    // Two pods change places.
    let addresses = [0, 1].map(|at| scene.pods[at].address);
    let names = [0, 1].map(|at| scene.pods[at].name.clone());
    scene
        .servers
        .retain(|server| !names.contains(&server.name().to_owned()));
    move_pod(&mut scene, &names[0], addresses[1]).await?;
    move_pod(&mut scene, &names[1], addresses[0]).await?;
    scene.save_pods()?;
    scene.settled().await?;
    all_return(&scene, &bounds).await?;

    // One goes, and its address is another's; one is made again under its name, with a UID of its own.
    let (gone, again) = (names[0].clone(), names[1].clone());
    let address = scene.server(&gone)?.address();
    scene.servers.retain(|server| server.name() != gone);
    scene.pods.retain(|pod| pod.name != gone);
    serve(&mut scene, "heir", address).await?;
    scene.pods.push(Pod::new("heir", address));
    for pod in scene.pods.iter_mut().filter(|pod| pod.name == again) {
        pod.uid = "another".to_owned();
    }
    scene.save_pods()?;
    scene.settled().await?;
    let (lost, kept): (Vec<_>, Vec<_>) = bounds
        .into_iter()
        .partition(|bound| [&gone, &again].contains(&&bound.pod));
    assert!(lost.len() > 10 && kept.len() > 10);
    all_return(&scene, &kept).await?;
    let with: Vec<_> = lost
        .iter()
        .enumerate()
        .map(|(room, bound)| bound.returns(room))
        .collect();
    let without: Vec<_> = (0..lost.len())
        .map(|room| Request::new(format!("/ws?room=another-{room}")))
        .collect();
    assert_eq!(
        scene.place(&with).await?,
        scene.place(&without).await?,
        "as without a token"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_of_weight_0_keeps_its_sessions() -> Result<()> {
    const CANARY: &str = "canary";
    let route = |weights: [u32; 2]| {
        let mut rule = manifests::rule("rooms", "/ws", SERVICE, PORT, persistent());
        rule["backendRefs"] = json!([
            {"name": SERVICE, "port": PORT, "weight": weights[0]},
            {"name": CANARY, "port": PORT, "weight": weights[1]},
        ]);
        manifests::route(ROUTE, json!([rule]))
    };
    let mut scene = Scene::new(2, persistent()).await?;
    for index in 0..2 {
        scene
            .servers
            .push(EchoServer::start(&format!("{CANARY}-{index}")).await?);
    }
    let pods: Vec<Pod> = scene.servers[2..]
        .iter()
        .map(|s| Pod::new(s.name(), s.address()))
        .collect();
    let canary = [
        manifests::service(CANARY, PORT),
        manifests::endpoint_slice(CANARY, PORT, &pods),
    ];
    scene.folder.put_all("canary", &canary)?;
    scene.folder.put("route", &route([1, 1]))?;
    let is_canary = |pod: &String| pod.starts_with(CANARY);
    let probe = async |wanted: bool| {
        wait::until("the weights are in force", SOON, async || {
            let pods = scene.place(&rooms(1000..1200)).await.ok()?;
            (pods.iter().any(is_canary) == wanted).then_some(())
        })
        .await
    };
    probe(true).await?;
    let bounds = Bound::rooms(&scene, 0..40).await?;
    let on_canary = bounds.iter().filter(|bound| is_canary(&bound.pod)).count();
    assert!((8..32).contains(&on_canary), "{on_canary}");
    scene.folder.put("route", &route([1, 0]))?;
    probe(false).await?;
    all_return(&scene, &bounds).await?;
    println!("{on_canary} sessions stay with a backend of weight 0, and nobody new comes");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_pod_is_gone_is_refused_or_moves_as_the_rule_says() -> Result<()> {
    let policy = |gone: &str| {
        let mut policy = persistent();
        policy["onBackendGone"] = gone.into();
        policy["drain"] = json!({"timeout": "1s"});
        policy
    };
    let mut scene = Scene::new(3, policy("Reject")).await?;
    let bounds = Bound::rooms(&scene, 0..12).await?;
    let gone = bounds[0].pod.clone();
    let (lost, kept): (Vec<_>, Vec<_>) = bounds.into_iter().partition(|bound| bound.pod == gone);
    scene.terminate_pod(&gone)?;
    scene.settled().await?;
    all_return(&scene, &kept).await?;
    for (room, bound) in lost.iter().enumerate() {
        match bound.returns(room).send(scene.gateway()).await? {
            Answer::Refused(head, _) => {
                assert_eq!(
                    (head.status, head.header("x-clew-reason").as_deref()),
                    (503, Some("backend_gone"))
                );
            }
            Answer::Opened(socket) => bail!("a session of {gone} is on {}", socket.served_by()),
        }
    }
    Request::new("/ws?room=new").place(scene.gateway()).await?;

    let rule = manifests::rule("rooms", "/ws", SERVICE, PORT, policy("Reassign"));
    scene
        .folder
        .put("route", &manifests::route(ROUTE, json!([rule])))?;
    let first = wait::until("the edit is in force", SOON, async || {
        Bound::new(scene.gateway(), &lost[0].returns(0)).await.ok()
    })
    .await?;
    let mut moved = vec![first];
    for (room, bound) in lost.iter().enumerate().skip(1) {
        moved.push(Bound::new(scene.gateway(), &bound.returns(room)).await?);
    }
    assert!(moved.iter().all(|bound| bound.pod != gone));
    all_return(&scene, &moved).await?;
    affinity(&scene, "moved", moved.len()..).await?;
    println!(
        "{} sessions of a pod that is gone: 503 by Reject, another pod and a new token by Reassign",
        lost.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_101_of_another_pod_than_the_tokens_is_never_seen() -> Result<()> {
    let mut policy = persistent();
    policy["resilience"] = json!({"connectRetries": 2});
    let mut scene = Scene::new(3, policy).await?;
    let bound = Bound::new(scene.gateway(), &rooms([0])[0]).await?;
    // Its server dies, and nobody has said so yet: Envoy tries another one.
    scene.servers.retain(|server| server.name() != bound.pod);
    let without = rooms([0])[0].place(scene.gateway()).await?;
    assert_ne!(without, bound.pod, "the control: a 101 of another pod");
    for room in 0..20 {
        match bound.returns(room).send(scene.gateway()).await? {
            Answer::Refused(head, _) => assert_eq!(
                (
                    head.status,
                    head.header("x-clew-reason").as_deref(),
                    head.header(HEADER)
                ),
                (503, Some("backend_gone"), None)
            ),
            Answer::Opened(socket) => bail!("the client sees a 101 of {}", socket.served_by()),
        }
    }
    affinity(&scene, "missed", 21..).await
}

/// Waits until so many results of this kind are counted.
async fn affinity(scene: &Scene, result: &str, wanted: impl RangeBounds<usize> + Debug) -> Result<()> {
    let labels = [("clew_route", "shop/chat/rooms"), ("result", result)];
    let admin = scene.clew.ready.admin;
    admin.counts("clew_affinity_total", &labels, wanted).await
}
