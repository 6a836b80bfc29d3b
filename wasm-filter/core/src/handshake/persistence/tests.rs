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

#[test]
fn a_token_names_the_pod_that_was_reached() {
    let scene = Scene::new();
    let placed = scene.upgrade(&[("x-room", b"1")]).unwrap();
    let elsewhere = scene.pods[0]
        .iter()
        .find(|pod| pod.address != at(&placed))
        .unwrap();
    let (_, token) = scene.issue(&placed, elsewhere).unwrap();
    assert_eq!(
        at(&scene.upgrade(&[(HEADER, token.as_bytes())]).unwrap()),
        elsewhere.address
    );
    let issued = |reached| issue(&scene.rule, &scene.ring(), &placed, reached, NOW, || true);
    assert_eq!(issued(None), None);
    let nameless = Pod {
        name: "10.0.0.1:80".into(),
        uid: String::new(),
        ..pod(1)
    };
    assert_eq!(issued(Some(&nameless)), None, "an address is nobody's name");
}

#[test]
fn a_token_that_holds_is_not_issued_again_but_when_its_key_goes() {
    let mut scene = Scene::new();
    scene.persistence().absolute_timeout_ms = Some(HOUR);
    let (token, bound) = scene.token("1");
    fn headers(token: &str) -> [(&str, &[u8]); 1] {
        [(HEADER, token.as_bytes())]
    }
    let again = |scene: &Scene, token: &str| {
        let placed = scene.upgrade(&headers(token)).unwrap();
        assert_eq!(at(&placed), bound.address);
        scene.issue(&placed, &bound)
    };
    scene.now += HOUR / 2;
    assert_eq!(again(&scene, &token), None);
    scene.keys.push(key(8, false));
    assert_eq!(again(&scene, &token), None, "published, and nobody signs with it");
    scene.keys[0].signs = false;
    scene.keys[1].signs = true;
    let (_, renewed) = again(&scene, &token).unwrap();
    scene.keys.remove(0);
    assert_eq!(again(&scene, &renewed), None);
    assert_eq!(
        scene.presented(&headers(&token)),
        Presented::Invalid(Invalid::Forged)
    );
    // It lasts no longer for that.
    scene.now = NOW + HOUR + LEEWAY_MS;
    assert_eq!(again(&scene, &renewed), None);
    scene.now += 1;
    assert_eq!(
        scene.presented(&headers(&renewed)),
        Presented::Invalid(Invalid::Expired)
    );
    // Without a key that signs there are no tokens, and everything else goes on.
    scene.keys.clear();
    let placed = scene.upgrade(&[]).unwrap();
    assert_eq!(scene.issue(&placed, &bound), None);
}

#[test]
fn a_cookie_has_the_attributes_that_keep_it_to_itself() {
    let mut scene = Scene::new();
    let placed = scene.upgrade(&[]).unwrap();
    let reached = scene.pods[0]
        .iter()
        .find(|pod| pod.address == at(&placed))
        .unwrap()
        .clone();
    let mut attributes = |permanent, other_sites, secure, timeout| {
        scene.secure = secure;
        *scene.persistence() = Persistence {
            name: "clew-session".into(),
            cookie: Some(Cookie {
                path: "/ws".into(),
                permanent,
                other_sites,
            }),
            absolute_timeout_ms: timeout,
            on_backend_gone: OnBackendGone::Reassign,
        };
        let (name, value) = scene.issue(&placed, &reached).unwrap();
        assert_eq!(name, "set-cookie");
        let (pair, attributes) = value.split_once("; ").unwrap();
        let (_, token) = pair.split_once('=').unwrap();
        let cookies = format!("theme=dark; clew-session=old; clew-session=\"{token}\"");
        let back = scene.upgrade(&[("cookie", cookies.as_bytes())]).unwrap();
        assert_eq!(at(&back), reached.address, "behind an old one of another path");
        attributes.to_owned()
    };
    assert_eq!(
        attributes(false, false, true, None),
        "Path=/ws; HttpOnly; SameSite=Strict; Secure"
    );
    assert_eq!(
        attributes(false, false, false, Some(HOUR)),
        "Path=/ws; HttpOnly; SameSite=Strict"
    );
    assert_eq!(
        attributes(false, true, false, None),
        "Path=/ws; HttpOnly; SameSite=None; Secure"
    );
    assert_eq!(
        attributes(true, false, true, Some(HOUR)),
        "Path=/ws; HttpOnly; SameSite=Strict; Secure; Max-Age=3600"
    );
}

#[test]
fn only_so_many_values_are_looked_at() {
    let scene = Scene::new();
    let (token, _) = scene.token("1");
    for (before, valid) in [(3, true), (4, false)] {
        let mut headers = vec![(HEADER, &b"old"[..]); before];
        headers.push((HEADER, token.as_bytes()));
        assert_eq!(
            matches!(scene.presented(&headers), Presented::Valid(_)),
            valid,
            "{before}"
        );
    }
    assert_eq!(scene.presented(&[(HEADER, b"")]), Presented::Nothing);
    assert_eq!(
        scene.presented(&[(HEADER, b"old")]),
        Presented::Invalid(Invalid::Malformed)
    );
    let mut unbound = Scene::new();
    unbound.rule.persistence = None;
    assert_eq!(
        unbound.presented(&[(HEADER, token.as_bytes())]),
        Presented::Nothing
    );
}

/// SplitMix64: the same inputs each time.
struct Many(u64);

impl Many {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// A hundred thousand tokens that somebody else made, or made good no more: each is placed exactly as no token at all.
#[test]
fn no_token_but_ours_moves_anything() {
    let mut scene = Scene::new();
    scene.persistence().absolute_timeout_ms = Some(HOUR);
    let mut many = Many(1);
    let real: Vec<_> = (0..64).map(|room: u32| scene.token(&room.to_string())).collect();
    let ring = |fill| Ring::new(&[key(fill, true)]);
    let (ours, theirs) = (ring(7), ring(9));
    let bare: Vec<_> = (0..64_u8)
        .map(|room| scene.upgrade(&[("x-room", &[room])]).unwrap().pod)
        .collect();
    let laid = scene.lay();
    let mut outcomes = std::collections::BTreeMap::<_, u32>::new();
    for i in 0..100_000 {
        let (good, _) = &real[many.below(real.len())];
        let aimed = &scene.pods[0][many.below(5)];
        let sealed = |ring: &Ring, issued_ms: u64, rule: &str| {
            let token = Token {
                pod: aimed.name.clone(),
                uid: aimed.uid.clone(),
                issued_ms,
                expires_ms: Some(issued_ms + HOUR),
            };
            ring.seal(&token, rule).unwrap().into_bytes()
        };
        let text = match i % 6 {
            // Mutated: some letters, or some bytes under a spelling that is right.
            0 => {
                let mut text = good.clone().into_bytes();
                for _ in 0..=many.below(3) {
                    let at = many.below(text.len());
                    let letter = many.next().to_le_bytes()[0];
                    text[at] = if text[at] == letter { letter ^ 1 } else { letter };
                }
                text
            }
            1 => {
                let mut bytes = URL_SAFE_NO_PAD.decode(good).unwrap();
                let at = many.below(bytes.len());
                bytes[at] ^= 1 << many.below(8);
                URL_SAFE_NO_PAD.encode(bytes).into_bytes()
            }
            2 => sealed(&theirs, NOW, "shop/chat/rooms"),
            3 => sealed(&ours, NOW, "shop/chat/other"),
            4 => sealed(&ours, NOW - HOUR - LEEWAY_MS - 1, "shop/chat/rooms"),
            // What Envoy's own cookie of a session would be.
            _ => aimed.address.clone().into_bytes(),
        };
        let room = u8::try_from(many.below(64)).unwrap();
        let headers = [(HEADER, &*text), ("x-room", &[room])];
        // A mutation of several letters may take itself back.
        if text == good.as_bytes() {
            continue;
        }
        match laid.known(&headers, |known, _| known.presented.clone()) {
            Presented::Invalid(why) => *outcomes.entry(format!("{why:?}")).or_default() += 1,
            other => panic!("{} is {other:?}", String::from_utf8_lossy(&text)),
        }
        let placed = laid.upgrade(&headers).unwrap();
        assert_eq!(
            (placed.pod, placed.binding),
            (bare[usize::from(room)].clone(), Binding::New)
        );
    }
    assert!(
        outcomes.len() == 4 && outcomes.values().all(|count| *count > 10_000),
        "{outcomes:?}"
    );
    // The control: real ones do, each to its own pod and away from where the key would lead.
    let away = real.iter().enumerate().filter(|(i, (token, bound))| {
        let room = [u8::try_from((i + 1) % 64).unwrap()];
        let placed = scene
            .upgrade(&[(HEADER, token.as_bytes()), ("x-room", &room)])
            .unwrap();
        assert_eq!(at(&placed), bound.address);
        placed.pod != bare[usize::from(room[0])]
    });
    assert!(away.count() > 30);
}
