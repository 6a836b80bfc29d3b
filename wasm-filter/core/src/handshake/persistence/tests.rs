mod hostile;
mod issue;

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clew_filter_config::persistence::{Cookie, OnBackendGone, Persistence, SigningKey};
use clew_filter_config::rule::{Backend, Draining, OnMissing, Pod, Reason, Rule, WeightedBackend};

use super::super::{Affinity, Known, Placed, Random, landed, plain, strayed, upgrade};
use super::{Binding, Presented, issue};
use crate::live::Load;
use crate::placement::Seed;
use crate::session_key::Request;
use crate::token::{Invalid, LEEWAY_MS, Ring, Token};
use crate::world::{LaidBackend, LaidRule};

const SEED: Seed = Seed::new([7; 16]);
const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;
const HEADER: &str = "x-clew-session";

fn key(fill: u8, signs: bool) -> SigningKey {
    SigningKey {
        secret: format!("{fill:02x}").repeat(32),
        signs,
    }
}

fn pod(n: usize) -> Pod {
    Pod {
        name: format!("chat-{n}"),
        uid: format!("uid-{n}"),
        address: format!("10.0.0.{n}:80"),
        steer: None,
        draining: None,
    }
}

fn rule() -> Rule {
    let json = serde_json::json!({
        "config": "0000000a",
        "name": "shop/chat/rooms",
        "sessionKey": [{"type": "Header", "name": "x-room"}],
        "backends": [{"id": "shop/chat:80", "weight": 1}],
        "persistence": {"name": HEADER},
        "drain": {"timeoutMs": 60_000, "closeCode": 1012, "closeReason": "moving"},
    });
    serde_json::from_value(json).unwrap()
}

/// Counts up, so that what is drawn is known.
struct Dice(u64);

impl Random for Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1 << 61);
        self.0
    }

    fn key(&mut self) -> Option<[u8; 16]> {
        Some([0xab; 16])
    }
}

struct Scene {
    rule: Rule,
    pods: Vec<Vec<Pod>>,
    keys: Vec<SigningKey>,
    now: u64,
    secure: bool,
}

impl Scene {
    fn new() -> Self {
        Self {
            rule: rule(),
            pods: vec![(1..=5).map(pod).collect()],
            keys: vec![key(7, true)],
            now: NOW,
            secure: true,
        }
    }

    fn ring(&self) -> Ring {
        Ring::new(&self.keys)
    }

    fn persistence(&mut self) -> &mut Persistence {
        self.rule.persistence.as_mut().unwrap()
    }

    fn lay(&self) -> Laid {
        let lay = |pods: &Vec<Pod>| Some(Rc::new(LaidBackend::new(&SEED, Backend { pods: pods.clone() })));
        Laid {
            rule: LaidRule::new(&SEED, self.rule.clone()),
            backends: self.pods.iter().map(lay).collect(),
            ring: self.ring(),
            now: self.now,
        }
    }

    fn known<T>(&self, headers: &[(&str, &[u8])], f: impl FnOnce(&Known<'_>, &Request<'_>) -> T) -> T {
        self.lay().known(headers, f)
    }

    fn upgrade(&self, headers: &[(&str, &[u8])]) -> Result<Placed, Reason> {
        self.lay().upgrade(headers)
    }

    fn presented(&self, headers: &[(&str, &[u8])]) -> Presented {
        self.known(headers, |known, _| known.presented.clone())
    }

    /// What the 101 of a session brings that Envoy took to this pod.
    fn issue(&self, placed: &Placed, reached: &Pod) -> Option<(String, String)> {
        issue(&self.rule, &self.ring(), placed, Some(reached), self.now, || {
            self.secure
        })
    }

    /// A token of a session that was placed by this header, and the pod that it is bound to.
    fn token(&self, room: &str) -> (String, Pod) {
        let placed = self.upgrade(&[("x-room", room.as_bytes())]).unwrap();
        let reached = placed.pod.as_ref().unwrap();
        let pod = self
            .pods
            .iter()
            .flatten()
            .find(|pod| pod.name == reached.name)
            .unwrap();
        (self.issue(&placed, pod).unwrap().1, pod.clone())
    }
}

/// A scene as a worker has it.
struct Laid {
    rule: LaidRule,
    backends: Vec<Option<Rc<LaidBackend>>>,
    ring: Ring,
    now: u64,
}

impl Laid {
    fn known<T>(&self, headers: &[(&str, &[u8])], f: impl FnOnce(&Known<'_>, &Request<'_>) -> T) -> T {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), *value))
            .collect();
        let request = Request {
            path: b"/ws",
            headers: &headers,
            peer: b"127.0.0.1:4711",
        };
        let presented = Presented::of(&self.rule.rule, &self.ring, &request, self.now);
        let load = |_: usize| Load::default();
        let known = Known {
            rule: &self.rule,
            seed: &SEED,
            backends: &self.backends,
            loads: &load,
            presented: &presented,
            draining: false,
        };
        f(&known, &request)
    }

    fn upgrade(&self, headers: &[(&str, &[u8])]) -> Result<Placed, Reason> {
        self.known(headers, |known, request| {
            upgrade(known, request, || true, &mut Dice(0))
        })
    }
}

fn at(placed: &Placed) -> &str {
    &placed.pod.as_ref().unwrap().address
}

#[test]
fn a_token_decides_before_the_key_and_for_plain_requests_too() {
    let mut scene = Scene::new();
    let (token, bound) = scene.token("1");
    for room in 0..20_u8 {
        let headers = [(HEADER, token.as_bytes()), ("x-room", &[room])];
        let placed = scene.upgrade(&headers).unwrap();
        assert_eq!(
            (at(&placed), placed.keyed, placed.counted),
            (&*bound.address, true, false)
        );
        assert_eq!(landed(&placed, bound.address.as_bytes()), Affinity::Hit);
        assert_eq!(scene.known(&headers, plain), Some(placed));
    }
    // Whoever is bound needs no key.
    scene.rule.on_missing = OnMissing::Reject;
    assert_eq!(
        at(&scene.upgrade(&[(HEADER, token.as_bytes())]).unwrap()),
        bound.address
    );
    assert_eq!(scene.upgrade(&[]), Err(Reason::KeyMissing));
}

#[test]
fn a_pod_that_moved_keeps_its_sessions_and_its_old_address_gives_none() {
    let mut scene = Scene::new();
    let (token, bound) = scene.token("1");
    let token = [(HEADER, token.as_bytes())];
    for pod in scene.pods.iter_mut().flatten() {
        if pod.name == bound.name {
            pod.address = "10.0.0.99:80".into();
        }
    }
    scene.pods[0].push(Pod {
        address: bound.address.clone(),
        ..pod(9)
    });
    assert_eq!(at(&scene.upgrade(&token).unwrap()), "10.0.0.99:80");
    // The same name again, and another pod: a StatefulSet's.
    scene.pods[0].retain(|pod| pod.name != bound.name);
    scene.pods[0].push(Pod {
        uid: "another".into(),
        ..bound
    });
    let placed = scene.upgrade(&token).unwrap();
    assert_eq!(placed.binding, Binding::Moved);
    assert_eq!(placed.pod, scene.upgrade(&[]).unwrap().pod, "as without a token");
}

#[test]
fn a_session_whose_pod_is_gone_moves_or_is_refused() {
    for drains in [true, false] {
        let mut scene = Scene::new();
        let (token, bound) = scene.token("1");
        let headers = [(HEADER, token.as_bytes()), ("x-room", b"1")];
        if drains {
            let window = Draining {
                since_ms: 0,
                timeout_ms: 0,
            };
            let leaving = scene.pods[0].iter_mut().find(|pod| pod.name == bound.name);
            leaving.unwrap().draining = Some(window);
        } else {
            scene.pods[0].retain(|pod| pod.name != bound.name);
        }
        let placed = scene.upgrade(&headers).unwrap();
        assert_eq!(placed.pod, scene.upgrade(&[("x-room", b"1")]).unwrap().pod);
        assert_eq!(landed(&placed, at(&placed).as_bytes()), Affinity::Moved);
        assert_eq!(landed(&placed, b"10.9.9.9:80"), Affinity::Missed);
        let other = scene.pods[0]
            .iter()
            .find(|pod| pod.address == at(&placed))
            .unwrap();
        let (_, next) = scene.issue(&placed, other).unwrap();
        assert_eq!(
            at(&scene.upgrade(&[(HEADER, next.as_bytes())]).unwrap()),
            other.address
        );

        scene.persistence().on_backend_gone = OnBackendGone::Reject;
        assert_eq!(scene.upgrade(&headers), Err(Reason::BackendGone));
        assert!(
            scene.known(&headers, plain).is_some(),
            "a plain request is never refused"
        );
        assert!(
            scene.upgrade(&[("x-room", b"1")]).is_ok(),
            "whoever has no token gets a pod"
        );
        assert!(scene.upgrade(&[(HEADER, b"forged"), ("x-room", b"1")]).is_ok());
    }
}

#[test]
fn a_bound_session_must_not_be_seen_elsewhere_and_any_other_may() {
    let scene = Scene::new();
    let (token, _) = scene.token("1");
    for (headers, strays) in [
        (&[(HEADER, token.as_bytes())][..], true),
        (&[("x-room", b"1")], false),
        (&[], false),
    ] {
        let placed = scene.upgrade(headers).unwrap();
        assert_eq!(
            strayed(&placed, landed(&placed, b"10.9.9.9:80")),
            strays,
            "{headers:?}"
        );
        assert!(
            !strayed(&placed, landed(&placed, at(&placed).as_bytes())),
            "{headers:?}"
        );
    }
}

#[test]
fn the_tokens_pod_decides_the_backend_and_weight_0_keeps_its_own() {
    let mut scene = Scene::new();
    scene.pods.push((6..=8).map(pod).collect());
    scene.rule.backends.push(WeightedBackend {
        id: "shop/canary:80".into(),
        weight: 1,
    });
    let tokens: Vec<_> = (0..50).map(|room: u32| scene.token(&room.to_string())).collect();
    for weights in [[1, 1], [0, 1], [1, 0]] {
        for (backend, weight) in scene.rule.backends.iter_mut().zip(weights) {
            backend.weight = weight;
        }
        for (token, bound) in &tokens {
            let placed = scene.upgrade(&[(HEADER, token.as_bytes())]).unwrap();
            let backend = if bound.name.as_str() > "chat-5" {
                "shop/canary:80"
            } else {
                "shop/chat:80"
            };
            assert_eq!(
                (at(&placed), placed.backend.as_deref()),
                (&*bound.address, Some(backend))
            );
        }
    }
    let at_canary = tokens
        .iter()
        .filter(|(_, pod)| pod.name.as_str() > "chat-5")
        .count();
    assert!((10..40).contains(&at_canary), "{at_canary}");
}
