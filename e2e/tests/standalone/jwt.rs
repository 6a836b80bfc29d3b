//! Tokens are verified by Envoy with the keys of a Secret: a good one places its session, a bad one opens none.

mod bad;
mod expiry;
mod keys;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::EchoServer;
use clew_e2e::issuer::{self, Issuer, seconds, unsigned};
use clew_e2e::manifests;
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

const ISSUER: &str = "https://id.example.com";
const PARTNER: &str = "https://partner.example.net";
const USERS: usize = 60;
const RECONNECTS: usize = 3;

/// A route with a rule for tokens of the one issuer, one for those of the other, and two that ask for none.
fn route() -> Value {
    let claim =
        |claim: Value| json!({"sources": [{"type": "JWTClaim", "jwtClaim": claim}], "onMissing": "Reject"});
    let verified = json!({
        "sessionKey": claim(json!({"name": "sub", "verification": "Required"})),
        "security": {"jwt": {"issuer": ISSUER, "audiences": ["chat", "rooms"], "jwksSecretRef": {"name": "issuer"}}},
    });
    let partner = json!({
        "sessionKey": claim(json!({"name": "user.id", "header": "X-Token"})),
        "security": {"jwt": {"issuer": PARTNER, "jwksSecretRef": {"name": "partner"}}},
    });
    let hint = json!({"sessionKey": claim(json!({"name": "sub", "verification": "None"}))});
    let rule = |name: &str, policy| manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy);
    manifests::route(
        ROUTE,
        json!([
            rule("verified", verified),
            rule("partner", partner),
            rule("hint", hint),
            manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
        ]),
    )
}

/// What a token of the issuer says of a user.
fn claims(user: usize) -> Value {
    json!({"iss": ISSUER, "aud": "chat", "sub": format!("user-{user}"), "iat": seconds(-10), "exp": seconds(600)})
}

/// These claims, changed.
fn but(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

fn bearer(token: &str) -> Request {
    Request::new("/verified").header("Authorization", format!("Bearer {token}"))
}

fn save_keys(scene: &Scene, name: &str, issuers: &[&Issuer]) -> Result<()> {
    let secret = manifests::secret(name, "jwks", &issuer::key_set(issuers));
    scene.folder.put(name, &secret)?;
    Ok(())
}

async fn opens(scene: &Scene, request: &Request) -> bool {
    request.place(scene.gateway()).await.is_ok()
}

/// 401 by Envoy, or 403 where all of the token is good but its audience.
async fn refused(scene: &Scene, request: &Request) -> bool {
    matches!(request.send(scene.gateway()).await, Ok(Answer::Refused(head, _)) if matches!(head.status, 401 | 403))
}

/// Waits until several answers in a row, which both workers give, are as they should be.
async fn until_all(what: &str, ask: impl AsyncFn() -> bool) -> Result<()> {
    wait::until(what, SOON, async || {
        for _ in 0..8 {
            if !ask().await {
                return None;
            }
        }
        Some(())
    })
    .await
}

/// A scene whose tokens are verified, begun with a route that asks for none.
async fn scene_with(issuer: &Issuer, partner: &Issuer) -> Result<Scene> {
    let scene = Scene::new(4, json!({"sessionKey": by_room()})).await?;
    save_keys(&scene, "issuer", &[issuer])?;
    save_keys(&scene, "partner", &[partner])?;
    scene.folder.put("route", &route())?;
    let good = bearer(&issuer.token(&claims(0))?);
    until_all("tokens are verified", async || opens(&scene, &good).await).await?;
    Ok(scene)
}

fn sessions(scene: &Scene) -> usize {
    scene.servers.iter().map(EchoServer::opened).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_tokens_place_and_bad_ones_open_nothing() -> Result<()> {
    let (issuer, partner) = (Issuer::rs256("one")?, Issuer::es256("two")?);
    let scene = Scene::new(4, json!({"sessionKey": by_room()})).await?;
    let live = scene.open(&rooms(0..40), |_| Traffic::idle()).await?;
    let admin = scene.clew.ready.admin;
    let listeners = admin.stats("^listener_manager\\.").await?;
    save_keys(&scene, "issuer", &[&issuer])?;
    save_keys(&scene, "partner", &[&partner])?;
    scene.folder.put("route", &route())?;
    let good = bearer(&issuer.token(&claims(0))?);
    until_all("tokens are verified", async || opens(&scene, &good).await).await?;

    // The same user with other tokens finds the same pod, with either issuer.
    let mut requests = Vec::new();
    for time in 0..RECONNECTS {
        for user in 0..USERS {
            let iat = seconds(-20 - i64::try_from(time)?);
            requests.push(bearer(&issuer.token(&but(claims(user), "iat", iat))?));
        }
    }
    for time in 0..RECONNECTS {
        for user in 0..USERS {
            let claims =
                json!({"iss": PARTNER, "user": {"id": user}, "exp": seconds(100 + i64::try_from(time)?)});
            requests.push(Request::new("/partner").header("X-Token", partner.token(&claims)?));
        }
    }
    let places = scene.place(&requests).await?;
    let strays = places
        .chunks(USERS * RECONNECTS)
        .flat_map(|of_issuer| (USERS..of_issuer.len()).map(|i| of_issuer[i] != of_issuer[i % USERS]))
        .filter(|stray| *stray)
        .count();
    ensure!(strays == 0, "{strays} of {} strays", places.len());
    let mut shares: BTreeMap<&str, usize> = BTreeMap::new();
    places.iter().for_each(|pod| *shares.entry(pod).or_default() += 1);
    ensure!(shares.len() == 4, "keys lie on every pod: {shares:?}");

    // Nothing else opens a session.
    let before = sessions(&scene);
    let bad = bad::bad_requests(&issuer, &partner)?;
    for (what, request) in &bad {
        match request.send(scene.gateway()).await? {
            // Where all else is good, Envoy says 403.
            Answer::Refused(head, _) if head.status == if what.contains("audience") { 403 } else { 401 } => {}
            Answer::Refused(head, body) => {
                bail!("{what}: {} {}", head.status, String::from_utf8_lossy(&body))
            }
            Answer::Opened(_) => bail!("{what} opened a session"),
        }
    }
    ensure!(sessions(&scene) == before, "a backend saw a bad token");

    // A good token beside a forged one says where to, and nothing else does.
    let home = bearer(&issuer.token(&claims(1))?).place(scene.gateway()).await?;
    let token = issuer.token(&claims(1))?;
    for forged in 2..12 {
        let payload = BASE64URL_NOPAD.encode(claims(forged).to_string().as_bytes());
        for request in [
            Request::new("/verified")
                .header("Authorization", format!("e30.{payload}.sig"))
                .header("Authorization", format!("Bearer {token}")),
            bearer(&token).header("X-Clew-JWT-Payload", payload.as_str()),
            Request::new("/verified").header("Authorization", format!("e30.{payload}.sig Bearer {token}")),
        ] {
            if let Answer::Opened(socket) = request.send(scene.gateway()).await? {
                ensure!(socket.served_by() == home, "a forged payload placed a session");
                socket.goodbye().await?;
            }
        }
    }

    // The backend gets the token as it came, and nothing of ours.
    let mark = bearer(&token).header("X-Probe", "last");
    mark.place(scene.gateway()).await?;
    let seen = scene.server(&home)?.connections();
    let seen = seen
        .iter()
        .rev()
        .find(|c| c.head.header("x-probe").is_some())
        .context("the probe")?;
    ensure!(seen.head.header("authorization") == Some(format!("Bearer {token}")));
    ensure!(
        seen.head.header("x-clew-jwt-payload").is_none(),
        "the payload reached the backend"
    );

    // Who is not asked for a token needs none, and an unverified one is a hint.
    Request::new("/ws?room=1").place(scene.gateway()).await?;
    let hint = unsigned("none", &claims(3), "");
    Request::new("/hint")
        .header("Authorization", format!("Bearer {hint}"))
        .place(scene.gateway())
        .await?;

    scene::all_answer(&live).await?;
    ensure!(
        admin.stats("^listener_manager\\.").await? == listeners,
        "a listener was touched"
    );
    let signature = token.rsplit('.').next().context("a signature")?;
    let modulus = issuer.jwk()["n"].as_str().context("a modulus")?.to_owned();
    let log = std::fs::read_to_string(scene.state.path().join("envoy/envoy.log"))?;
    for said in [scene.clew.stderr(), log] {
        ensure!(
            !said.contains(signature) && !said.contains(&modulus),
            "a token or a key was logged"
        );
    }
    println!(
        "{} sessions of {} users by verified claims: 0 strays; {} bad tokens: 0 sessions; {} live sessions undisturbed",
        places.len(),
        2 * USERS,
        bad.len(),
        live.len()
    );
    Ok(())
}
