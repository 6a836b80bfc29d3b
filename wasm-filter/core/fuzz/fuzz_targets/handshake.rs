//! Any upgrade on any rule is refused, or placed on a pod of the rule, and nothing of the request is in what is written.
//!
//! Input: a byte that picks the rule and the circumstances; then in lines: `:path`, the peer, and `name:value` for each header.
#![no_main]

use std::rc::Rc;
use std::sync::LazyLock;

use clew_filter_config::rule::{Backend, Reason, Rule};
use clew_filter_core::handshake::{self, Known, Random};
use clew_filter_core::live::Load;
use clew_filter_core::placement::Seed;
use clew_filter_core::session_key::Request;
use clew_filter_core::world::{LaidBackend, LaidRule};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

const SEED: Seed = Seed::new([7; 16]);
const PODS: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"];

/// As the channel brings them.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let one = json!([{"id": "a/a:1", "weight": 1}]);
    let two = json!([{"id": "a/a:1", "weight": 1}, {"id": "a/b:1", "weight": 3}]);
    let sources = json!([
        {"type": "Cookie", "name": "k"},
        {"type": "Header", "name": "k"},
        {"type": "QueryParam", "name": "k"},
        {"type": "JWTClaim", "path": ["user", "id"], "header": "authorization"},
        {"type": "Subprotocol", "prefix": "k."},
        {"type": "SourceIP", "trustedHops": 1},
    ]);
    let generate = json!({"type": "Generate", "cookie": "g", "path": "/"});
    let rule = |more: serde_json::Value| {
        let mut rule = json!({
            "config": "0000000a", "name": "a/a/a", "backends": one,
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
    ]
});

fn backend() -> Rc<LaidBackend> {
    let pods = PODS.map(|address| json!({"name": address, "address": address}));
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
    let headers: Vec<(&[u8], &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().skip(1).position(|&byte| byte == b':')? + 1;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let request = Request {
        path,
        headers: &headers,
        peer,
    };
    LAID.with(|(rules, backend)| {
        let rule = &rules[usize::from(pick & 7) % rules.len()];
        // The second backend's pods are not known.
        let backends = [Some(Rc::clone(backend)), None];
        let known = Known {
            rule,
            seed: &SEED,
            backends: backends.get(..rule.rule.backends.len()).unwrap_or_default(),
            loads: &|_| Load::default(),
            draining: pick & 0x80 != 0,
        };
        let _ = handshake::is_upgrade(&request);
        let placed = handshake::upgrade(&known, &request, || pick & 0x40 != 0, &mut Dice);
        assert_eq!(placed, handshake::upgrade(&known, &request, || pick & 0x40 != 0, &mut Dice));
        let placed = match placed {
            Ok(placed) => placed,
            Err(reason) => {
                assert!(matches!(
                    reason,
                    Reason::OriginRefused | Reason::Draining | Reason::KeyMissing
                ));
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
        // The requests around a session reach its pod.
        if placed.keyed {
            let around = handshake::plain(&known, &request).expect("a key");
            assert_eq!(around.host, placed.host);
        }
    });
});
