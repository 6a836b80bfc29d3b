//! Whose pages may open a session. The hostile handshakes are those that a browser would send for a page of somebody
//! else, and forms that have slipped through comparisons elsewhere.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::envoy::{PlainEnvoy, load_assignment};
use clew_e2e::manifests;
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request};
use serde_json::{Value, json};

use crate::by_room;

/// A path (each is a rule with a policy of its own), a Host, and the values of Origin.
type Handshake = (&'static str, &'static str, &'static [&'static [u8]]);

const HOST: &str = "chat.example.com";

/// 30 handshakes that must not pass.
const HOSTILE: [Handshake; 30] = [
    ("/ws", HOST, &[b"https://evil.example"]),
    ("/ws", HOST, &[b"null"]),
    ("/ws", HOST, &[b""]),
    ("/ws", HOST, &[b"https://chat.example.com.evil.example"]),
    ("/ws", HOST, &[b"https://evil.example/chat.example.com"]),
    ("/ws", HOST, &[b"https://chat.example.com@evil.example"]),
    ("/ws", HOST, &[b"https://evil.example#chat.example.com"]),
    ("/ws", HOST, &[b"https://evil.example\\.chat.example.com"]),
    ("/ws", HOST, &[b"https://sub.chat.example.com"]),
    ("/ws", HOST, &[b"https://example.com"]),
    ("/ws", HOST, &[b"https://chat.example.com:8443"]),
    ("/ws", "chat.example.com:8080", &[b"https://chat.example.com"]),
    (
        "/ws",
        HOST,
        &[b"https://chat.example.com", b"https://evil.example"],
    ),
    ("/ws", HOST, &[b"https://chat.example.com https://evil.example"]),
    ("/ws", HOST, &[b"https://chat.example.com, https://evil.example"]),
    ("/ws", HOST, &[b"https://ch\xe4t.example.com"]),
    ("/ws", HOST, &[b"https://xn--cht-pla.example.com"]),
    ("/ws", HOST, &[b"file://"]),
    ("/ws", "[::1]:8080", &[b"http://[::2]:8080"]),
    ("/listed", HOST, &[b"https://chat.example.com"]),
    ("/listed", HOST, &[b"http://app.example.com"]),
    ("/listed", HOST, &[b"https://app.example.com:8443"]),
    ("/listed", HOST, &[b"https://app.example.com/"]),
    ("/listed", HOST, &[b"https://b\xc3\xbccher.example"]),
    ("/below", HOST, &[b"https://example.com"]),
    ("/below", HOST, &[b"https://evilexample.com"]),
    ("/below", HOST, &[b"https://.example.com"]),
    ("/below", HOST, &[b"https://app.example.com.evil.example"]),
    ("/every", HOST, &[b"https://one.example", b"https://two.example"]),
    ("/strict", HOST, &[]),
];

/// 30 handshakes that must pass.
const BENIGN: [Handshake; 30] = [
    ("/ws", HOST, &[]),
    ("/ws", HOST, &[b"https://chat.example.com"]),
    ("/ws", HOST, &[b"http://chat.example.com"]),
    ("/ws", HOST, &[b"https://chat.example.com:443"]),
    ("/ws", HOST, &[b"http://chat.example.com:80"]),
    ("/ws", HOST, &[b"HTTPS://Chat.Example.Com"]),
    ("/ws", HOST, &[b"https://chat.example.com."]),
    ("/ws", "CHAT.example.com", &[b"https://chat.example.com"]),
    ("/ws", "chat.example.com.", &[b"https://chat.example.com"]),
    ("/ws", "chat.example.com:443", &[b"https://chat.example.com"]),
    ("/ws", "chat.example.com:8080", &[b"http://chat.example.com:8080"]),
    ("/ws", "localhost:3000", &[b"http://localhost:3000"]),
    ("/ws", "127.0.0.1:8080", &[b"http://127.0.0.1:8080"]),
    ("/ws", "[::1]:8080", &[b"http://[::1]:8080"]),
    (
        "/ws",
        "xn--bcher-kva.example",
        &[b"https://xn--bcher-kva.example"],
    ),
    ("/listed", HOST, &[]),
    ("/listed", HOST, &[b"https://app.example.com"]),
    ("/listed", HOST, &[b"https://app.example.com:443"]),
    ("/listed", HOST, &[b"https://APP.example.com."]),
    ("/listed", HOST, &[b"http://dev.example.com:3000"]),
    ("/listed", HOST, &[b"https://xn--bcher-kva.example"]),
    ("/listed", HOST, &[b"https://[2001:db8::1]"]),
    ("/below", HOST, &[b"https://app.example.com"]),
    ("/below", HOST, &[b"https://a.b.c.example.com"]),
    ("/below", HOST, &[b"https://xn--bcher-kva.example.com"]),
    ("/every", HOST, &[b"https://evil.example"]),
    ("/every", HOST, &[b"null"]),
    ("/every", HOST, &[b"chrome-extension://abcdefghijklmnop"]),
    ("/strict", HOST, &[b"https://chat.example.com"]),
    ("/report", HOST, &[b"https://chat.example.com"]),
];

/// Rounds of each handshake, so that both workers see it.
const ROUNDS: usize = 6;

fn route() -> Value {
    let rule = |name: &str, origin: Value| {
        let mut policy = json!({"sessionKey": by_room(), "security": {"origin": origin}});
        if name == "ws" {
            // Nothing is written: the default.
            policy["security"] = json!({});
        }
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    let listed = [
        "https://app.example.com",
        "http://dev.example.com:3000",
        "https://bücher.example",
        "https://[2001:DB8:0::1]",
    ];
    let rules = json!([
        rule("ws", json!({})),
        rule("listed", json!({"allowed": listed})),
        rule("below", json!({"allowed": ["https://*.example.com"]})),
        rule("every", json!({"allowed": ["*"]})),
        rule("strict", json!({"missing": "Deny"})),
        rule("report", json!({"mode": "Report", "missing": "Deny"})),
    ]);
    manifests::route(ROUTE, rules)
}

fn request((path, host, origins): Handshake) -> Request {
    let request = Request::new(format!("{path}?room=7")).host(host);
    let origins = origins.iter().copied();
    origins.fold(request, |request, origin| request.header("Origin", origin))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_others_open_no_session() -> Result<()> {
    let scene = Scene::with(3, route()).await?;
    let addresses: Vec<_> = scene.servers.iter().map(|server| server.address()).collect();
    let cluster = json!({"type": "STATIC", "load_assignment": load_assignment("backends", &addresses)});
    let without = PlainEnvoy::start(cluster, json!([]), 2).await?;
    let (mut accepted, mut refused, mut accepted_without) = (0, 0, 0);
    for _ in 0..ROUNDS {
        for hostile in HOSTILE {
            match request(hostile)
                .header("x-hostile", "yes")
                .send(scene.gateway())
                .await?
            {
                Answer::Refused(head, _) => {
                    let reason = head.header("x-clew-reason");
                    assert_eq!(
                        (head.status, reason.as_deref()),
                        (403, Some("origin_refused")),
                        "{hostile:?}"
                    );
                }
                Answer::Opened(socket) => {
                    println!("accepted: {hostile:?}");
                    accepted += 1;
                    socket.goodbye().await?;
                }
            }
        }
        for benign in BENIGN {
            match request(benign).send(scene.gateway()).await? {
                Answer::Opened(socket) => socket.goodbye().await?,
                Answer::Refused(head, _) => {
                    println!("refused: {benign:?}: {}", head.status);
                    refused += 1;
                }
            }
        }
    }
    let hostile_at_pods = scene
        .servers
        .iter()
        .flat_map(|server| server.connections())
        .filter(|connection| connection.head.header("x-hostile").is_some())
        .count();
    for hostile in HOSTILE {
        if let Answer::Opened(socket) = request(hostile).send(without.gateway).await? {
            accepted_without += 1;
            socket.goodbye().await?;
        }
    }
    println!(
        "of {} hostile handshakes {accepted} accepted, of {} benign ones {refused} refused; \
         of the hostile ones Envoy without the filter accepts {accepted_without} of {}",
        HOSTILE.len() * ROUNDS,
        BENIGN.len() * ROUNDS,
        HOSTILE.len()
    );
    assert_eq!((accepted, hostile_at_pods, refused), (0, 0, 0));
    assert_eq!(accepted_without, HOSTILE.len(), "the control");

    let counted = async |rule: &str, result: &str| {
        let labels = [("clew_route", rule), ("result", result)];
        let admin = scene.clew.ready.admin;
        admin
            .metric("clew_handshakes_total", &labels)
            .await
            .unwrap_or(0.0) as usize
    };
    let at = |path: &str| HOSTILE.iter().filter(|(p, ..)| *p == path).count() * ROUNDS;
    wait::until("every refusal is counted", Duration::from_secs(15), async || {
        for rule in ["ws", "listed", "below", "every", "strict"] {
            let wanted = at(&format!("/{rule}"));
            if counted(&format!("shop/chat/{rule}"), "refused_origin_refused").await != wanted {
                return None;
            }
        }
        Some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_reports_counts_what_it_would_refuse() -> Result<()> {
    let scene = Scene::with(2, route()).await?;
    for (_, host, origins) in HOSTILE {
        request(("/report", host, origins)).place(scene.gateway()).await?;
    }
    for _ in 0..10 {
        request(("/report", HOST, &[b"https://chat.example.com"]))
            .place(scene.gateway())
            .await?;
    }
    // Of the hostile ones one is the host's own there: its rule lists others.
    let own = HOSTILE
        .iter()
        .filter(|(path, _, origins)| *path != "/ws" && **origins == [b"https://chat.example.com"])
        .count();
    let (reported, accepted) = (HOSTILE.len() - own, 10 + own);
    let counted = async |result: &str| {
        let labels = [("clew_route", "shop/chat/report"), ("result", result)];
        let admin = scene.clew.ready.admin;
        admin
            .metric("clew_handshakes_total", &labels)
            .await
            .unwrap_or(0.0) as usize
    };
    wait::until("each is counted once", Duration::from_secs(15), async || {
        let counts = (
            counted("accepted_origin_reported").await,
            counted("accepted").await,
        );
        (counts == (reported, accepted)).then_some(())
    })
    .await
}
