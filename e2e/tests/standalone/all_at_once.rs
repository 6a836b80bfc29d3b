//! Everything that can happen to a proxy happens at the same time: attacks, returning tokens, a rule that is full, pods that
//! come and go, one that drains, keys that turn, routes that change. Beside it are sessions that must notice nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::address::{self, PORT};
use clew_e2e::echo_server::{Behaviour, EchoServer, Say};
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::wire::End;
use clew_e2e::ws_client::{Answer, Request, Session, Socket, Traffic};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::hostile::attack::{self, HostileServer};
use crate::hostile::{VM_FAILURES, everything};
use crate::persistence::lifetime::{key_id, secret, turned};
use crate::persistence::{Bound, HEADER, persistent};
use crate::{SOON, full, rooms};

const REASON: &str = "moving house";
const MOST: usize = 20;
const KEYS: [(&str, &str); 2] = [
    ("2026-11", "the-first-key-of-this-test-0123456789"),
    ("2026-12", "the-second-key-of-this-test-012345678"),
];

/// How much of everything.
struct Size {
    sessions: usize,
    edits: usize,
    joiners: usize,
    drain: Duration,
}

/// What runs until the rest is over.
struct Meanwhile<'a> {
    scene: &'a Scene,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_sessions_live_through_all_of_it_at_once() -> Result<()> {
    let size = match full() {
        true => Size {
            sessions: 300,
            edits: 60,
            joiners: 6,
            drain: Duration::from_secs(30),
        },
        false => Size {
            sessions: 80,
            edits: 15,
            joiners: 2,
            drain: Duration::from_secs(8),
        },
    };
    let scene = Scene::with(4, size.route(0)).await?;
    let evil = HostileServer::start(address::next()).await?;
    let narrow = EchoServer::start("narrow-0").await?;
    for (name, pod) in [("evil", evil.address), ("narrow", narrow.address())] {
        let slice = manifests::endpoint_slice(name, PORT, &[Pod::new(&format!("{name}-0"), pod)]);
        scene
            .folder
            .put_all(name, &[manifests::service(name, PORT), slice])?;
    }
    for path in ["/evil", "/narrow"] {
        let known = async || match Request::new(path).send(scene.gateway()).await.ok()? {
            Answer::Refused(head, _) if head.status == 503 => None,
            _ => Some(()),
        };
        wait::until("its pod is known", SOON, known).await?;
    }
    let sessions = size.good_sessions(&scene).await?;
    let victim = &*scene.pods[0].name;
    let bounds = Bound::rooms(&scene, 10_000..10_060).await?;
    let key = key_id(&bounds[0].token)?;
    let bounds = bounds.into_iter().filter(|bound| bound.pod != victim).collect();
    let admin = scene.clew.ready.admin;
    let listeners = admin.stats("^listener_manager\\.").await?;

    let pods = RefCell::new(scene.pods.clone());
    let meanwhile = Meanwhile {
        scene: &scene,
        over: AtomicBool::new(false),
    };
    let changes = async {
        tokio::try_join!(
            scale(&scene, &pods, size.joiners),
            drain(&scene, &pods, victim, &sessions),
            rotate(&scene, key),
            size.edit(&scene),
        )?;
        meanwhile.over.store(true, Ordering::Release);
        anyhow::Ok(())
    };
    let (attacks, returns, refusals, ()) = tokio::try_join!(
        meanwhile.attack(),
        meanwhile.come_back(bounds),
        meanwhile.fill(),
        changes
    )?;
    println!(
        "at once: {attacks} attacks, {returns} returns to {} pods, {refusals} sessions too many, {} pods that came and went, \
         a drain, two rotations, {} edits",
        scene.pods.len() - 1,
        size.joiners,
        size.edits
    );
    let reached = evil.reached();
    ensure!(
        attacks > 50 && returns > 20 && refusals > 20 && reached > 5,
        "too little happened at once: {attacks} attacks, {returns} returns, {refusals} refusals, {reached} sessions of attackers"
    );

    let (leaving, staying): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.served_by == victim);
    ensure!(
        leaving.len() > size.sessions / 10,
        "{} on {victim}",
        leaving.len()
    );
    scene::all_answer(&staying).await?;
    for session in &staying {
        session.close(1000, "the end");
    }
    let (left, stayed) = (account(&scene, leaving).await?, account(&scene, staying).await?);
    println!("left: {left:?}; stayed to the end: {stayed:?}");
    ensure!(left.codes.keys().eq([&(Some(1012), REASON.to_owned())]));
    ensure!(stayed.codes.keys().eq([&(Some(1000), "the end".to_owned())]));
    ensure!(admin.stats("^listener_manager\\.").await? == listeners);
    let failures = admin.stats(VM_FAILURES).await?;
    ensure!(
        !failures.is_empty() && failures.values().all(|count| *count == 0),
        "VMs failed: {failures:?}"
    );
    Ok(())
}

impl Size {
    fn route(&self, edit: usize) -> Value {
        let mut policy = persistent();
        policy["drain"] = json!({"timeout": format!("{}s", self.drain.as_secs()), "closeReason": REASON});
        match edit % 6 {
            0 => {}
            1 => {
                policy["timeouts"] = json!({"handshake": "5s", "idle": "1h", "maxConnectionDuration": "24h"})
            }
            2 => policy["limits"] = json!({"maxMessageSize": "1Mi", "maxConnectionsPerProxy": 10_000}),
            3 => policy["resilience"] = json!({"connectRetries": 3, "maxPendingHandshakes": 2048}),
            4 => policy["limits"] = json!({"messageRate": {"messages": 10_000, "interval": "1s"}}),
            _ => {
                policy["security"] =
                    json!({"origin": {"mode": "Report", "allowed": ["https://app.example.com"]}})
            }
        }
        let mut edited = manifests::rule("rooms", "/ws", SERVICE, PORT, policy);
        if let Some(matches) = edited["matches"].as_array_mut() {
            matches.push(json!({"path": {"type": "PathPrefix", "value": format!("/edit-{edit}")}}));
        }
        let cookie = json!({"type": "Cookie", "cookie": {"name": "clew-session"}});
        let open = json!({"sessionKey": {"sources": everything()}, "sessionPersistence": cookie});
        let narrow = json!({"limits": {"maxConnectionsPerProxy": MOST}});
        let rules = json!([
            edited,
            manifests::rule("all", "/all", SERVICE, PORT, open),
            manifests::rule("narrow", "/narrow", "narrow", PORT, narrow),
            manifests::rule("evil", "/evil", "evil", PORT, json!({})),
        ]);
        manifests::route(ROUTE, rules)
    }

    /// Both ends talk, or the server's heartbeat is all that is heard.
    async fn good_sessions(&self, scene: &Scene) -> Result<Vec<Session>> {
        let talks = |i: usize| !i.is_multiple_of(3);
        let requests: Vec<Request> = rooms(0..self.sessions)
            .into_iter()
            .enumerate()
            .map(|(i, request)| {
                let say = Say {
                    every: Duration::from_millis(300),
                    size: 5_000,
                    pieces: 3,
                    gap: Duration::from_millis(5),
                };
                request.behave(&Behaviour {
                    ping: (!talks(i)).then_some(Duration::from_millis(500)),
                    say: talks(i).then_some(say),
                    ..Behaviour::default()
                })
            })
            .collect();
        let traffic = |i| match talks(i) {
            true => Traffic::every(Duration::from_millis(200), 400),
            false => Traffic::idle(),
        };
        scene.open(&requests, traffic).await
    }

    /// Routes that change, every fifth edit to something that no route may say.
    async fn edit(&self, scene: &Scene) -> Result<()> {
        for edit in 1..=self.edits {
            let route = self.route(edit);
            if edit.is_multiple_of(5) {
                let said = scene.clew.stderr().len();
                let broken = serde_saphyr::to_string(&route)?.replace("backendRefs", "backendRef");
                scene.folder.put_text("route", &broken)?;
                scene.clew.says(said, "route.yaml").await?;
                continue;
            }
            scene.folder.put("route", &route)?;
            let probe = Request::new(format!("/edit-{edit}?room=1"));
            let in_force = async || probe.place(scene.gateway()).await.ok();
            wait::until(&format!("edit {edit} in force"), SOON, in_force).await?;
        }
        Ok(())
    }
}

/// Pods join, take sessions, and leave.
async fn scale(scene: &Scene, pods: &RefCell<Vec<Pod>>, joiners: usize) -> Result<()> {
    for number in 0..joiners {
        let name = format!("{SERVICE}-joiner-{number}");
        let server = EchoServer::start(&name).await?;
        save(scene, pods, |pods| pods.push(Pod::new(&name, server.address())))?;
        takes_sessions(scene, &name, true).await?;
        save(scene, pods, |pods| pods.retain(|pod| pod.name != name))?;
        takes_sessions(scene, &name, false).await?;
    }
    Ok(())
}

/// One pod drains, until none of the sessions is on it.
async fn drain(scene: &Scene, pods: &RefCell<Vec<Pod>>, victim: &str, sessions: &[Session]) -> Result<()> {
    save(scene, pods, |pods| pods[0].terminating = true)?;
    let gone = || sessions.iter().all(|s| s.served_by != victim || !s.is_live());
    wait::until_true("the pod is empty", 3 * SOON, gone).await
}

/// Two keys come, one after the other.
async fn rotate(scene: &Scene, mut key: Vec<u8>) -> Result<()> {
    for keys in 1..=KEYS.len() {
        scene.folder.put("keys", &secret(&KEYS[..keys]))?;
        key = turned(scene, &key).await?;
    }
    Ok(())
}

fn save(scene: &Scene, pods: &RefCell<Vec<Pod>>, change: impl FnOnce(&mut Vec<Pod>)) -> Result<()> {
    let mut pods = pods.borrow_mut();
    change(&mut pods);
    scene
        .folder
        .put("endpoints", &manifests::endpoint_slice(SERVICE, PORT, &pods))?;
    Ok(())
}

async fn takes_sessions(scene: &Scene, pod: &str, wanted: bool) -> Result<()> {
    let requests = rooms(20_000..20_060);
    wait::until(&format!("{pod} takes sessions: {wanted}"), SOON, async || {
        let pods = scene.place(&requests).await.ok()?;
        (pods.iter().any(|one| one == pod) == wanted).then_some(())
    })
    .await
}

impl Meanwhile<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How many attacks there were.
    async fn attack(&self) -> Result<usize> {
        let gateway = self.scene.gateway();
        let ends: Vec<_> = stream::iter(0..)
            .take_while(|_| ready(!self.is_over()))
            .map(|number| attack::run(gateway, number, number % 7 == 6))
            .buffer_unordered(8)
            .try_collect()
            .await?;
        Ok(ends.len())
    }

    /// How often a token led back to its pod, whatever room was asked for.
    async fn come_back(&self, mut bounds: Vec<Bound>) -> Result<usize> {
        let (mut returns, count) = (0, bounds.len());
        while !self.is_over() {
            let bound = &mut bounds[returns % count];
            let socket = bound.returns(returns).open(self.scene.gateway()).await?;
            ensure!(
                socket.served_by() == bound.pod,
                "a session of {} is on {}",
                bound.pod,
                socket.served_by()
            );
            if let Some(token) = socket.head.header(HEADER) {
                bound.token = token;
            }
            socket.goodbye().await?;
            returns += 1;
        }
        Ok(returns)
    }

    /// How many sessions were refused by a rule that is full.
    async fn fill(&self) -> Result<usize> {
        let request = Request::new("/narrow");
        let open = (0..MOST).map(|_| request.open(self.scene.gateway()));
        let sockets: Vec<Socket> = stream::iter(open).buffered(MOST).try_collect().await?;
        let mut refused = 0;
        while !self.is_over() {
            match request.send(self.scene.gateway()).await? {
                Answer::Opened(_) => anyhow::bail!("more than {MOST} sessions"),
                Answer::Refused(head, _) => {
                    let reason = head.header("x-clew-reason");
                    ensure!((head.status, reason.as_deref()) == (503, Some("too_many_sessions")));
                }
            }
            refused += 1;
        }
        for socket in sockets {
            socket.goodbye().await?;
        }
        Ok(refused)
    }
}

/// What both sides say of sessions that have ended.
#[derive(Debug, Default)]
struct Account {
    codes: BTreeMap<(Option<u16>, String), usize>,
    from_clients: u64,
    from_servers: u64,
    /// What a server said after the Close, which nobody can deliver.
    after_the_close: u64,
}

/// Nothing is lost, cut or repeated either way, and each end saw an orderly Close.
async fn account(scene: &Scene, sessions: Vec<Session>) -> Result<Account> {
    let mut account = Account::default();
    for mut session in sessions {
        let record = session.ended(SOON).await?;
        let (code, reason, _) = record
            .close
            .clone()
            .with_context(|| format!("no Close: {record:?}"))?;
        *account.codes.entry((code, reason)).or_default() += 1;
        ensure!(
            record.is_whole() && record.end.is_some_and(|(end, _)| end == End::Fin),
            "{record:?}"
        );
        let connections = scene.server(&session.served_by)?.connections();
        let theirs = connections.iter().find(|c| c.head.target == session.target);
        let seen = theirs.context("its connection")?.record();
        ensure!(
            seen.close.is_some() && !seen.cut && seen.foreign == 0 && seen.client.is_whole(),
            "{seen:?}"
        );
        ensure!(seen.client.received == record.sent, "{seen:?} of {record:?}");
        let undelivered = seen.sent - record.server.received;
        // One every 0.3 s: what the server began within a round trip of the Close.
        ensure!(undelivered <= 1, "{undelivered} undelivered: {record:?}");
        account.from_clients += record.sent;
        account.from_servers += record.server.received;
        account.after_the_close += undelivered;
    }
    Ok(account)
}
