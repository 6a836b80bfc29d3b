//! Sessions that say nothing, or last too long, are closed; and what an edit says holds for those who are there.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::Behaviour;
use clew_e2e::manifests;
use clew_e2e::scene::{self, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::wire::End;
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use serde_json::{Value, json};
use tokio::time::Instant;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::close::{counted, on, open, said, server_side};
use crate::{SOON, by_room};

fn route(rules: &[(&str, Value)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(name, timeouts)| {
            let policy = json!({"sessionKey": by_room(), "timeouts": timeouts});
            manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
        })
        .collect();
    manifests::route("chat", json!(rules))
}

async fn several(scene: &Scene, path: &str, n: usize, traffic: &Traffic) -> Result<Vec<Session>> {
    let requests: Vec<Request> = (0..n).map(|key| on(path, key)).collect();
    scene.open(&requests, |_| traffic.clone()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_old_sessions_are_closed_and_nobody_else() -> Result<()> {
    let rules = [
        ("ws", json!({})),
        ("idle", json!({"idle": "3s"})),
        ("short", json!({"maxConnectionDuration": "8s"})),
        ("slow", json!({"handshake": "1s"})),
    ];
    let scene = Scene::with(2, route(&rules)).await?;
    let mut neighbours = several(&scene, "/ws", 10, &Traffic::idle()).await?;
    neighbours.extend(
        several(
            &scene,
            "/idle",
            5,
            &Traffic::every(Duration::from_millis(500), 100),
        )
        .await?,
    );
    // A heartbeat is a sign of life.
    let ping = Behaviour {
        ping: Some(Duration::from_millis(500)),
        ..Behaviour::default()
    };
    for key in 100..105 {
        let request = on("/idle", key).behave(&ping);
        neighbours.push(open(&scene, &request, Traffic::idle()).await?);
    }

    let began = Instant::now();
    let mut idle = several(&scene, "/idle", 10, &Traffic::idle()).await?;
    let mut deaf = on("/idle", 999).open(scene.gateway()).await?.by_hand();
    let mut short = several(&scene, "/short", 5, &Traffic::idle()).await?;
    for key in 50..55 {
        let traffic = Traffic::every(Duration::from_millis(100), 5_000);
        short.push(open(&scene, &on("/short", key), traffic).await?);
    }

    // A backend that never answers an upgrade.
    let silent = Behaviour {
        silent: true,
        ..Behaviour::default()
    };
    let asked = Instant::now();
    let Answer::Refused(head, body) = on("/slow", 1).behave(&silent).send(scene.gateway()).await? else {
        panic!("nobody answered it")
    };
    assert_eq!(head.status, 504, "{head:?} {body:?}");
    println!("a handshake of 1 s was given up after {:?}", asked.elapsed());
    // Envoy counts from when its loop last looked at the clock.
    assert!((900..5_000).contains(&asked.elapsed().as_millis()));

    assert_eq!(deaf.close(SOON).await?, (Some(1001), "idle timeout".to_owned()));
    for session in &mut idle {
        let record = session.ended(SOON).await?;
        assert_eq!(said(&record.close), Some((1001, "idle timeout")), "{record:?}");
        let server = server_side(&scene, &session.target).await?;
        assert_eq!(said(&server.close), Some((1001, "idle timeout")));
        assert_eq!(server.end.map(|(end, _)| end), Some(End::Fin));
    }
    println!("10 idle sessions were closed within {:?}", began.elapsed());
    let mut moments = Vec::new();
    for session in &mut short {
        let record = session.ended(SOON).await?;
        assert_eq!(
            said(&record.close),
            Some((1012, "maximum connection duration")),
            "{record:?}"
        );
        assert!(record.is_whole(), "{record:?}");
        let server = server_side(&scene, &session.target).await?;
        assert_eq!(said(&server.close), Some((1012, "maximum connection duration")));
        assert_eq!(
            server.client.received, record.sent,
            "nothing of the client's is lost"
        );
        moments.push(
            record
                .close
                .map(|(.., at)| at - session.opened)
                .context("a moment")?,
        );
    }
    println!("sessions that may last 8 s lasted {moments:?}");
    assert!(
        moments
            .iter()
            .all(|lasted| (6_500..9_500).contains(&lasted.as_millis()))
    );
    // One that does not answer: its server is told, and it is cut.
    deaf.end(SOON).await?;
    let server = server_side(&scene, &deaf.target).await?;
    assert_eq!(said(&server.close), Some((1001, "idle timeout")));

    counted(&scene, "idle", idle.len() + 1).await?;
    counted(&scene, "duration", short.len()).await?;
    scene::all_answer(&neighbours).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_holds_for_sessions_that_began_before_it() -> Result<()> {
    let rules = |a: &Value, b: &Value| [("ws", json!({})), ("a", a.clone()), ("b", b.clone())];
    let (none, short) = (json!({"idle": "1h"}), json!({"idle": "5s"}));
    let scene = Scene::with(2, route(&rules(&none, &short))).await?;
    let neighbours = several(&scene, "/ws", 10, &Traffic::idle()).await?;
    let mut hurried = several(&scene, "/a", 10, &Traffic::idle()).await?;
    let spared = several(&scene, "/b", 10, &Traffic::idle()).await?;
    // Both at once: one gets less time, one more.
    scene
        .folder
        .put("route", &route(&rules(&json!({"idle": "1s"}), &none)))?;
    let edited = Instant::now();
    for session in &mut hurried {
        let record = session.ended(SOON).await?;
        assert_eq!(said(&record.close), Some((1001, "idle timeout")));
    }
    println!(
        "a shorter idle timeout closed what was there {:?} after it was saved",
        edited.elapsed()
    );
    assert!(edited.elapsed() < Duration::from_secs(8));
    let began = Instant::now();
    wait::until_true("the old timeout of the others has passed", SOON, || {
        began.elapsed() > Duration::from_secs(7)
    })
    .await?;
    scene::all_answer(&spared).await?;

    // A rule that is gone holds for those who are still there.
    scene
        .folder
        .put("route", &route(&rules(&json!({"idle": "8s"}), &none)))?;
    wait::until("the edit in force", SOON, async || {
        let mut probe = on("/a", 400).open(scene.gateway()).await.ok()?.by_hand();
        probe.close(Duration::from_secs(3)).await.is_err().then_some(())
    })
    .await?;
    let mut last = Vec::new();
    for key in 500..505 {
        last.push(on("/a", key).open(scene.gateway()).await?.by_hand());
    }
    scene
        .folder
        .put("route", &route(&[("ws", json!({})), ("b", none)]))?;
    let probe = on("/a", 505);
    wait::until("the rule is gone", SOON, async || {
        let answer = probe.send(scene.gateway()).await.ok()?;
        matches!(answer, Answer::Refused(..)).then_some(())
    })
    .await?;
    for session in &mut last {
        session
            .send(Frame::message("still here", OpCode::Data(Data::Text), true))
            .await?;
    }
    let spoke = Instant::now();
    for session in &mut last {
        assert_eq!(
            session.close(SOON).await?,
            (Some(1001), "idle timeout".to_owned())
        );
    }
    let silent = spoke.elapsed();
    println!("sessions of a rule that is gone were closed after {silent:?} of silence");
    assert!((7_000..11_000).contains(&silent.as_millis()));
    scene::all_answer(&neighbours).await
}
