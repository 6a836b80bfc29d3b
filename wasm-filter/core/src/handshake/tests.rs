use std::rc::Rc;

use clew_filter_config::facts;
use clew_filter_config::limits::Limits;
use clew_filter_config::origin::OriginPolicy;
use clew_filter_config::rule::{
    Backend, Balancer, DrainPolicy, Draining, KeySource, OnMissing, Pod, Reason, Rule, WeightedBackend,
};
use clew_filter_config::terms::Terms;

use super::{Affinity, Known, Placed, Presented, Random, is_upgrade, key, landed, plain, seat, upgrade};
use crate::live::{Counts, Load, Place};
use crate::placement::Seed;
use crate::session_key::Request;
use crate::world::{LaidBackend, LaidRule};

const SEED: Seed = Seed::new([7; 16]);

fn pod(name: &str, address: &str) -> Pod {
    Pod {
        name: name.into(),
        uid: String::new(),
        address: address.into(),
        steer: None,
        draining: None,
    }
}

fn rule() -> Rule {
    Rule {
        config: "0000000a".into(),
        name: "shop/chat/rooms".into(),
        session_key: vec![KeySource::Header {
            name: "x-room".into(),
        }],
        on_missing: OnMissing::LoadBalance,
        origin: OriginPolicy::default(),
        limits: Limits::default(),
        backends: vec![WeightedBackend {
            id: "shop/chat:80".into(),
            weight: 1,
        }],
        balancer: Balancer::ConsistentHash,
        bounded_load_percent: None,
        persistence: None,
        drain: DrainPolicy {
            timeout_ms: 60_000,
            close_code: 1012,
            close_reason: "moving".into(),
        },
        terms: Terms::default(),
        close_at_token_expiry: false,
    }
}

/// Counts up, so that what is drawn is known.
struct Dice(u64);

impl Random for Dice {
    fn draw(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn key(&mut self) -> Option<[u8; 16]> {
        Some([0xab; 16])
    }
}

struct Scene {
    rule: Rule,
    pods: Option<Vec<Pod>>,
    load: Load,
    draining: bool,
}

impl Scene {
    fn new() -> Self {
        let pods = vec![
            pod("a", "10.0.0.1:80"),
            pod("b", "10.0.0.2:80"),
            pod("c", "10.0.0.3:80"),
        ];
        Self {
            rule: rule(),
            pods: Some(pods),
            load: Load::default(),
            draining: false,
        }
    }

    fn known<T>(&self, f: impl FnOnce(&Known<'_>) -> T) -> T {
        let rule = LaidRule::new(&SEED, self.rule.clone());
        let backend = self
            .pods
            .clone()
            .map(|pods| Rc::new(LaidBackend::new(&SEED, Backend { pods })));
        let backends = vec![backend; rule.rule.backends.len()];
        let load = |_: usize| self.load.clone();
        f(&Known {
            rule: &rule,
            seed: &SEED,
            backends: &backends,
            loads: &load,
            presented: &Presented::Nothing,
            draining: self.draining,
        })
    }

    fn upgrade(&self, headers: &[(&str, &str)]) -> Result<Placed, Reason> {
        with(headers, |request| {
            self.known(|known| upgrade(known, request, || true, &mut Dice(0)))
        })
    }

    fn plain(&self, headers: &[(&str, &str)]) -> Option<Placed> {
        with(headers, |request| self.known(|known| plain(known, request)))
    }
}

fn with<T>(headers: &[(&str, &str)], f: impl FnOnce(&Request<'_>) -> T) -> T {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    f(&Request {
        path: b"/ws",
        headers: &headers,
        peer: b"127.0.0.1:4711",
    })
}

#[test]
fn the_origin_is_looked_at_before_anything_else() {
    let mut scene = Scene::new();
    scene.draining = true;
    let other = [
        (":authority", "chat.example.com"),
        ("origin", "https://evil.example"),
    ];
    assert_eq!(scene.upgrade(&other), Err(Reason::OriginRefused));
    assert_eq!(scene.upgrade(&other[..1]), Err(Reason::Draining));
    scene.draining = false;
    assert!(!scene.upgrade(&other[..1]).unwrap().origin_reported);
    scene.rule.origin.report = true;
    assert!(scene.upgrade(&other).unwrap().origin_reported);
}

#[test]
fn tells_upgrades_from_requests() {
    for (headers, is) in [
        (&[(":method", "GET"), ("upgrade", "websocket")][..], true),
        (&[(":method", "GET"), ("upgrade", "WebSocket")], true),
        (&[(":method", "GET"), ("upgrade", "h2c, websocket")], true),
        (&[(":method", "CONNECT"), (":protocol", "websocket")], true),
        (&[(":method", "CONNECT"), ("upgrade", "websocket")], false),
        (&[(":method", "GET"), ("upgrade", "h2c")], false),
        (&[(":method", "GET")], false),
        (&[], false),
    ] {
        assert_eq!(with(headers, is_upgrade), is, "{headers:?}");
    }
}

#[test]
fn a_key_finds_its_pod_each_time_and_plain_requests_follow() {
    let scene = Scene::new();
    for room in 0..50 {
        let room = room.to_string();
        let headers = [("x-room", room.as_str())];
        let first = scene.upgrade(&headers).unwrap();
        assert!(first.keyed && !first.counted && first.backend.is_none() && first.cookie.is_none());
        assert_eq!(first.host, first.pod.as_ref().unwrap().address);
        assert_eq!(scene.upgrade(&headers).unwrap(), first);
        assert_eq!(first.key_source, "Header");
        // For plain requests neither is asked.
        let uncounted = Placed {
            counted_key: None,
            key_source: facts::NOWHERE,
            ..first
        };
        assert_eq!(scene.plain(&headers).unwrap(), uncounted);
    }
    assert_eq!(scene.plain(&[]), None);
}

#[test]
fn without_a_key_the_pod_with_fewer_sessions_gets_it() {
    let mut scene = Scene::new();
    let mut counts = Counts::default();
    for pod in ["a", "a", "c"] {
        let place = Place {
            rule: "r".into(),
            backend: "shop/chat:80".into(),
            pod: pod.into(),
        };
        counts.enter(&place);
    }
    scene.load = counts.load("shop/chat:80").unwrap().clone();
    let placed = scene.upgrade(&[]).unwrap();
    assert!(placed.counted && !placed.keyed);
    assert_ne!(placed.pod.unwrap().name, "a");
}

#[test]
fn where_the_key_does_not_decide_nothing_sticks() {
    for balancer in [Balancer::LeastSessions, Balancer::Random] {
        let mut scene = Scene::new();
        scene.rule.balancer = balancer;
        let placed = scene.upgrade(&[("x-room", "1")]).unwrap();
        assert_eq!(
            landed(&placed, placed.pod.as_ref().unwrap().address.as_bytes()),
            Affinity::New
        );
        assert_eq!(scene.plain(&[("x-room", "1")]), None);
    }
}

#[test]
fn a_generated_key_comes_back_in_its_cookie() {
    let mut scene = Scene::new();
    scene.rule.on_missing = OnMissing::Generate {
        cookie: "clew-key".into(),
        path: "/ws".into(),
    };
    let first = scene.upgrade(&[]).unwrap();
    assert!(!first.keyed);
    assert_eq!(first.key_source, facts::GENERATED);
    let value = "ab".repeat(16);
    let cookie = format!("clew-key={value}; Path=/ws; HttpOnly; SameSite=Lax; Secure");
    assert_eq!(first.cookie.as_deref(), Some(cookie.as_str()));

    let cookie = format!("clew-key={value}");
    let second = scene.upgrade(&[("cookie", &cookie)]).unwrap();
    assert_eq!(second.key_source, facts::GENERATED);
    assert_eq!(
        (second.host, second.keyed, second.cookie),
        (first.host, true, None)
    );
    let rule = &scene.rule;
    let source = with(&[("cookie", &cookie)], |request| {
        key(&rule.session_key, &rule.on_missing, request).map(|found| found.source)
    });
    assert_eq!(source, Some(1));
}

#[test]
fn refusals_have_their_reasons() {
    let mut scene = Scene::new();
    scene.rule.on_missing = OnMissing::Reject;
    assert_eq!(scene.upgrade(&[]), Err(Reason::KeyMissing));
    assert_eq!(scene.plain(&[]), None);
    assert!(scene.upgrade(&[("x-room", "1")]).is_ok());
    scene.draining = true;
    assert_eq!(scene.upgrade(&[("x-room", "1")]), Err(Reason::Draining));
    assert!(scene.plain(&[("x-room", "1")]).is_some());
    scene.draining = false;
    for pod in scene.pods.as_mut().unwrap() {
        pod.draining = Some(Draining {
            since_ms: 0,
            timeout_ms: 0,
        });
    }
    assert_eq!(scene.upgrade(&[("x-room", "1")]), Err(Reason::BackendGone));
    assert_eq!(scene.plain(&[("x-room", "1")]), None);
}

#[test]
fn several_backends_are_named() {
    let mut scene = Scene::new();
    scene.rule.backends.push(WeightedBackend {
        id: "shop/canary:80".into(),
        weight: 1,
    });
    let mut seen = std::collections::BTreeSet::new();
    for room in 0..50 {
        let placed = scene.upgrade(&[("x-room", &room.to_string())]).unwrap();
        assert_eq!(placed.backend.as_ref(), Some(&placed.backend_id));
        seen.insert(placed.backend_id);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn where_no_pods_are_known_the_header_carries_the_keys_hash() {
    let mut scene = Scene::new();
    scene.pods = None;
    let placed = scene.upgrade(&[("x-room", "1")]).unwrap();
    assert_eq!((placed.host, placed.pod), (SEED.key(b"1").header(), None));
}

#[test]
fn another_value_may_reach_a_pod() {
    let mut scene = Scene::new();
    scene.pods = Some(vec![Pod {
        steer: Some("10.0.0.1:80#3".into()),
        ..pod("a", "10.0.0.1:80")
    }]);
    let placed = scene.upgrade(&[("x-room", "1")]).unwrap();
    assert_eq!(placed.host, "10.0.0.1:80#3");
    assert_eq!(landed(&placed, b"10.0.0.1:80"), Affinity::Hit);
}

#[test]
fn a_session_counts_where_it_landed() {
    let scene = Scene::new();
    let keyed = scene.upgrade(&[("x-room", "1")]).unwrap();
    let new = scene.upgrade(&[]).unwrap();
    let address = |placed: &Placed| placed.pod.as_ref().unwrap().address.clone().into_bytes();
    assert_eq!(landed(&keyed, &address(&keyed)), Affinity::Hit);
    assert_eq!(landed(&new, &address(&new)), Affinity::New);
    assert_eq!(landed(&keyed, b"10.9.9.9:80"), Affinity::Missed);

    let laid = LaidRule::new(&SEED, rule());
    let backend = LaidBackend::new(
        &SEED,
        Backend {
            pods: scene.pods.unwrap(),
        },
    );
    let at = |address: Option<&[u8]>| seat(&laid, &keyed, Some(&backend), address).unwrap().pod;
    let wanted = keyed.pod.as_ref().unwrap();
    assert_eq!(&*at(None), wanted.name);
    assert_eq!(&*at(Some(wanted.address.as_bytes())), wanted.name);
    // Where it is not known who is there, it counts where it was to go.
    assert_eq!(&*at(Some(b"10.9.9.9:80")), wanted.name);
    let (other, name) = if wanted.name == "a" {
        ("10.0.0.2:80", "b")
    } else {
        ("10.0.0.1:80", "a")
    };
    assert_eq!(&*at(Some(other.as_bytes())), name);
}

#[test]
fn a_key_counts_unless_anybody_could_have_made_it_up() {
    let mut scene = Scene::new();
    let counted = |scene: &Scene, headers: &[(&str, &str)]| scene.upgrade(headers).unwrap().counted_key;
    assert_eq!(counted(&scene, &[("x-room", "a")]), Some(SEED.key(b"a")));
    assert_eq!(counted(&scene, &[]), None);
    let claim = |verified| KeySource::JwtClaim {
        path: vec!["sub".into()],
        header: "authorization".into(),
        verified,
    };
    // {"sub":"me"}
    let token = [("authorization", "Bearer e30.eyJzdWIiOiJtZSJ9.s")];
    scene.rule.session_key = vec![claim(false)];
    let placed = scene.upgrade(&token).unwrap();
    assert!(placed.keyed);
    assert_eq!(placed.key_source, "JWTClaim");
    assert_eq!(counted(&scene, &token), None);
    scene.rule.session_key = vec![claim(true)];
    let verified = [(clew_filter_config::headers::JWT_PAYLOAD, "eyJzdWIiOiJtZSJ9")];
    assert_eq!(counted(&scene, &verified), Some(SEED.key(b"me")));
    scene.rule.on_missing = OnMissing::Generate {
        cookie: "k".into(),
        path: "/".into(),
    };
    assert!(
        counted(&scene, &[]).is_some(),
        "the session that gets the key is its first"
    );
}
