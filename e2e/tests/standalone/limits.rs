//! How many sessions and handshakes a proxy of two workers lets through: exactly as many as its rules say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use clew_e2e::address::{self, PORT};
use clew_e2e::echo_server::Behaviour;
use clew_e2e::handshake::Head;
use clew_e2e::manifests::{self, Pod};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Session, Socket, Traffic};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{SOON, by_room, rooms};

const MOST: usize = 20;
const MOST_OF_A_KEY: usize = 3;
const BURST: usize = 10;
const KEYS: usize = 20;

fn route(rules: &[(&str, Value)]) -> Value {
    let rule = |(name, limits): &(&str, Value)| {
        let policy = json!({"sessionKey": by_room(), "limits": limits});
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    let rules: Vec<Value> = rules.iter().map(rule).collect();
    manifests::route(ROUTE, json!(rules))
}

/// Sends all requests at once: what opened, and the heads of what was refused.
async fn all_at_once(scene: &Scene, requests: Vec<Request>) -> Result<(Vec<Socket>, Vec<Head>)> {
    let (mut opened, mut refused) = (Vec::new(), Vec::new());
    for answer in join_all(requests.iter().map(|request| request.send(scene.gateway()))).await {
        match answer? {
            Answer::Opened(socket) => opened.push(socket),
            Answer::Refused(head, _) => refused.push(head),
        }
    }
    Ok((opened, refused))
}

fn each_says(refused: &[Head], status: u16, reason: &str) {
    for head in refused {
        let said = head.header("x-clew-reason");
        assert_eq!((head.status, said.as_deref()), (status, Some(reason)));
    }
}

async fn counted(scene: &Scene, rule: &str, result: &str, wanted: usize) -> Result<()> {
    let rule = format!("shop/chat/{rule}");
    let labels = [("clew_route", rule.as_str()), ("result", result)];
    let admin = scene.clew.ready.admin;
    admin
        .counts("clew_handshakes_total", &labels, wanted..=wanted)
        .await
}

fn requests(path: &str, keys: impl IntoIterator<Item = usize>) -> Vec<Request> {
    let request = |key| Request::new(format!("/{path}?room=room-{key}"));
    keys.into_iter().map(request).collect()
}

/// Opens until the rule is full, which it is when `most` are open, and closes all.
async fn holds_exactly(scene: &Scene, path: &str, most: usize) -> Result<()> {
    wait::until("every slot is free again", SOON, async || {
        let (opened, _) = all_at_once(scene, requests(path, 0..most + 5)).await.ok()?;
        let count = opened.len();
        assert!(count <= most, "{count} of {most}");
        join_all(opened.into_iter().map(Socket::goodbye)).await;
        (count == most).then_some(())
    })
    .await
}

async fn workers_used(scene: &Scene) -> Result<usize> {
    let stats = scene
        .clew
        .ready
        .admin
        .stats("worker_.*downstream_cx_total")
        .await?;
    Ok(stats.values().filter(|connections| **connections > 0).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_holds_as_many_sessions_as_it_may() -> Result<()> {
    let rules = [
        ("ws", json!({})),
        ("capped", json!({"maxConnectionsPerProxy": MOST})),
    ];
    let scene = Scene::with(3, route(&rules)).await?;
    let (opened, refused) = all_at_once(&scene, requests("capped", 0..60)).await?;
    println!("of 60 at once {} opened, {} refused", opened.len(), refused.len());
    assert_eq!((opened.len(), refused.len()), (MOST, 60 - MOST));
    each_says(&refused, 503, "too_many_sessions");
    counted(&scene, "capped", "refused_too_many_sessions", 60 - MOST).await?;
    assert_eq!(workers_used(&scene).await?, 2, "both workers have counted");

    // The neighbour, which is the control too: where there is no limit, 60 at once get in.
    let (neighbours, refused) = all_at_once(&scene, requests("ws", 0..60)).await?;
    assert_eq!((neighbours.len(), refused.len()), (60, 0));
    let neighbours: Vec<Session> = neighbours
        .into_iter()
        .map(|s| s.session(Traffic::idle()))
        .collect();

    // Whoever leaves makes room for one.
    let mut opened = opened;
    let leaving = opened.split_off(MOST - 5);
    join_all(leaving.into_iter().map(Socket::goodbye)).await;
    wait::until("five more get in", SOON, async || {
        let (more, _) = all_at_once(&scene, requests("capped", 0..10)).await.ok()?;
        opened.extend(more);
        assert!(opened.len() <= MOST, "{}", opened.len());
        (opened.len() == MOST).then_some(())
    })
    .await?;
    join_all(opened.into_iter().map(Socket::goodbye)).await;

    // A handshake that the server refuses gives its slot back.
    let behaviour = Behaviour {
        status: Some(418),
        ..Behaviour::default()
    };
    for _ in 0..3 * MOST {
        let request = Request::new("/capped?room=1").behave(&behaviour);
        let Answer::Refused(head, _) = request.send(scene.gateway()).await? else {
            panic!("opened")
        };
        assert!(head.status == 418 || head.status == 503, "{}", head.status);
    }
    holds_exactly(&scene, "capped", MOST).await?;
    scene::all_answer(&neighbours).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_hammer_never_get_one_too_many() -> Result<()> {
    let limits = json!({"maxConnectionsPerKeyPerProxy": MOST_OF_A_KEY});
    let rules = [("ws", json!({})), ("keyed", limits)];
    let scene = Scene::with(3, route(&rules)).await?;

    // All at once, and they stay.
    let every = |path| requests(path, (0..KEYS * 8).map(|i| i % KEYS));
    let (opened, refused) = all_at_once(&scene, every("keyed")).await?;
    each_says(&refused, 503, "too_many_sessions");
    let mut by_key: BTreeMap<String, usize> = BTreeMap::new();
    for server in &scene.servers {
        for connection in server.connections() {
            if connection.head.target.starts_with("/keyed") {
                *by_key.entry(connection.head.target.clone()).or_default() += 1;
            }
        }
    }
    println!(
        "of {} handshakes of {KEYS} keys {} opened: {:?} of each key",
        8 * KEYS,
        opened.len(),
        by_key.values().collect::<Vec<_>>()
    );
    assert!(by_key.len() == KEYS && by_key.values().all(|sessions| *sessions == MOST_OF_A_KEY));
    let refusals = (8 - MOST_OF_A_KEY) * KEYS;
    counted(&scene, "keyed", "refused_too_many_sessions", refusals).await?;
    // Another key and another rule have room; the control: without the limit all get in.
    let (others, refused) = all_at_once(&scene, requests("keyed", KEYS..2 * KEYS)).await?;
    assert_eq!((others.len(), refused.len()), (KEYS, 0));
    let (unlimited, refused) = all_at_once(&scene, every("ws")).await?;
    assert_eq!((unlimited.len(), refused.len()), (8 * KEYS, 0));
    join_all(
        opened
            .into_iter()
            .chain(others)
            .chain(unlimited)
            .map(Socket::goodbye),
    )
    .await;

    // They come and go at the same time, each key six times over.
    let inside: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    let (highest, visits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let visitor = async |key: usize| {
        for _ in 0..15 {
            let request = Request::new(format!("/keyed?room=room-{key}"));
            if let Answer::Opened(mut socket) = request.send(scene.gateway()).await? {
                let now = 1 + inside[key].fetch_add(1, Ordering::SeqCst);
                highest.fetch_max(now, Ordering::SeqCst);
                visits.fetch_add(1, Ordering::SeqCst);
                socket.echo(1, 100).await?;
                inside[key].fetch_sub(1, Ordering::SeqCst);
                socket.goodbye().await?;
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    for visitor in join_all((0..6 * KEYS).map(|i| visitor(i % KEYS))).await {
        visitor?;
    }
    let (highest, visits) = (highest.into_inner(), visits.into_inner());
    println!("{visits} visits while they hammered, at most {highest} of a key at once");
    assert_eq!(highest, MOST_OF_A_KEY);
    wait::until("every slot is free again", SOON, async || {
        let (opened, _) = all_at_once(&scene, every("keyed")).await.ok()?;
        let count = opened.len();
        join_all(opened.into_iter().map(Socket::goodbye)).await;
        assert!(count <= KEYS * MOST_OF_A_KEY);
        (count == KEYS * MOST_OF_A_KEY).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_come_at_their_rate_and_no_faster() -> Result<()> {
    let rate = |interval: &str, burst: usize| json!({"handshakeRatePerProxy": {"requests": 1, "interval": interval, "burst": burst}});
    let rules = [
        ("ws", json!({})),
        ("hourly", rate("1h", BURST)),
        ("often", rate("1s", 1)),
    ];
    let scene = Scene::with(3, route(&rules)).await?;
    let (opened, refused) = all_at_once(&scene, requests("hourly", 0..50)).await?;
    assert_eq!((opened.len(), refused.len()), (BURST, 50 - BURST));
    each_says(&refused, 429, "rate_limited");
    counted(&scene, "hourly", "refused_rate_limited", 50 - BURST).await?;
    let waits: Vec<u64> = refused
        .iter()
        .filter_map(|head| head.header("retry-after")?.parse().ok())
        .collect();
    println!(
        "Retry-After from {:?} to {:?} s",
        waits.iter().min(),
        waits.iter().max()
    );
    assert_eq!(waits.len(), refused.len());
    assert!(
        waits.iter().all(|wait| (3_000..=7_200).contains(wait)),
        "{waits:?}"
    );
    let different: std::collections::BTreeSet<_> = waits.iter().collect();
    assert!(
        different.len() > waits.len() / 2,
        "they all come back at once: {waits:?}"
    );
    // The good neighbour, and the control.
    let (neighbours, refused) = all_at_once(&scene, requests("ws", 0..50)).await?;
    assert_eq!((neighbours.len(), refused.len()), (50, 0));

    // What is spent comes back: who waits as long as it was told gets in.
    let request = Request::new("/often?room=1");
    let mut told = Vec::new();
    let entered = async |told: &mut Vec<u64>| match request.send(scene.gateway()).await {
        Ok(Answer::Opened(_)) => Some(()),
        Ok(Answer::Refused(head, _)) => {
            told.extend(
                head.header("retry-after")
                    .and_then(|wait| wait.parse::<u64>().ok()),
            );
            None
        }
        Err(_) => None,
    };
    for _ in 0..3 {
        wait::until("a token", SOON, async || entered(&mut told).await).await?;
    }
    assert!(
        !told.is_empty() && told.iter().all(|wait| (1..=5).contains(wait)),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_before_the_answer_gives_its_slot_back() -> Result<()> {
    const MUTE: &str = "mute";
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let silent = TcpListener::bind(address::next()).await?;
    let pods = [Pod::new("mute-0", silent.local_addr()?)];
    let backend = [
        manifests::service(MUTE, PORT),
        manifests::endpoint_slice(MUTE, PORT, &pods),
    ];
    scene.folder.put_all(MUTE, &backend)?;
    let policy = json!({"limits": {"maxConnectionsPerProxy": 5}});
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
        manifests::rule(MUTE, "/mute", MUTE, PORT, policy),
    ]);
    scene.folder.put("route", &manifests::route(ROUTE, rules))?;

    // It accepts and never answers.
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let silence = tokio::spawn(async move {
        while let Ok(connection) = silent.accept().await {
            if arrived.send(connection).is_err() {
                break;
            }
        }
    });
    for round in 0..4 {
        let mut waiting = tokio::task::JoinSet::new();
        let mut held = Vec::new();
        wait::until("five wait at the server", SOON, async || {
            let gateway = scene.gateway();
            waiting.spawn(async move { Request::new("/mute").send(gateway).await });
            // Either it waits there, or it is answered: the route or a slot is not there yet.
            tokio::select! {
                arrival = arrivals.recv() => held.extend(arrival),
                _ = waiting.join_next() => {}
            }
            (held.len() == 5).then_some(())
        })
        .await?;
        for _ in 0..4 {
            let Answer::Refused(head, _) = Request::new("/mute").send(scene.gateway()).await? else {
                panic!("opened")
            };
            each_says(&[head], 503, "too_many_sessions");
        }
        println!("round {round}: five wait, the others are refused");
        // Their sockets close.
        waiting.shutdown().await;
    }
    silence.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_set_later_counts_who_is_there_already() -> Result<()> {
    let scene = Scene::with(3, route(&[("ws", json!({}))])).await?;
    let sessions = scene.open(&rooms(0..30), |_| Traffic::idle()).await?;
    let limit = |most: usize| route(&[("ws", json!({"maxConnectionsPerProxy": most}))]);
    scene.folder.put("route", &limit(30))?;
    let refused = async || match Request::new("/ws?room=1").send(scene.gateway()).await.ok()? {
        Answer::Refused(head, _) => {
            each_says(&[head], 503, "too_many_sessions");
            Some(())
        }
        Answer::Opened(socket) => {
            socket.goodbye().await.ok()?;
            None
        }
    };
    wait::until("the limit holds", SOON, refused).await?;
    scene.folder.put("route", &limit(31))?;
    wait::until("there is room for one", SOON, async || {
        Request::new("/ws?room=1").place(scene.gateway()).await.ok()
    })
    .await?;
    scene::all_answer(&sessions).await
}
