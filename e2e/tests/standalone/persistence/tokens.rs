//! What a token must be to be heeded, and how it travels.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clew_e2e::address::PORT;
use clew_e2e::manifests;
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::Request;
use clew_filter_config::persistence::SigningKey;
use clew_filter_core::token::{LEEWAY_MS, Ring, Token};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};

use super::{Bound, HEADER, affinity, all_return, persistent};
use crate::{by_room, full, rooms};

const HOUR_MS: u64 = 3_600_000;
const ROOMS: usize = 200;

/// The key that `clew run` has made.
fn own_key(scene: &Scene) -> Result<SigningKey> {
    let kept: Value = serde_json::from_slice(&std::fs::read(scene.state.path().join("signing-keys.json"))?)?;
    Ok(SigningKey {
        secret: kept["own"].as_str().context("no key")?.to_owned(),
        signs: true,
    })
}

/// SplitMix64: the same tokens each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % n as u64).unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_but_ours_is_heeded() -> Result<()> {
    let mut policy = persistent();
    policy["sessionPersistence"]["absoluteTimeout"] = "1h".into();
    let rules = json!([
        manifests::rule("rooms", "/ws", SERVICE, PORT, policy.clone()),
        manifests::rule("other", "/other", SERVICE, PORT, policy),
    ]);
    let scene = Scene::with(5, manifests::route(ROUTE, rules)).await?;
    let homes = scene.place(&rooms(0..ROOMS)).await?;
    let real = Bound::rooms(&scene, 0..50).await?;
    let mut foreign = Vec::new();
    for room in 0..50 {
        let request = Request::new(format!("/other?room=room-{room}"));
        foreign.push(Bound::new(scene.gateway(), &request).await?);
    }
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let ours = Ring::new(&[own_key(&scene)?]);
    let theirs = Ring::new(&[SigningKey {
        secret: "5a".repeat(32),
        signs: true,
    }]);
    let mut draw = Draw(1);
    let sealed = |ring: &Ring, pod: usize, issued_ms: u64| {
        let token = Token {
            pod: scene.pods[pod].name.clone(),
            uid: scene.pods[pod].uid.clone(),
            issued_ms,
            expires_ms: Some(issued_ms + HOUR_MS),
        };
        ring.seal(&token, "shop/chat/rooms").context("too long")
    };
    let count = if full() { 100_000 } else { 5_000 };
    let mut by_kind = BTreeMap::<_, usize>::new();
    let mut pinned = Vec::new();
    for round in 0..count / 500 {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for i in 0..500 {
            let (good, aimed) = (&real[draw.below(50)].token, draw.below(5));
            let (kind, token) = match i % 6 {
                0 => {
                    let mut letters = good.clone().into_bytes();
                    let at = draw.below(letters.len());
                    letters[at] = if letters[at] == b'A' { b'B' } else { b'A' };
                    ("a letter changed", String::from_utf8(letters)?)
                }
                1 => {
                    let mut bytes = BASE64URL_NOPAD.decode(good.as_bytes())?;
                    let at = draw.below(bytes.len());
                    bytes[at] ^= 1 << draw.below(8);
                    ("a bit flipped", BASE64URL_NOPAD.encode(&bytes))
                }
                2 => ("signed by another key", sealed(&theirs, aimed, now)?),
                3 => ("of another rule", foreign[draw.below(50)].token.clone()),
                4 => (
                    "expired",
                    sealed(&ours, aimed, now - HOUR_MS - LEEWAY_MS - 1_000)?,
                ),
                _ => {
                    let address = scene.pods[aimed].address.to_string();
                    (
                        "an address, as Envoy's own cookie has it",
                        BASE64.encode(address.as_bytes()),
                    )
                }
            };
            let room = draw.below(ROOMS);
            *by_kind.entry(kind).or_default() += 1;
            requests.push(Request::new(format!("/ws?room=room-{room}")).header(HEADER, token));
            expected.push((kind, &homes[room]));
        }
        let pods = scene
            .place(&requests)
            .await
            .with_context(|| format!("round {round}"))?;
        let wrong = pods
            .into_iter()
            .zip(&expected)
            .filter(|(pod, (_, home))| pod != *home);
        pinned.extend(wrong.map(|(pod, (kind, home))| format!("{kind}: {pod}, not {home}")));
    }
    println!("{count} hostile tokens, {} heeded: {by_kind:?}", pinned.len());
    assert!(pinned.is_empty(), "{pinned:#?}");

    // The control: a real one pins, and so does what is sealed with the right key; nothing but the key stands between.
    all_return(&scene, &real).await?;
    let mut requests = Vec::new();
    for (room, home) in homes.iter().enumerate() {
        let aimed = scene
            .pods
            .iter()
            .position(|pod| pod.name != *home)
            .context("five pods")?;
        requests
            .push(Request::new(format!("/ws?room=room-{room}")).header(HEADER, sealed(&ours, aimed, now)?));
    }
    let led = scene.place(&requests).await?;
    let away = led.iter().zip(&homes).filter(|(pod, home)| pod != home).count();
    println!("the control: with the right key {away} of {ROOMS} go where the sender says");
    assert_eq!(away, ROOMS);

    affinity(&scene, "invalid", count..=count).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_comes_back_and_leads_to_its_pod() -> Result<()> {
    let policy = json!({
        "sessionKey": by_room(),
        "sessionPersistence": {
            "type": "Cookie",
            "cookie": {"name": "clew-session", "lifetimeType": "Permanent"},
            "absoluteTimeout": "12h",
        },
    });
    let scene = Scene::new(4, policy).await?;
    for (room, request) in rooms(0..20).into_iter().enumerate() {
        let socket = request.open(scene.gateway()).await?;
        let pod = socket.served_by();
        let cookie = socket.head.header("set-cookie").context("no cookie")?;
        socket.goodbye().await?;
        let (pair, attributes) = cookie.split_once("; ").context("no attributes")?;
        assert_eq!(
            attributes, "Path=/ws; HttpOnly; SameSite=Strict; Max-Age=43200",
            "over plain HTTP"
        );
        let again =
            Request::new(format!("/ws?room=another-{room}")).header("Cookie", format!("theme=dark; {pair}"));
        let socket = again.open(scene.gateway()).await?;
        assert_eq!(
            (socket.served_by(), socket.head.header("set-cookie")),
            (pod.clone(), None)
        );
        socket.goodbye().await?;
        // It is the client's, and reaches the pod as it came.
        let connections = scene.server(&pod)?.connections();
        let seen = connections
            .last()
            .and_then(|connection| connection.head.header("cookie"));
        assert_eq!(seen, Some(format!("theme=dark; {pair}")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_that_a_token_decided() -> Result<()> {
    let scene = Scene::new(4, persistent()).await?;
    for bound in Bound::rooms(&scene, 0..4).await? {
        let header = format!("{HEADER}: {}", bound.token);
        let arguments = ["--request", "GET /ws?room=another", "-H", &header, "-o", "json"];
        let answer = scene.command("explain", &arguments).await?.json()?;
        assert_eq!(answer["backend"]["name"], bound.pod, "{answer}");
        assert_eq!(answer["why"], "its persistence token names the pod");
    }
    Ok(())
}
