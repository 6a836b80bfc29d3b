//! What a client, or a server, can throw at a worker does not touch its neighbours.

pub(crate) mod attack;
mod many;

use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::manifests;
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::{Answer, Request, Traffic};
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use crate::{by_room, rooms};

/// What Envoy counts when a module's VM dies and another takes its place, or does not.
pub(crate) const VM_FAILURES: &str = r"^wasm\..*\.vm_reload_";

/// Every source of a key.
pub(crate) fn everything() -> serde_json::Value {
    json!([
        {"type": "Cookie", "cookie": {"name": "sid"}},
        {"type": "JWTClaim", "jwtClaim": {"name": "sub", "header": "Authorization", "verification": "None"}},
        {"type": "QueryParam", "queryParam": {"name": "room"}},
        {"type": "Header", "header": {"name": "x-room"}},
        {"type": "PathSegment", "pathSegment": {"index": 1}},
        {"type": "Subprotocol", "subprotocol": {"prefix": "room."}},
        {"type": "SourceIP", "sourceIP": {"trustedHops": 1}},
    ])
}

/// A scene whose filter reads every header that it can, and live sessions on both workers.
async fn every_source() -> Result<(Scene, Vec<clew_e2e::ws_client::Session>)> {
    let everything = everything();
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
        manifests::rule(
            "all",
            "/all",
            SERVICE,
            PORT,
            json!({"sessionKey": {"sources": everything}})
        ),
    ]);
    let scene = Scene::with(3, manifests::route(ROUTE, rules)).await?;
    let sessions = scene
        .open(&rooms(0..50), |_| Traffic::every(Duration::from_millis(100), 200))
        .await?;
    Ok((scene, sessions))
}

const HEADERS: [&str; 11] = [
    "cookie",
    "authorization",
    "x-room",
    "sec-websocket-protocol",
    "x-forwarded-for",
    "origin",
    "x-clew-host",
    "x-clew-backend",
    "x-clew-reason",
    "sec-websocket-extensions",
    "user-agent",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_end_no_session() -> Result<()> {
    let (scene, sessions) = every_source().await?;
    let high: Vec<u8> = (0x80..=0xFF).collect();
    let mut values: Vec<Vec<u8>> = (0x80..=0xFF).step_by(9).map(|byte| vec![byte]).collect();
    values.push(high.clone());
    values.push([b"sid=\"".as_slice(), &high, b"\""].concat());
    values.push([b"Bearer ".as_slice(), &high].concat());
    values.push([b"room.".as_slice(), &high].concat());
    let (mut opened, mut refused) = (0, 0);
    for value in &values {
        for header in HEADERS {
            for _ in 0..2 {
                match Request::new("/all")
                    .header(header, value.clone())
                    .send(scene.gateway())
                    .await?
                {
                    Answer::Opened(socket) => {
                        opened += 1;
                        socket.goodbye().await?;
                    }
                    Answer::Refused(head, _) => {
                        assert!((400..500).contains(&head.status), "{header}: {}", head.status);
                        refused += 1;
                    }
                }
            }
        }
    }
    // The control: the bytes got past Envoy, to the filter and beyond.
    println!("{opened} hostile handshakes opened, {refused} refused");
    assert!(opened > refused, "the bytes hardly got in");
    let reached = scene.servers.iter().flat_map(|s| s.connections()).any(|c| {
        c.head
            .headers
            .iter()
            .any(|(name, value)| name == "x-room" && *value == high)
    });
    assert!(reached, "no server saw them");
    scene::all_answer(&sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_targets_end_no_session() -> Result<()> {
    let (scene, sessions) = every_source().await?;
    let long = "x".repeat(20_000);
    let targets = [
        "/all?room=%".to_owned(),
        "/all?room=%zz&room=%F".to_owned(),
        "/all?room=%80%FF%00".to_owned(),
        "/all?room=".to_owned(),
        "/all?&&&=&=room&room".to_owned(),
        "/all//%2F%2e%2e/..".to_owned(),
        "/all/%FF%FE".to_owned(),
        format!("/all?room={long}"),
        format!("/all/{long}"),
        format!("/all?{}", "room&".repeat(4000)),
    ];
    for target in &targets {
        for _ in 0..2 {
            if let Answer::Opened(socket) = Request::new(target).send(scene.gateway()).await? {
                socket.goodbye().await?;
            }
        }
    }
    scene::all_answer(&sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_of_64_kib_gets_a_clear_answer_and_costs_nobody_else() -> Result<()> {
    let (scene, sessions) = every_source().await?;
    for size in [7 << 10, 9 << 10, 40 << 10, 64 << 10] {
        let cookie = format!("sid={}", "k".repeat(size));
        match Request::new("/all")
            .header("Cookie", cookie)
            .send(scene.gateway())
            .await?
        {
            Answer::Opened(socket) => {
                assert!(size < 64 << 10, "Envoy's limit of header bytes is below that");
                socket.goodbye().await?;
            }
            Answer::Refused(head, _) => {
                println!("a cookie of {size} bytes: {}", head.status);
                assert!((size, head.status) == (64 << 10, 431), "{size}: {head:?}");
            }
        }
    }
    scene::all_answer(&sessions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jwt_that_is_none_counts_as_no_value() -> Result<()> {
    let strict = json!({
        "sessionKey": {
            "sources": [{
                "type": "JWTClaim",
                "jwtClaim": {"name": "sub", "header": "Authorization", "verification": "None"},
            }],
            "onMissing": "Reject",
        },
    });
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
        manifests::rule("jwt", "/jwt", SERVICE, PORT, strict),
    ]);
    let scene = Scene::with(3, manifests::route(ROUTE, rules)).await?;
    let sessions = scene.open(&rooms(0..20), |_| Traffic::idle()).await?;
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let nested = "[".repeat(20_000);
    let not_tokens = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer ..".to_owned(),
        "Bearer a.b".to_owned(),
        "Basic dXNlcjpwYXNz".to_owned(),
        format!("Bearer {}.!!!.s", part("{}")),
        format!("Bearer {}.{}.s", part("{}"), part("not json")),
        format!("Bearer {}.{}.s", part("{}"), part("{\"sub\":null}")),
        format!("Bearer {}.{}.s", part("{}"), part("{\"sub\":{\"id\":1}}")),
        format!("Bearer {}.{}.s", part("{}"), part("{\"other\":1}")),
        format!("Bearer {}.{}.s", part("{}"), part(&nested)),
    ];
    for token in &not_tokens {
        match Request::new("/jwt")
            .header("Authorization", token.as_str())
            .send(scene.gateway())
            .await?
        {
            Answer::Refused(head, _) => {
                let reason = head.header("x-clew-reason");
                assert_eq!(
                    (head.status, reason.as_deref()),
                    (400, Some("key_missing")),
                    "{token:.60}"
                );
            }
            Answer::Opened(_) => panic!("{token:.60} gave a key"),
        }
    }
    let good = format!("Bearer {}.{}.s", part("{}"), part("{\"sub\":\"me\"}"));
    Request::new("/jwt")
        .header("Authorization", good)
        .place(scene.gateway())
        .await?;
    scene::all_answer(&sessions).await
}
