//! A line of the access log tells the truth of its session, and no secret.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::Behaviour;
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::standalone::{Clew, Options, State};
use clew_e2e::wire::close_frame;
use clew_e2e::ws_client::{Answer, ByHand, Request, Traffic};
use clew_e2e::{manifests, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::SOON;

/// In every place where a key or a credential can be.
const SECRETS: [&str; 6] = [
    "query-secret",
    "header-secret",
    "cookie-secret",
    "token-secret",
    "path-secret",
    "agent-secret",
];

fn route() -> Value {
    let sources = json!({"sources": [
        {"type": "Header", "header": {"name": "x-room"}},
        {"type": "QueryParam", "queryParam": {"name": "room"}},
        {"type": "Cookie", "cookie": {"name": "sid"}},
    ]});
    let rule = |name: &str, more: Value| {
        let mut policy = json!({"sessionKey": sources, "drain": {"timeout": "5s"}});
        policy
            .as_object_mut()
            .expect("it is one")
            .extend(more.as_object().expect("it is one").clone());
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    manifests::route(
        ROUTE,
        json!([
            rule("ws", json!({})),
            rule(
                "slow",
                json!({"limits": {"messageRate": {"messages": 1, "interval": "1s", "burst": 3}}})
            ),
            rule(
                "bound",
                json!({"sessionPersistence": {"type": "Header", "header": {"name": "x-session"}}})
            ),
        ]),
    )
}

fn with_secrets(target: &str) -> Request {
    let [query, header, cookie, token, path, agent] = SECRETS;
    Request::new(format!("{target}/{path}?room={query}"))
        .header("x-room", header)
        .header("cookie", format!("sid={cookie}"))
        .header("authorization", format!("Bearer {token}"))
        .header("user-agent", agent)
}

/// The log's lines for which this holds, once there are so many.
async fn lines(log: &std::path::Path, count: usize, holds: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    wait::until("the log has its lines", SOON, async || {
        let text = std::fs::read_to_string(log).ok()?;
        let all: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let lines: Vec<Value> = all.into_iter().filter(|line| holds(line)).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
    .with_context(|| std::fs::read_to_string(log).unwrap_or_default())
}

/// What a line says of a session.
fn told(line: &Value) -> [&str; 9] {
    [
        "clew_route",
        "clew_key_source",
        "clew_affinity",
        "clew_close_reason",
        "clew_close_code",
        "clew_messages_received",
        "clew_messages_sent",
        "clew_bytes_received",
        "clew_bytes_sent",
    ]
    .map(|fact| line[fact].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_says_who_closed_the_session_and_what_passed() -> Result<()> {
    let mut log = None;
    let mut scene = Scene::as_told(2, route(), |options| {
        let path = options.state.join("access.log");
        options
            .more
            .extend(["--access-log".into(), path.to_string_lossy().into_owned()]);
        log = Some(path);
        Ok(())
    })
    .await?;
    let log = log.context("it was told")?;
    let gateway = scene.gateway();

    // The client closes with 1000, after 3 messages of 50 bytes and their echoes.
    let mut socket = with_secrets("/ws").open(gateway).await?;
    socket.echo(3, 50).await?;
    socket.goodbye().await?;
    // The server closes.
    let close = Behaviour {
        close: Some(4002),
        ..Behaviour::default()
    };
    let mut session = with_secrets("/ws")
        .behave(&close)
        .open(gateway)
        .await?
        .session(Traffic::every(Duration::from_millis(50), 100));
    assert_eq!(session.ended(SOON).await?.code(), Some(4002));
    // Nobody does.
    drop(with_secrets("/ws").open(gateway).await?);
    // Too many messages.
    let mut fast = with_secrets("/slow").open(gateway).await?.by_hand();
    fast.write(&ByHand::bytes(Frame::message("x", OpCode::Data(Data::Text), true))?.repeat(20))
        .await?;
    assert_eq!(fast.close(SOON).await?.0, Some(1008));
    fast.send(close_frame(1008, "")).await.ok();
    // By a token, which the first session got.
    let socket = with_secrets("/bound").open(gateway).await?;
    let token = socket.head.header("x-session").context("no token")?;
    socket.goodbye().await?;
    with_secrets("/bound")
        .header("x-session", token.as_str())
        .open(gateway)
        .await?
        .goodbye()
        .await?;
    // Refused.
    let refused = with_secrets("/ws")
        .header("origin", "https://evil.example")
        .send(gateway)
        .await?;
    assert!(matches!(refused, Answer::Refused(..)));
    // Its pod leaves.
    let mut leaving = with_secrets("/ws").open(gateway).await?.session(Traffic::idle());
    let pod = leaving.served_by.clone();
    scene.terminate_pod(&pod)?;
    assert_eq!(leaving.ended(SOON).await?.code(), Some(1012));

    let of = |rule: &'static str, key: &'static str, value: &'static str| {
        move |line: &Value| line["clew_route"] == format!("shop/chat/{rule}") && line[key] == value
    };
    // The probes of the scene closed with 1000 too, and said nothing.
    let client = lines(&log, 1, |line| {
        of("ws", "clew_close_reason", "client")(line) && line["clew_messages_received"] != "0"
    })
    .await?;
    let [
        rule,
        source,
        affinity,
        _,
        code,
        received,
        sent,
        bytes_in,
        bytes_out,
    ] = told(&client[0]);
    assert_eq!(
        (rule, source, affinity, code),
        ("shop/chat/ws", "Header", "hit", "1000")
    );
    assert_eq!((received, sent), ("3", "3"));
    // Three messages and a Close of 2 bytes, masked one way.
    assert_eq!((bytes_in, bytes_out), ("176", "160"), "{:?}", client[0]);
    let server = lines(&log, 1, of("ws", "clew_close_reason", "server")).await?;
    assert_eq!(told(&server[0])[4], "4002");
    let aborted = lines(&log, 1, of("ws", "clew_close_reason", "aborted")).await?;
    assert_eq!(told(&aborted[0])[4], "1006");
    let rate = lines(&log, 1, of("slow", "clew_close_reason", "message_rate")).await?;
    assert_eq!(
        (told(&rate[0])[4], told(&rate[0])[5]),
        ("1008", "3"),
        "{:?}",
        rate[0]
    );
    let drain = lines(&log, 1, of("ws", "clew_close_reason", "drain")).await?;
    assert_eq!(told(&drain[0])[4], "1012");
    let bound = lines(&log, 2, of("bound", "clew_close_reason", "client")).await?;
    let sources: Vec<_> = bound.iter().map(|line| told(line)[1]).collect();
    assert_eq!(sources, ["Header", "Token"]);
    let refused = lines(&log, 1, of("ws", "response_code_details", "clew_origin_refused")).await?;
    assert_eq!(
        (&refused[0]["response_code"], told(&refused[0])[3]),
        (&json!(403), ""),
        "{:?}",
        refused[0]
    );

    let text = std::fs::read_to_string(&log)?;
    for secret in SECRETS.into_iter().chain([token.as_str()]) {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
    let longest = text.lines().map(str::len).max();
    println!("{} lines, the longest of {longest:?} bytes", text.lines().count());
    assert!(longest < Some(2_000));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_asked_for_later_cuts_nobody_and_waits_for_the_next_envoy() -> Result<()> {
    let mut scene = Scene::with(1, route()).await?;
    let log = scene.state.path().join("access.log");
    let session = Request::new("/ws?room=1")
        .open(scene.gateway())
        .await?
        .session(Traffic::idle());
    scene.clew.signal(Signal::HUP)?;
    scene.clew.end(SOON).await?;
    let mut options = Options::new(scene.folder.path(), scene.state.path());
    options
        .more
        .extend(["--access-log".into(), log.to_string_lossy().into_owned()]);
    scene.clew = Clew::start(&options).await?;
    scene.clew.says(0, "CLEW0911").await?;
    session.check().await?;
    assert!(session.is_live());

    let elsewhere = State::new()?;
    let unwritable = elsewhere.path().join("no/such/folder/log");
    let mut options = Options::new(scene.folder.path(), elsewhere.path());
    options.more = vec!["--access-log".into(), unwritable.to_string_lossy().into_owned()];
    let refused = Clew::refused(&options).await?;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("--access-log"), "{}", refused.stderr);
    Ok(())
}
