//! The same key finds the same pod, whatever carries the key and however it is spelled.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::echo_server::{Behaviour, EchoServer, SERVED_BY};
use clew_e2e::manifests;
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::statistics::{CHANCE, fair_shares};
use clew_e2e::ws_client::{Answer, Request, Traffic};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

const KEYS: usize = 300;
const RECONNECTS: usize = 3;

/// One way to carry a key: a source, and how the nth reconnect spells the key.
struct Carrier {
    prefix: &'static str,
    source: Value,
    request: fn(usize, usize) -> Request,
}

fn carriers() -> Vec<Carrier> {
    vec![
        Carrier {
            prefix: "/cookie",
            source: json!({"type": "Cookie", "cookie": {"name": "sid"}}),
            request: |key, time| match time {
                0 => Request::new("/cookie").header("Cookie", format!("theme=dark; sid=key-{key}; xsid=no")),
                1 => Request::new("/cookie").header("Cookie", format!("sid=\"key-{key}\"")),
                _ => Request::new("/cookie")
                    .header("Cookie", "a=b")
                    .header("cookie", format!("sid=key-{key}")),
            },
        },
        Carrier {
            prefix: "/header",
            source: json!({"type": "Header", "header": {"name": "X-Room"}}),
            request: |key, time| {
                let name = ["X-Room", "x-room", "X-ROOM"][time % 3];
                Request::new("/header").header(name, format!("key {key}"))
            },
        },
        Carrier {
            prefix: "/query",
            source: json!({"type": "QueryParam", "queryParam": {"name": "room"}}),
            request: |key, time| match time {
                0 => Request::new(format!("/query?room=key-{key}")),
                1 => Request::new(format!("/query?v=2&roo=no&room=%6Bey%2d{key}&room=other")),
                _ => Request::new(format!("/query?r%6Fom=key-{key}&")),
            },
        },
        Carrier {
            prefix: "/path",
            source: json!({"type": "PathSegment", "pathSegment": {"index": 1}}),
            request: |key, time| Request::new(format!("/path/key-{key}{}", ["", "/", "/more?x=1"][time % 3])),
        },
        Carrier {
            prefix: "/jwt",
            source: json!({
                "type": "JWTClaim",
                "jwtClaim": {"name": "user.id", "header": "Authorization", "verification": "None"},
            }),
            request: |key, time| {
                Request::new("/jwt").header("Authorization", format!("Bearer {}", token(key, time)))
            },
        },
        Carrier {
            prefix: "/subprotocol",
            source: json!({"type": "Subprotocol", "subprotocol": {"prefix": "room."}}),
            request: |key, time| {
                let offer = match time {
                    0 => format!("chat.v2, room.{key}"),
                    1 => format!("room.{key},chat.v2"),
                    _ => format!("chat.v1 , room.{key} , chat.v2"),
                };
                Request::new("/subprotocol").header("Sec-WebSocket-Protocol", offer)
            },
        },
        Carrier {
            prefix: "/ip",
            source: json!({"type": "SourceIP", "sourceIP": {"trustedHops": 0}}),
            request: |key, _| Request::new("/ip").from(peer(key)),
        },
        Carrier {
            prefix: "/hops4",
            source: json!({"type": "SourceIP", "sourceIP": {"trustedHops": 1}}),
            request: |key, time| {
                let hops = format!("192.0.2.{time}, 198.51.{}.{}", key / 250, key % 250);
                Request::new("/hops4").header("X-Forwarded-For", hops)
            },
        },
        Carrier {
            prefix: "/hops6",
            source: json!({"type": "SourceIP", "sourceIP": {"trustedHops": 2}}),
            request: |key, time| {
                let hops = format!("192.0.2.{time}, 2001:db8::{key:x}, 198.51.100.{time}");
                Request::new("/hops6").header("X-Forwarded-For", hops)
            },
        },
    ]
}

fn peer(key: usize) -> Ipv4Addr {
    let octet = |n: usize| u8::try_from(n).expect("fewer than 250 × 250 keys");
    Ipv4Addr::new(127, 10, octet(key / 250), octet(key % 250 + 1))
}

/// Unsigned, with claims that differ each time but for the one that matters; every other key is a number.
pub(crate) fn token(key: usize, time: usize) -> String {
    let id = if key.is_multiple_of(2) {
        json!(key)
    } else {
        json!(format!("user-{key}"))
    };
    let part = |value: Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let claims = json!({"iat": 1_700_000_000 + time, "user": {"name": "n", "id": id}, "id": time});
    format!(
        "{}.{}.c2lnbmF0dXJl{time}",
        part(json!({"alg": "RS256", "typ": "JWT"})),
        part(claims)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_source_brings_a_key_back_to_its_pod() -> Result<()> {
    let carriers = carriers();
    let rules: Vec<Value> = carriers
        .iter()
        .map(|carrier| {
            let policy = json!({"sessionKey": {"sources": [carrier.source], "onMissing": "Reject"}});
            manifests::rule(&carrier.prefix[1..], carrier.prefix, SERVICE, PORT, policy)
        })
        .chain([manifests::rule(
            "rooms",
            "/ws",
            SERVICE,
            PORT,
            json!({"sessionKey": by_room()}),
        )])
        .collect();
    let scene = Scene::with(5, manifests::route(ROUTE, json!(rules))).await?;
    for carrier in &carriers {
        let mut homes: Vec<Vec<String>> = Vec::new();
        for time in 0..RECONNECTS {
            let requests: Vec<Request> = (0..KEYS).map(|key| (carrier.request)(key, time)).collect();
            homes.push(scene.place(&requests).await?);
        }
        let strays = (0..KEYS)
            .filter(|key| homes.iter().any(|home| home[*key] != homes[0][*key]))
            .count();
        // The control: the keys are told apart, or all would be at home anywhere.
        let mut shares: BTreeMap<&str, usize> = scene.pods.iter().map(|pod| (pod.name.as_str(), 0)).collect();
        homes[0]
            .iter()
            .for_each(|home| *shares.entry(home).or_default() += 1);
        let counts: Vec<usize> = shares.into_values().collect();
        let p = fair_shares(&counts, &[1.0; 5])?;
        println!(
            "{:<13} {strays} strays of {KEYS} × {RECONNECTS}; by pod {counts:?}, p = {p:.3}",
            carrier.prefix
        );
        assert_eq!(strays, 0, "{}", carrier.prefix);
        assert!(p > CHANCE, "{} deals {counts:?}", carrier.prefix);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_source_with_a_value_wins() -> Result<()> {
    let sources = json!([
        {"type": "Cookie", "cookie": {"name": "sid"}},
        {"type": "Header", "header": {"name": "x-room"}},
        {"type": "QueryParam", "queryParam": {"name": "room"}},
    ]);
    let scene = Scene::new(5, json!({"sessionKey": {"sources": sources}})).await?;
    let all = |key: usize| {
        let cookie = format!("sid=key-{key}");
        Request::new("/ws?room=elsewhere")
            .header("x-room", "elsewhere")
            .header("cookie", cookie)
    };
    let two = |key: usize| Request::new("/ws?room=elsewhere").header("x-room", format!("key-{key}"));
    let empty_first = |key: usize| {
        Request::new(format!("/ws?room=key-{key}"))
            .header("x-room", "")
            .header("cookie", "sid=; other=1")
    };
    let one = |key: usize| Request::new(format!("/ws?room=key-{key}"));
    let mut homes = Vec::new();
    for form in [&all as &dyn Fn(usize) -> Request, &two, &empty_first, &one] {
        homes.push(scene.place(&(0..60).map(form).collect::<Vec<_>>()).await?);
    }
    assert!(
        homes.iter().all(|home| *home == homes[0]),
        "the value counts, not what carried it"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_without_a_key_goes_where_fewest_are() -> Result<()> {
    let scene = Scene::new(4, json!({"sessionKey": by_room()})).await?;
    let requests = vec![Request::new("/ws"); 200];
    let mut shares = BTreeMap::new();
    let mut sessions = Vec::new();
    for request in &requests {
        sessions.push(request.open(scene.gateway()).await?.session(Traffic::idle()));
    }
    sessions
        .iter()
        .for_each(|s| *shares.entry(s.served_by.clone()).or_insert(0) += 1);
    println!("200 sessions without a key: {shares:?}");
    // Fewest of two keeps 200 on 4 pods within a few of 50; one draw at random would not in 97 of 100 runs.
    assert!(
        shares.len() == 4 && shares.values().all(|n| (44..=56).contains(n)),
        "{shares:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_is_refused_or_made_where_the_route_says_so() -> Result<()> {
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
        manifests::rule(
            "strict",
            "/strict",
            SERVICE,
            PORT,
            json!({
                "sessionKey": {"sources": [{"type": "Header", "header": {"name": "x-room"}}], "onMissing": "Reject"},
            })
        ),
        manifests::rule(
            "made",
            "/made",
            SERVICE,
            PORT,
            json!({
                "sessionKey": {
                    "sources": [{"type": "Cookie", "cookie": {"name": "clew-key"}}],
                    "onMissing": "Generate",
                    "generate": {"cookieName": "clew-key"},
                },
            })
        ),
    ]);
    let scene = Scene::with(5, manifests::route(ROUTE, rules)).await?;

    let Answer::Refused(head, _) = Request::new("/strict").send(scene.gateway()).await? else {
        panic!("a session without a key where one is required");
    };
    assert_eq!(
        (head.status, head.header("x-clew-reason").as_deref()),
        (400, Some("key_missing"))
    );

    let mut keys = BTreeMap::new();
    for _ in 0..40 {
        let socket = Request::new("/made").open(scene.gateway()).await?;
        let cookie = socket.head.header("set-cookie").expect("a cookie on the 101");
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        let attributes = attributes.to_ascii_lowercase();
        for wanted in ["httponly", "samesite=lax", "path=/made"] {
            assert!(attributes.contains(wanted), "{cookie}");
        }
        assert!(
            !attributes.contains("secure"),
            "the listener is plain HTTP: {cookie}"
        );
        keys.insert(pair.to_owned(), socket.served_by());
        socket.goodbye().await?;
    }
    assert_eq!(keys.len(), 40, "each session has a key of its own");
    for (cookie, home) in keys {
        let again = Request::new("/made")
            .header("Cookie", cookie.as_str())
            .open(scene.gateway())
            .await?;
        assert_eq!(again.served_by(), home);
        assert_eq!(
            again.head.header("set-cookie"),
            None,
            "a key that is there is not made again"
        );
        again.goodbye().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_can_neither_aim_nor_see() -> Result<()> {
    let scene = Scene::new(5, json!({"sessionKey": by_room()})).await?;
    let honest = scene.place(&rooms(0..40)).await?;
    let target = scene.pods[0].address.to_string();
    for (key, home) in honest.iter().enumerate() {
        let request = Request::new(format!("/ws?room=room-{key}"))
            .header("X-Clew-Host", target.as_str())
            .header("x-clew-host", target.as_str())
            .header("x-clew-backend", "shop/chat:8080")
            .header("x-clew-reason", "aimed");
        let socket = request.open(scene.gateway()).await?;
        assert_eq!(&socket.served_by(), home);
        assert!(
            !socket
                .head
                .headers
                .iter()
                .any(|(name, _)| name.starts_with("x-clew-")),
            "{:?}",
            socket.head
        );
        socket.goodbye().await?;
        let server = scene.server(home)?;
        let seen = server
            .connections()
            .last()
            .map(|c| c.head.clone())
            .expect("a connection");
        assert_eq!(
            seen.values("x-clew-host").collect::<Vec<_>>(),
            [server.address().to_string()]
        );
        assert_eq!(seen.header("x-clew-reason"), None);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_answers_and_plain_requests_pass_untouched() -> Result<()> {
    let scene = Scene::new(3, json!({"sessionKey": by_room()})).await?;
    let admin = scene.clew.ready.admin;
    // Without any filter, Envoy 1.40 cuts the body of a 2xx or 3xx answer to an upgrade.
    let cut_by_envoy = |status| status < 400;
    for status in [200, 302, 401, 403, 503] {
        let refuse = Behaviour {
            status: Some(status),
            ..Behaviour::default()
        };
        for (request, upgrade) in [
            (Request::new("/ws?room=7"), true),
            (Request::new("/ws?room=7").plain(), false),
        ] {
            let Answer::Refused(head, body) = request.behave(&refuse).send(scene.gateway()).await? else {
                panic!("a 101 for {status}");
            };
            assert_eq!(head.status, status);
            assert!(
                head.header("x-clew-reason").is_none() && head.header("set-cookie").is_none(),
                "{head:?}"
            );
            let server = head.header(SERVED_BY).expect("the server's own header");
            scene.server(&server)?;
            let cut = upgrade && cut_by_envoy(status);
            assert!(
                cut || String::from_utf8_lossy(&body) == server,
                "{body:?} {head:?}"
            );
        }
    }
    let Answer::Refused(head, _) = Request::new("/elsewhere").send(scene.gateway()).await? else {
        panic!("a 101 where no route leads");
    };
    assert_eq!(head.status, 404);
    let session = Request::new("/ws?room=7")
        .open(scene.gateway())
        .await?
        .session(Traffic::idle());
    session.check().await?;
    drop(session);
    // Envoy's counts lag: all sessions that there ever were come to be counted, and nothing else.
    let sessions: usize = scene.servers.iter().map(EchoServer::opened).sum();
    let refused = [("result", "failed")];
    clew_e2e::wait::until("all are counted, as what they were", SOON, async || {
        let opened = admin.metric("clew_sessions_opened_total", &[]).await.ok()?;
        let failed = admin.metric("clew_handshakes_total", &refused).await.ok()?;
        ((opened - sessions as f64).abs() < 0.5 && failed > 4.5).then_some(())
    })
    .await
}
