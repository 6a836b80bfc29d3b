//! Whoever begins to close, both ends hear of it, and nobody keeps a session open by not answering.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::echo_server::{Behaviour, Record};
use clew_e2e::scene::{self, Scene};
use clew_e2e::wait;
use clew_e2e::wire::{End, close_frame};
use clew_e2e::ws_client::{ByHand, Request, Session, Traffic};
use serde_json::json;
use tokio::time::Instant;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{SOON, by_room, rooms};

/// What the server knows of the session with this target, once it has seen its end.
pub(crate) async fn server_side(scene: &Scene, target: &str) -> Result<Record> {
    wait::until("the server sees the end", SOON, async || {
        let all = scene.servers.iter().flat_map(|server| server.connections());
        let record = all
            .filter(|connection| connection.head.target == target)
            .last()?
            .record();
        record.end.is_some().then_some(record)
    })
    .await
    .with_context(|| target.to_owned())
}

/// Waits until so many sessions were closed for this reason.
pub(crate) async fn counted(scene: &Scene, reason: &str, sessions: usize) -> Result<()> {
    let admin = scene.clew.ready.admin;
    let labels = [("reason", reason)];
    admin
        .counts("clew_sessions_closed_total", &labels, sessions..=sessions)
        .await
}

/// The code and the reason of a Close.
pub(crate) fn said(close: &Option<(Option<u16>, String, Instant)>) -> Option<(u16, &str)> {
    let (code, reason, _) = close.as_ref()?;
    Some(((*code)?, reason))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_get_the_code_of_whoever_begins() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let neighbours = scene.open(&rooms(0..20), |_| Traffic::idle()).await?;

    // The client begins.
    let mut session = rooms(100..101)[0]
        .open(scene.gateway())
        .await?
        .session(Traffic::idle());
    session.close(3001, "I go");
    let record = session.ended(SOON).await?;
    assert_eq!(said(&record.close), Some((3001, "I go")), "the server's answer");
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(said(&server.close), Some((3001, "I go")));
    assert_eq!(
        (server.end.map(|(end, _)| end), server.cut),
        (Some(End::Fin), false)
    );

    // The server begins.
    let close = Behaviour {
        close: Some(4002),
        ..Behaviour::default()
    };
    let request = rooms(101..102)[0].clone().behave(&close);
    let mut session = request
        .open(scene.gateway())
        .await?
        .session(Traffic::every(Duration::from_millis(50), 100));
    let record = session.ended(SOON).await?;
    assert_eq!(said(&record.close), Some((4002, "goodbye")));
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(
        said(&server.close),
        Some((4002, "goodbye")),
        "the client's answer"
    );

    // Both at once, and the client in the middle of a message.
    let request = rooms(102..103)[0].clone().behave(&close);
    let mut session = request.open(scene.gateway()).await?.by_hand();
    let whole = ByHand::bytes(Frame::message("a", OpCode::Data(Data::Text), true))?;
    let begun = ByHand::bytes(Frame::message("b", OpCode::Data(Data::Text), false))?;
    let bye = ByHand::bytes(close_frame(1001, "me too"))?;
    session.write(&[whole, begun, bye].concat()).await?;
    assert_eq!(session.close(SOON).await?, (Some(4002), "goodbye".to_owned()));
    assert_eq!(session.end(SOON).await?.1, End::Fin);
    let server = server_side(&scene, &session.target).await?;
    assert_eq!(said(&server.close), Some((1001, "me too")));
    assert!(server.cut, "the message that the client did not end");

    // Without any Close: who is gone is gone at both ends.
    let gone = rooms(103..104)[0].open(scene.gateway()).await?.by_hand();
    let target = gone.target.clone();
    drop(gone);
    let server = server_side(&scene, &target).await?;
    assert!(server.close.is_none());
    scene::all_answer(&neighbours).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_answers_a_close_is_cut() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let neighbours = scene.open(&rooms(0..20), |_| Traffic::idle()).await?;
    let deaf = Behaviour {
        deaf: true,
        ..Behaviour::default()
    };
    let closes = Behaviour {
        close: Some(1000),
        ..Behaviour::default()
    };
    let mut deaf_server = rooms(100..101)[0]
        .clone()
        .behave(&deaf)
        .open(scene.gateway())
        .await?
        .by_hand();
    let mut deaf_client = rooms(101..102)[0]
        .clone()
        .behave(&closes)
        .open(scene.gateway())
        .await?
        .by_hand();
    let began = Instant::now();
    deaf_server.send(close_frame(1000, "done")).await?;
    deaf_client
        .send(Frame::message("a", OpCode::Data(Data::Text), true))
        .await?;
    assert_eq!(deaf_client.close(SOON).await?.0, Some(1000));

    let bound = Duration::from_secs(30);
    let ends = tokio::try_join!(deaf_server.end(bound + SOON), deaf_client.end(bound + SOON))?;
    let lasted = began.elapsed();
    println!("a Close without an answer is cut after {lasted:?}: {ends:?}");
    assert!(
        lasted + Duration::from_millis(500) > bound,
        "cut after {lasted:?}, which is no patience"
    );
    for target in [&deaf_server.target, &deaf_client.target] {
        server_side(&scene, target).await?;
    }
    counted(&scene, "server", 1).await?;
    counted(&scene, "reset", 0).await?;
    scene::all_answer(&neighbours).await
}

/// A request of a rule with this path.
pub(crate) fn on(path: &str, key: usize) -> Request {
    Request::new(format!("{path}?room=room-{key}"))
}

/// Opens one session.
pub(crate) async fn open(scene: &Scene, request: &Request, traffic: Traffic) -> Result<Session> {
    Ok(request.open(scene.gateway()).await?.session(traffic))
}
