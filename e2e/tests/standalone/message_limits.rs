//! Messages that are too long, or too many: both ends are told why, and nobody else is.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::echo_server::{Behaviour, Say};
use clew_e2e::manifests;
use clew_e2e::scene::{self, SERVICE, Scene};
use clew_e2e::wire::End;
use clew_e2e::ws_client::{ByHand, Request, Session, Traffic};
use serde_json::{Value, json};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::close::{counted, on, open, said, server_side};
use crate::{SOON, by_room};

const MOST: usize = 64 << 10;
const TOO_BIG: (u16, &str) = (1009, "message too big");
const TOO_MANY: (u16, &str) = (1008, "too many messages");

fn route() -> Value {
    let rule = |name: &str, limits: Value| {
        let policy = json!({"sessionKey": by_room(), "limits": limits, "drain": {"timeout": "15s"}});
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    manifests::route(
        "chat",
        json!([
            rule("ws", json!({})),
            rule("small", json!({"maxMessageSize": "64Ki"})),
            rule(
                "slow",
                json!({"messageRate": {"messages": 5, "interval": "1s", "burst": 10}})
            ),
        ]),
    )
}

fn message(size: usize, opcode: Data, last: bool) -> Frame {
    Frame::message(vec![7; size], OpCode::Data(opcode), last)
}

/// A compressed one, as permessage-deflate marks it.
fn compressed(size: usize) -> Frame {
    let mut frame = message(size, Data::Binary, true);
    frame.header_mut().rsv1 = true;
    frame
}

async fn neighbours(scene: &Scene) -> Result<Vec<Session>> {
    let every = Duration::from_millis(300);
    let fragments = Traffic {
        pieces: 16,
        ..Traffic::every(every, MOST)
    };
    let mut sessions = Vec::new();
    for key in 0..5 {
        sessions.push(open(scene, &on("/ws", key), Traffic::every(every, 4 * MOST)).await?);
        sessions.push(open(scene, &on("/small", key), fragments.clone()).await?);
        sessions.push(open(scene, &on("/slow", key), Traffic::every(every, 100)).await?);
    }
    Ok(sessions)
}

async fn by_hand(scene: &Scene, request: &Request) -> Result<ByHand> {
    Ok(request.open(scene.gateway()).await?.by_hand())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_too_much_is_closed_and_both_ends_know_why() -> Result<()> {
    let scene = Scene::with(2, route()).await?;
    let neighbours = neighbours(&scene).await?;
    let mut sizes = 0;

    // What is exactly as long as it may be passes, and the next byte does not. Nothing of the message reaches the server,
    // whether its header comes at once or byte by byte.
    for at_once in [true, false] {
        let mut session = by_hand(&scene, &on("/small", 100 + sizes)).await?;
        session.send(message(MOST, Data::Binary, true)).await?;
        let long = ByHand::bytes(message(MOST + 1, Data::Binary, true))?;
        let (header, payload) = long.split_at(if at_once { 0 } else { 14 });
        for byte in header {
            session.write(&[*byte]).await?;
            tokio::task::yield_now().await;
        }
        // The connection may end before all of it is written.
        session.write(payload).await.ok();
        let (code, reason) = session.close(SOON).await?;
        assert_eq!((code, reason.as_str()), (Some(TOO_BIG.0), TOO_BIG.1));
        let server = server_side(&scene, &session.target).await?;
        assert_eq!(said(&server.close), Some(TOO_BIG), "{server:?}");
        assert_eq!(
            (server.foreign, server.cut),
            (1, false),
            "the first alone: {server:?}"
        );
        assert_eq!(server.end.map(|(end, _)| end), Some(End::Fin));
        sizes += 1;
    }

    // The sum of fragments: our Close stands between two of them.
    let mut session = by_hand(&scene, &on("/small", 100 + sizes)).await?;
    for fragment in 0..4 {
        let opcode = if fragment == 0 {
            Data::Binary
        } else {
            Data::Continue
        };
        session.send(message(MOST / 4, opcode, false)).await?;
    }
    session.send(message(1, Data::Continue, true)).await?;
    assert_eq!(session.close(SOON).await?.0, Some(TOO_BIG.0));
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(said(&server.close), Some(TOO_BIG));
    assert_eq!(
        (server.foreign, server.cut),
        (0, true),
        "the message never ended: {server:?}"
    );
    sizes += 1;

    // Compressed messages count as they are on the wire.
    let mut session = by_hand(&scene, &on("/small", 100 + sizes)).await?;
    session.send(compressed(MOST)).await?;
    session.send(compressed(MOST + 1)).await?;
    assert_eq!(session.close(SOON).await?.0, Some(TOO_BIG.0));
    let server = server_side(&scene, &session.target).await?;
    assert_eq!((said(&server.close), server.foreign), (Some(TOO_BIG), 1));
    sizes += 1;

    // The server's messages as well.
    let say = Say {
        every: Duration::from_millis(200),
        size: MOST + 1,
        pieces: 1,
        gap: Duration::ZERO,
    };
    let request = on("/small", 100 + sizes).behave(&Behaviour {
        say: Some(say),
        ..Behaviour::default()
    });
    let mut session = open(&scene, &request, Traffic::idle()).await?;
    let record = session.ended(SOON).await?;
    assert_eq!(said(&record.close), Some(TOO_BIG));
    assert_eq!((record.frames, record.cut), (0, false), "{record:?}");
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(said(&server.close), Some(TOO_BIG));
    sizes += 1;

    // Too many: the burst passes, and what the rate gave back meanwhile.
    let mut session = by_hand(&scene, &on("/slow", 100)).await?;
    let burst = ByHand::bytes(message(10, Data::Binary, true))?.repeat(100);
    session.write(&burst).await?;
    let (code, reason) = session.close(SOON).await?;
    assert_eq!((code, reason.as_str()), (Some(TOO_MANY.0), TOO_MANY.1));
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(said(&server.close), Some(TOO_MANY));
    println!("a burst of 10 let {} of 100 messages pass", server.foreign);
    assert!((10..15).contains(&server.foreign), "{server:?}");

    counted(&scene, "message_size", sizes).await?;
    counted(&scene, "message_rate", 1).await?;
    scene::all_answer(&neighbours).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_and_edits_while_limits_act_lose_nobody_who_should_live() -> Result<()> {
    let mut scene = Scene::with(3, route()).await?;
    let sessions = neighbours(&scene).await?;
    let victim = scene.pods[0].name.clone();
    let (mut leaving, staying): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|s| s.served_by == victim);
    let mut offenders = Vec::new();
    for key in 200..230 {
        let mut session = by_hand(&scene, &on("/small", key)).await?;
        session.send(message(MOST, Data::Binary, true)).await?;
        offenders.push(session);
    }
    scene.terminate_pod(&victim)?;
    for (edit, session) in offenders.iter_mut().enumerate() {
        if edit % 10 == 0 {
            let mut edited = route();
            edited["spec"]["rules"][2]["limits"]["messageRate"]["burst"] = json!(11 + edit);
            scene.folder.put("route", &edited)?;
        }
        // One on the pod that leaves may have been told to go already.
        session.send(message(MOST + 1, Data::Binary, true)).await.ok();
        let (code, _) = session.close(SOON).await?;
        let drained = session.served_by == victim && code == Some(1012);
        assert!(code == Some(TOO_BIG.0) || drained, "{code:?}");
    }
    for session in &mut leaving {
        let record = session.ended(SOON).await?;
        assert_eq!(said(&record.close), Some((1012, "moving")), "{record:?}");
        assert!(record.is_whole(), "{record:?}");
    }
    println!(
        "{} left, {} stayed, {} were cut",
        leaving.len(),
        staying.len(),
        offenders.len()
    );
    scene::all_answer(&staying).await
}
