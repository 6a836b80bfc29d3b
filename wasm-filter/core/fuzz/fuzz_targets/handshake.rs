//! Any upgrade on any rule is refused, or placed on a pod of the rule, and nothing of the request is in what is written;
//! only a token that was sealed binds it to a pod.
//!
//! Input: a byte that picks the rule and the circumstances; then in lines: `:path`, the peer, and `name:value` for each header.
//! The header `t` with a digit for its value brings the token of that number, in a header and in a cookie.
#![no_main]

use std::rc::Rc;
use std::sync::LazyLock;

use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::{Backend, OnMissing, Reason, Rule};
use clew_filter_core::handshake::{self, Binding, Known, Presented, Random};
use clew_filter_core::live::Load;
use clew_filter_core::placement::Seed;
use clew_filter_core::session_key::Request;
use clew_filter_core::token::{LEEWAY_MS, Opened, Ring, Token};
use clew_filter_core::world::{LaidBackend, LaidRule};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const SEED: Seed = Seed::new([7; 16]);
const PODS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"];
const NOW: u64 = 1_800_000_000_000;
const NAME: &str = "a/a/a";
const GOOD_FOR: u64 = 3_600_000;

/// A token that requests may bring.
struct Sealed {
    text: String,
    good: bool,
}

fn key(digit: &str, signs: bool) -> SigningKey {
    SigningKey {
        secret: digit.repeat(64),
        signs,
    }
}

static RING: LazyLock<Ring> = LazyLock::new(|| Ring::new(&[key("7", true), key("8", false)]));

static TOKENS: LazyLock<Vec<Sealed>> = LazyLock::new(|| {
    let sealed = |digit: &str, pod: &str, uid: &str, rule: &str, issued_ms: u64, good: bool| {
        let token = Token {
            pod: pod.to_owned(),
            uid: uid.to_owned(),
            issued_ms,
            expires_ms: None,
        };
        let ring = Ring::new(&[key(digit, true)]);
        let text = ring.seal(&token, rule).expect("a key that signs");
        Sealed { text, good }
    };
    let expired = NOW - GOOD_FOR - LEEWAY_MS - 1;
    vec![
        sealed("7", "p0", "u0", NAME, NOW, true),
        sealed("7", "p1", "u1", NAME, NOW, true),
        // Of a key that signs no more, of a pod that is gone, and of one whose name another pod has now.
        sealed("8", "p2", "u2", NAME, NOW, true),
        sealed("7", "p3", "u3", NAME, NOW, true),
        sealed("7", "p0", "u1", NAME, NOW, true),
        sealed("7", "p0", "u0", "a/a/b", NOW, false),
        sealed("9", "p0", "u0", NAME, NOW, false),
        sealed("7", "p0", "u0", NAME, expired, false),
    ]
});

/// As the channel brings them.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let one = json!([{"id": "a/a:1", "weight": 1}]);
    let two = json!([{"id": "a/a:1", "weight": 1}, {"id": "a/b:1", "weight": 3}]);
    let sources = json!([
        {"type": "Cookie", "name": "k"},
        {"type": "Header", "name": "k"},
        {"type": "QueryParam", "name": "k"},
        {"type": "PathSegment", "index": 1},
        {"type": "JWTClaim", "path": ["user", "id"], "header": "authorization"},
        {"type": "Subprotocol", "prefix": "k."},
        {"type": "SourceIP", "trustedHops": 1},
    ]);
    let generate = json!({"type": "Generate", "cookie": "g", "path": "/"});
    let rule = |more: serde_json::Value| {
        let mut rule = json!({
            "config": "0000000a", "name": NAME, "backends": one,
            "drain": {"timeoutMs": 1, "closeCode": 1012, "closeReason": ""},
        });
        let (Some(rule_fields), serde_json::Value::Object(more)) = (rule.as_object_mut(), more) else {
            unreachable!("both are objects");
        };
        rule_fields.extend(more);
        serde_json::from_value(rule).expect("a rule")
    };
    vec![
        rule(json!({"sessionKey": sources})),
        rule(json!({"sessionKey": sources, "onMissing": generate, "backends": two})),
        rule(json!({"sessionKey": sources, "onMissing": {"type": "Reject"}})),
        rule(json!({"sessionKey": sources, "boundedLoadPercent": 110})),
        rule(json!({"balancer": "LeastSessions", "onMissing": generate})),
        rule(json!({"balancer": "Random", "backends": two})),
        rule(json!({
            "sessionKey": sources,
            "persistence": {"name": "t", "absoluteTimeoutMs": GOOD_FOR, "onBackendGone": "Reject"},
            "origin": {"allowed": ["https://*.a.example"]},
        })),
        rule(json!({
            "sessionKey": sources, "onMissing": {"type": "Reject"}, "limits": {"sessionsPerKey": 1},
            "persistence": {"name": "t", "absoluteTimeoutMs": GOOD_FOR, "cookie": {"path": "/", "permanent": true}},
            "origin": {"report": true},
        })),
    ]
});

fn backend() -> Rc<LaidBackend> {
    let pod = |(i, address)| json!({"name": format!("p{i}"), "uid": format!("u{i}"), "address": address});
    let pods: Vec<_> = PODS.iter().enumerate().map(pod).collect();
    let backend: Backend = serde_json::from_value(json!({"pods": pods})).expect("a backend");
    Rc::new(LaidBackend::new(&SEED, backend))
}

struct Dice;

impl Random for Dice {
    fn draw(&mut self) -> u64 {
        0x9E37_79B9_7F4A_7C15
    }

    fn key(&mut self) -> Option<[u8; 16]> {
        Some([0xab; 16])
    }
}

thread_local! {
    static LAID: (Vec<LaidRule>, Rc<LaidBackend>) =
        (RULES.iter().map(|rule| LaidRule::new(&SEED, rule.clone())).collect(), backend());
}

fuzz_target!(|input: &[u8]| {
    let Some((&pick, rest)) = input.split_first() else {
        return;
    };
    let mut lines = rest.split(|&byte| byte == b'\n');
    let (path, peer) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let (mut brought, mut cookies) = (Vec::new(), Vec::new());
    let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
    for line in lines {
        let Some(colon) = line.iter().skip(1).position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..=colon], &line[colon + 2..]);
        let token = match value {
            [digit] if name == b"t" => TOKENS.get(usize::from(digit.wrapping_sub(b'0'))),
            _ => None,
        };
        match token {
            Some(token) => {
                headers.push((name, token.text.as_bytes()));
                brought.push(token);
                cookies.push(format!("t={}", token.text));
            }
            None => headers.push((name, value)),
        }
    }
    headers.extend(cookies.iter().map(|cookie| (&b"cookie"[..], cookie.as_bytes())));
    let request = Request {
        path,
        headers: &headers,
        peer,
    };
    LAID.with(|(rules, backend)| {
        let laid = &rules[usize::from(pick & 0x3f) % rules.len()];
        let rule = &laid.rule;
        let secure = || pick & 0x40 != 0;
        let presented = Presented::of(rule, &RING, &request, NOW);
        if let Presented::Valid(opened) = &presented {
            let named = |token: &&Sealed| {
                let opens = RING.open(token.text.as_bytes(), NAME, None, NOW).as_ref() == Ok(opened);
                token.good && opens
            };
            assert!(rule.persistence.is_some() && brought.iter().any(named));
        }
        // The second backend's pods are not known.
        let backends = [Some(Rc::clone(backend)), None];
        let known = Known {
            rule: laid,
            seed: &SEED,
            backends: backends.get(..rule.backends.len()).unwrap_or_default(),
            loads: &|_| Load::default(),
            presented: &presented,
            draining: pick & 0x80 != 0,
        };
        let _ = handshake::is_upgrade(&request);
        let placed = handshake::upgrade(&known, &request, secure, &mut Dice);
        assert_eq!(placed, handshake::upgrade(&known, &request, secure, &mut Dice));
        let placed = match placed {
            Ok(placed) => placed,
            Err(reason) => {
                assert!(match reason {
                    Reason::OriginRefused => !rule.origin.report,
                    Reason::Draining => known.draining,
                    Reason::KeyMissing => rule.on_missing == OnMissing::Reject,
                    Reason::BackendGone => matches!(presented, Presented::Valid(_)),
                    _ => false,
                });
                return;
            }
        };
        match &placed.pod {
            Some(pod) => assert!(PODS.contains(&&*pod.address) && placed.host == pod.address),
            None => assert!(placed.host.bytes().all(|byte| byte.is_ascii_hexdigit())),
        }
        if let Some(cookie) = &placed.cookie {
            assert!(cookie.starts_with("g=abababababababababababababababab; Path=/; HttpOnly; SameSite=Lax"));
        }
        // A token binds to the pod that it names, and to no other.
        let home = |opened: &Opened| {
            let token = &opened.token;
            let lives = |i: &usize| token.pod == format!("p{i}") && token.uid == format!("u{i}");
            (0..PODS.len()).find(lives)
        };
        match (&presented, &placed.binding) {
            (Presented::Valid(opened), Binding::Kept(kept)) => {
                assert_eq!(opened, kept);
                assert_eq!(home(opened).map(|at| PODS[at]), Some(&*placed.host));
            }
            (Presented::Valid(opened), Binding::Moved) => assert_eq!(home(opened), None),
            (Presented::Nothing | Presented::Invalid(_), Binding::New) => {}
            (presented, binding) => panic!("{binding:?} by {presented:?}"),
        }
        // What the 101 brings opens again, and names the pod that was reached.
        let reached = backend.at_address(placed.host.as_bytes());
        if let Some((_, value)) = handshake::issue(rule, &RING, &placed, reached, NOW, secure) {
            let token = value.strip_prefix("t=").unwrap_or(&value);
            let token = token.split(';').next().unwrap_or_default();
            let opened = RING
                .open(token.as_bytes(), NAME, None, NOW)
                .expect("it was sealed");
            assert!(!opened.outdated);
            assert_eq!(home(&opened).map(|at| PODS[at]), Some(&*placed.host));
        }
        // The requests around a session reach its pod.
        if placed.keyed {
            let around = handshake::plain(&known, &request).expect("a key");
            assert_eq!(around.host, placed.host);
        }
    });
});
