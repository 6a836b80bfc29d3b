//! What a proxy does whose filter never heard of its rules, or has failed.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::envoy::PlainEnvoy;
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::{Answer, Request, Session, Socket, Traffic};
use clew_e2e::{manifests, module, wait};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{SOON, by_room, rooms};

/// How many sessions the limited rule holds.
const MOST: usize = 40;
/// A filter that failed is replaced no sooner than a second and a half after it was loaded; this one is older.
const REPLACED: Duration = Duration::from_secs(5);

fn route() -> Value {
    let rule = |name: &str, limits: Value| {
        let policy = json!({"sessionKey": by_room(), "limits": limits});
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    let most = json!({"maxConnectionsPerProxy": MOST});
    manifests::route(ROUTE, json!([rule("ws", json!({})), rule("capped", most)]))
}

async fn scene(mode: &str) -> Result<Scene> {
    Scene::as_told(2, route(), |options| {
        options.more.extend(["--failure-mode".into(), mode.into()]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_never_heard_of_its_rules_does_as_it_was_told() -> Result<()> {
    for (mode, passes) in [("closed", false), ("Open", true)] {
        let mut scene = scene(mode).await?;
        // Nobody is left to tell it anything.
        scene.clew.kill().await?;
        let envoy = PlainEnvoy::beside(scene.state.path(), Some(&scene.state.module()?), 2).await?;
        for request in rooms(0..20) {
            match request.send(envoy.gateway).await? {
                Answer::Opened(socket) if passes => socket.goodbye().await?,
                Answer::Refused(head, _) if !passes => {
                    let reason = head.header("x-clew-reason");
                    assert_eq!((head.status, reason.as_deref()), (503, Some("config_pending")));
                }
                answer => bail!("{mode}: {answer:?}"),
            }
        }
        // Who knows them goes on as before.
        scene.place(&rooms(0..20)).await?;
    }
    Ok(())
}

/// A proxy whose filter fails when it is told to, with sessions on both of its workers.
struct Fragile {
    scene: Scene,
    envoy: PlainEnvoy,
    sessions: Vec<Session>,
}

impl Fragile {
    async fn new(mode: &str) -> Result<Self> {
        let module = module::crash_test().await?;
        let scene = scene(mode).await?;
        let has_it = |path| -> Result<bool> {
            let bytes = std::fs::read(path)?;
            Ok(bytes
                .windows(module::CRASH.len())
                .any(|it| it == module::CRASH.as_bytes()))
        };
        assert!(
            has_it(&module)? && !has_it(&scene.state.module()?)?,
            "what ships cannot be told to fail"
        );
        let envoy = PlainEnvoy::beside(scene.state.path(), Some(&module), 2).await?;
        let mut fragile = Self {
            scene,
            envoy,
            sessions: Vec::new(),
        };
        wait::until("both workers know their rules", SOON, async || {
            let wishes = fragile.wishes(40).await.ok()?;
            wishes.iter().all(Option::is_some).then_some(())
        })
        .await?;
        fragile.fill().await?;
        assert_eq!(fragile.sessions.len(), MOST);
        Ok(fragile)
    }

    /// Where the filter wanted so many new sessions; `None`: they passed without it.
    async fn wishes(&self, count: usize) -> Result<Vec<Option<String>>> {
        self.scene.servers.iter().for_each(EchoServer::forget);
        for request in rooms(0..count) {
            request.open(self.envoy.gateway).await?.goodbye().await?;
        }
        let connections = self.scene.servers.iter().flat_map(|server| server.connections());
        let wishes: Vec<_> = connections
            .map(|connection| connection.head.header("x-clew-host"))
            .collect();
        assert_eq!(wishes.len(), count);
        Ok(wishes)
    }

    /// Opens as many sessions of the limited rule as get in.
    async fn fill(&mut self) -> Result<()> {
        let requests: Vec<_> = (0..MOST + 5)
            .map(|key| Request::new(format!("/capped?room={key}")))
            .collect();
        for answer in join_all(requests.iter().map(|request| request.send(self.envoy.gateway))).await {
            if let Answer::Opened(socket) = answer? {
                self.sessions
                    .push(socket.session(Traffic::every(Duration::from_millis(200), 100)));
            }
        }
        Ok(())
    }

    /// Has the filter of a worker fail; the sessions of that worker end with the next byte, and are counted and forgotten.
    async fn crash(&mut self) -> Result<usize> {
        // It may be answered by 503 or by the end of its connection.
        let answer = rooms(0..1)[0]
            .clone()
            .header(module::CRASH, "1")
            .send(self.envoy.gateway)
            .await;
        assert!(!matches!(answer, Ok(Answer::Opened(_))), "{answer:?}");
        // Who still answers lives.
        let answers = join_all(self.sessions.iter().map(Session::check)).await;
        let ended = answers.iter().filter(|answer| answer.is_err()).count();
        self.sessions.retain(Session::is_live);
        assert_eq!(self.sessions.len() + ended, MOST);
        Ok(ended)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_failed_is_replaced_and_the_other_worker_does_not_notice() -> Result<()> {
    let mut fragile = Fragile::new("Closed").await?;
    let ended = fragile.crash().await?;
    let began = Instant::now();
    assert!(0 < ended && ended < MOST, "{ended} of {MOST}");
    wait::until("both workers take sessions", REPLACED, async || {
        let sockets = join_all(
            rooms(0..20)
                .iter()
                .map(|request| request.open(fragile.envoy.gateway)),
        )
        .await;
        let opened: Vec<Socket> = sockets.into_iter().flatten().collect();
        let all = opened.len() == 20;
        join_all(opened.into_iter().map(Socket::goodbye)).await;
        all.then_some(())
    })
    .await?;
    let replaced = began.elapsed();
    let stats = fragile.envoy.admin.stats("vm_reload").await?;
    let reloads: u64 = stats
        .iter()
        .filter(|(name, _)| name.ends_with("success"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(reloads, 1, "{stats:?}");

    // What died holds its places for a few seconds, and not one session more gets in than there are places.
    let left = MOST - ended;
    wait::until("the places of the dead are free", SOON, async || {
        fragile.fill().await.ok()?;
        assert!(fragile.sessions.len() <= MOST, "{}", fragile.sessions.len());
        (fragile.sessions.len() == MOST).then_some(())
    })
    .await?;
    println!(
        "one worker's filter failed: {ended} of {MOST} sessions ended, {left} lived; replaced within {replaced:?}, all {MOST} places taken {:?} after",
        began.elapsed()
    );
    // The fresh filter places as the old one did, and as the other worker does.
    assert_eq!(
        scene::place(fragile.envoy.gateway, &rooms(0..40)).await?,
        fragile.scene.place(&rooms(0..40)).await?
    );
    scene::all_answer(&fragile.sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_was_told_to_a_worker_without_a_filter_passes_everything() -> Result<()> {
    let mut fragile = Fragile::new("Open").await?;
    let ended = fragile.crash().await?;
    assert!(0 < ended && ended < MOST, "{ended} of {MOST}");
    // Never a refusal; and on that worker nothing is placed.
    let wishes = fragile.wishes(60).await?;
    let unplaced = wishes.iter().filter(|wish| wish.is_none()).count();
    println!("{unplaced} of {} new sessions passed unplaced", wishes.len());
    assert!(0 < unplaced && unplaced < 60, "{unplaced}");
    fragile
        .sessions
        .iter()
        .find(|s| s.is_live())
        .context("the other worker's live")?;
    scene::all_answer(&fragile.sessions).await
}
