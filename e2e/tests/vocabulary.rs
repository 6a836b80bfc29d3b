//! The words themselves: the client and the server against each other, and through an Envoy without Clew.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::echo_server::{Behaviour, EchoServer, Say};
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::wait;
use clew_e2e::wire::End;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_numbered_both_ways_and_a_close_is_answered() -> Result<()> {
    let server = EchoServer::start("one").await?;
    let say = Say {
        every: Duration::from_millis(20),
        size: 200 << 10,
        pieces: 5,
        gap: Duration::from_millis(1),
    };
    let behaviour = Behaviour {
        ping: Some(Duration::from_millis(10)),
        say: Some(say),
        ..Behaviour::default()
    };
    let socket = Request::new("/ws?room=7")
        .behave(&behaviour)
        .open(server.address())
        .await?;
    let traffic = Traffic {
        pieces: 3,
        ..Traffic::every(Duration::from_millis(5), 3000)
    };
    let mut session = socket.session(traffic);
    assert_eq!(session.served_by, "one");
    wait::until_true("traffic both ways", SOON, || {
        let record = session.record();
        record.server.received > 5 && record.echoes.received > 5 && record.pings > 5
    })
    .await?;
    session.check().await?;
    session.close(1001, "bye");
    let record = session.ended(SOON).await?;
    assert!(record.is_whole() && record.code() == Some(1001), "{record:?}");
    assert_eq!(record.end.map(|(end, _)| end), Some(End::Fin));
    let seen = server.connections()[0].record();
    assert_eq!(
        (seen.client.received, seen.client.is_whole(), seen.cut),
        (record.sent, true, false)
    );
    assert_eq!(
        seen.close.map(|(code, reason, _)| (code, reason)),
        Some((Some(1001), "bye".to_owned()))
    );
    Ok(())
}

#[tokio::test]
async fn a_message_cut_between_its_fragments_is_seen() -> Result<()> {
    let server = EchoServer::start("dying").await?;
    let say = Say {
        every: Duration::from_millis(1),
        size: 1000,
        pieces: 2,
        gap: Duration::from_secs(60),
    };
    let behaviour = Behaviour {
        say: Some(say),
        announce: true,
        ..Behaviour::default()
    };
    let mut session = Request::new("/")
        .behave(&behaviour)
        .open(server.address())
        .await?
        .session(Traffic::idle());
    wait::until_true("the first half of a message", SOON, || {
        session.record().frames > 0
    })
    .await?;
    server.die();
    let record = session.ended(SOON).await?;
    assert!(
        record.cut && record.code() == Some(1006) && !record.is_whole(),
        "{record:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_stubborn_client_does_not_answer_a_close() -> Result<()> {
    let server = EchoServer::start("closing").await?;
    let stubborn = Traffic {
        stubborn: true,
        ..Traffic::every(Duration::from_millis(5), 100)
    };
    let session = Request::new("/").open(server.address()).await?.session(stubborn);
    session.check().await?;
    let before = server.connections()[0].record().client.received;
    wait::until_true("more messages", SOON, || {
        server.connections()[0].record().client.received > before + 3
    })
    .await?;
    assert!(server.connections()[0].record().close.is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_envoy_carries_sessions_and_answers_on_its_admin_port() -> Result<()> {
    let server = EchoServer::start("behind").await?;
    let cluster =
        json!({"type": "STATIC", "load_assignment": load_assignment("backends", &[server.address()])});
    let envoy = PlainEnvoy::start(cluster, json!([]), 2).await?;
    let session = Request::new("/ws")
        .open(envoy.gateway)
        .await?
        .session(Traffic::idle());
    session.check().await?;
    assert_eq!(session.served_by, "behind");
    let refuse = Behaviour {
        status: Some(403),
        ..Behaviour::default()
    };
    let Answer::Refused(head, body) = Request::new("/ws").behave(&refuse).send(envoy.gateway).await? else {
        panic!("a 101 for a 403");
    };
    assert_eq!((head.status, &body[..]), (403, &b"behind"[..]));
    let stats = envoy
        .admin
        .stats("http.plain.downstream_cx_upgrades_total")
        .await?;
    assert_eq!(
        stats.into_values().collect::<Vec<_>>(),
        [2],
        "one was opened, one refused"
    );
    assert_eq!(envoy.admin.hosts().await?, [server.address().to_string()]);
    Ok(())
}

#[tokio::test]
async fn hostile_bytes_arrive_as_they_were_sent() -> Result<()> {
    let server = EchoServer::start("hostile").await?;
    let bytes: Vec<u8> = (0x80..=0xFF).collect();
    Request::new("/")
        .header("x-room", bytes.clone())
        .place(server.address())
        .await?;
    let head = &server.connections()[0].head;
    assert!(head.headers.contains(&("x-room".to_owned(), bytes)));
    Ok(())
}
