//! Tokens are verified by Envoy with the keys of a Secret: a good one places its session, a bad one opens none.

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
    let bad = bad_requests(&issuer, &partner)?;
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

/// Requests that no token entitles.
fn bad_requests(issuer: &Issuer, partner: &Issuer) -> Result<Vec<(&'static str, Request)>> {
    let good = issuer.token(&claims(0))?;
    let (said, signature) = good.rsplit_once('.').context("three parts")?;
    let (header, payload) = said.split_once('.').context("three parts")?;
    let other = BASE64URL_NOPAD.encode(claims(1).to_string().as_bytes());
    let stranger = Issuer::es256("one")?;
    let partners = json!({"iss": PARTNER, "user": {"id": 1}, "exp": seconds(600)});
    let at_partner = |token: &str| Request::new("/partner").header("X-Token", token);
    let mut damaged = signature.to_owned().into_bytes();
    damaged[10] = if damaged[10] == b'A' { b'B' } else { b'A' };
    let damaged = String::from_utf8(damaged)?;
    Ok(vec![
        ("no token", Request::new("/verified")),
        ("no token, in plain HTTP", Request::new("/verified").plain()),
        ("an empty token", bearer("")),
        ("no token at all", bearer("token")),
        ("two parts", bearer(said)),
        ("no signature", bearer(&format!("{said}."))),
        ("a damaged signature", bearer(&format!("{said}.{damaged}"))),
        (
            "another payload",
            bearer(&format!("{header}.{other}.{signature}")),
        ),
        (
            "another key of the same name",
            bearer(&stranger.token(&claims(0))?),
        ),
        ("another issuer's key", bearer(&partner.token(&claims(0))?)),
        (
            "expired",
            bearer(&issuer.token(&but(claims(0), "exp", seconds(-40)))?),
        ),
        (
            "not yet",
            bearer(&issuer.token(&but(claims(0), "nbf", seconds(400)))?),
        ),
        (
            "another issuer",
            bearer(&issuer.token(&but(claims(0), "iss", PARTNER))?),
        ),
        (
            "another audience",
            bearer(&issuer.token(&but(claims(0), "aud", "mail"))?),
        ),
        (
            "audiences of others",
            bearer(&issuer.token(&but(claims(0), "aud", json!(["mail", "web"])))?),
        ),
        (
            "no audience",
            bearer(&issuer.token(&but(claims(0), "aud", json!([])))?),
        ),
        ("alg none", bearer(&unsigned("none", &claims(0), ""))),
        (
            "alg none with a signature",
            bearer(&unsigned("none", &claims(0), signature)),
        ),
        ("alg None", bearer(&unsigned("None", &claims(0), "AA"))),
        (
            "RS256 without a signature",
            bearer(&unsigned("RS256", &claims(0), "")),
        ),
        ("HS256 with the public key", bearer(&issuer.confused(&claims(0)))),
        (
            "the token in the query",
            Request::new(format!("/verified?access_token={good}")),
        ),
        (
            "the token in a cookie",
            Request::new("/verified").header("Cookie", format!("access_token={good}")),
        ),
        (
            "the token in another header",
            Request::new("/verified").header("X-Token", good.as_str()),
        ),
        (
            "another scheme",
            Request::new("/verified").header("Authorization", format!("Basic {good}")),
        ),
        (
            "a payload of our own making",
            Request::new("/verified").header("X-Clew-JWT-Payload", payload),
        ),
        (
            "a good token and a bad one",
            bearer(&good).header("Authorization", format!("Bearer {said}.{damaged}")),
        ),
        ("the partner's rule without a token", Request::new("/partner")),
        ("the issuer's token at the partner's rule", at_partner(&good)),
        (
            "the partner's key confused",
            at_partner(&partner.confused(&partners)),
        ),
        (
            "a forged token at the partner's rule",
            at_partner(&stranger.token(&partners)?),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_live_sessions_and_broken_ones_change_nothing() -> Result<()> {
    const EDITS: usize = 20;
    let (first, partner) = (Issuer::rs256("key-0")?, Issuer::es256("partner")?);
    let mut scene = scene_with(&first, &partner).await?;
    let admin = scene.clew.ready.admin;
    let listeners = admin.stats("^listener_manager\\.").await?;
    let requests: Result<Vec<Request>> = (0..60)
        .map(|user| Ok(bearer(&first.token(&claims(user))?)))
        .collect();
    let live = scene.open(&requests?, |_| Traffic::idle()).await?;

    // Each edit takes the older of two keys away and adds one.
    let mut current = first;
    for edit in 0..EDITS {
        let next = Issuer::es256(&format!("key-{}", edit + 1))?;
        save_keys(&scene, "issuer", &[&next])?;
        let (new, old) = (
            bearer(&next.token(&claims(0))?),
            bearer(&current.token(&claims(0))?),
        );
        until_all("the new key counts", async || opens(&scene, &new).await).await?;
        until_all("the old one does not", async || refused(&scene, &old).await).await?;
        current = next;
    }
    scene::all_answer(&live).await?;
    ensure!(
        admin.stats("^listener_manager\\.").await? == listeners,
        "a listener was touched"
    );

    // A broken set, a Secret that is gone, and both across a restart: the last good keys stay.
    let good = bearer(&current.token(&claims(0))?);
    let said = scene.clew.stderr().len();
    scene.folder.put(
        "issuer",
        &manifests::secret("issuer", "jwks", r#"{"keys": [{"kty": "RSA"}]}"#),
    )?;
    scene.clew.says(said, "CLEW0128").await?;
    ensure!(
        opens(&scene, &good).await,
        "a broken key set took the good keys away"
    );
    let said = scene.clew.stderr().len();
    scene.folder.remove("issuer")?;
    scene.clew.says(said, "CLEW0124").await?;
    ensure!(
        opens(&scene, &good).await,
        "a Secret that is gone took the good keys away"
    );
    scene.clew.kill().await?;
    scene.start_again().await?;
    ensure!(opens(&scene, &good).await, "a restart took the good keys away");
    ensure!(
        refused(&scene, &Request::new("/verified")).await,
        "nothing is verified any more"
    );

    // A set without keys is meant so.
    save_keys(&scene, "issuer", &[])?;
    until_all("every token is refused", async || refused(&scene, &good).await).await?;
    scene::all_answer(&live).await?;
    println!(
        "{EDITS} rotations under {} sessions: 0 lost, no listener touched",
        live.len()
    );
    Ok(())
}

/// An edit of who is asked for what never lets anybody in whom neither the old rule nor the new one takes, nor refuses whom
/// both take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_taken_before_and_after_an_edit_is_taken_throughout() -> Result<()> {
    const EDITS: usize = 10;
    let (issuer, partner) = (Issuer::rs256("one")?, Issuer::es256("two")?);
    let scene = scene_with(&issuer, &partner).await?;
    let gateway = scene.gateway();
    let good = bearer(&issuer.token(&claims(0))?);
    let mail = bearer(&issuer.token(&but(claims(0), "aud", "mail"))?);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let pouring = tokio::spawn(async move {
        let (mut taken, mut wrong) = (0, Vec::new());
        while stopped.try_recv().is_err() {
            match good.place(gateway).await {
                Ok(_) => taken += 1,
                Err(error) => wrong.push(error.to_string()),
            }
            if let Ok(Answer::Opened(_)) = mail.send(gateway).await {
                wrong.push("a token for others was taken".to_owned());
            }
        }
        (taken, wrong)
    });
    for edit in 0..EDITS {
        let mut edited = route();
        let jwt = &mut edited["spec"]["rules"][0]["security"]["jwt"];
        jwt["audiences"] = if edit % 2 == 0 {
            json!(["chat"])
        } else {
            json!(["rooms", "chat"])
        };
        let rooms = bearer(&issuer.token(&but(claims(0), "aud", "rooms"))?);
        scene.folder.put("route", &edited)?;
        until_all("the edit is in force", async || {
            if edit % 2 == 0 {
                refused(&scene, &rooms).await
            } else {
                opens(&scene, &rooms).await
            }
        })
        .await?;
    }
    let _ = stop.send(());
    let (taken, wrong) = pouring.await?;
    ensure!(wrong.is_empty(), "{} of {taken} wrong: {}", wrong.len(), wrong[0]);
    println!("{EDITS} edits of the audiences while {taken} handshakes poured in: every one was taken");
    Ok(())
}

/// Tokens of three kinds, for sessions side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    EndsSoon,
    EndsLate,
    NeverEnds,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_its_token_and_no_other_does() -> Result<()> {
    /// Envoy takes a token for so long after its `exp`, and the session lasts as long.
    const SKEW: i64 = 30;
    /// A tick, and what is left of a message.
    const LATE: Duration = Duration::from_secs(3);
    const OF_EACH: usize = 20;
    let issuer = Issuer::es256("one")?;
    let claim =
        |verification| json!({"type": "JWTClaim", "jwtClaim": {"name": "sub", "verification": verification}});
    let ending = |name: &str, verification, jwt: Value| {
        let mut policy = json!({
            "sessionKey": {"sources": [claim(verification)]},
            "security": {"closeAtTokenExpiry": true},
        });
        if jwt.is_object() {
            policy["security"]["jwt"] = jwt;
        }
        manifests::rule(name, &format!("/{name}"), SERVICE, PORT, policy)
    };
    let scene = Scene::new(3, json!({"sessionKey": by_room()})).await?;
    save_keys(&scene, "issuer", &[&issuer])?;
    let jwt = json!({"issuer": ISSUER, "jwksSecretRef": {"name": "issuer"}});
    scene.folder.put(
        "route",
        &manifests::route(
            ROUTE,
            json!([
                ending("verified", "Required", jwt),
                ending("hint", "None", Value::Null),
                manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()})),
            ]),
        ),
    )?;
    let probe = bearer(&issuer.token(&claims(0))?);
    until_all("tokens are verified", async || opens(&scene, &probe).await).await?;

    let end = seconds(5);
    let kind = |i: usize| [Token::EndsSoon, Token::EndsLate, Token::NeverEnds][i % 3];
    let requests: Result<Vec<Request>> = (0..3 * OF_EACH)
        .map(|i| {
            let mut claims = claims(i);
            match kind(i) {
                Token::EndsSoon => claims["exp"] = json!(end - SKEW),
                Token::EndsLate => {}
                Token::NeverEnds => drop(claims.as_object_mut().and_then(|claims| claims.remove("exp"))),
            }
            Ok(bearer(&issuer.token(&claims)?))
        })
        .collect();
    let chatty = |i: usize| match i / 3 % 2 {
        0 => Traffic::idle(),
        _ => Traffic::every(Duration::from_millis(100), 2000),
    };
    let mut sessions = scene.open(&requests?, chatty).await?;
    ensure!(seconds(0) < end, "the machine is too slow for this test");
    for (i, session) in sessions.iter_mut().enumerate() {
        if kind(i) != Token::EndsSoon {
            continue;
        }
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1008), "session {i}: {record:?}");
        let (_, reason, _) = record.close.context("a Close")?;
        ensure!(reason == "token expired", "{reason}");
        ensure!(seconds(0) >= end, "session {i} ended before its token");
    }
    let late = Duration::from_secs(u64::try_from(seconds(0) - end)?);
    ensure!(late <= LATE, "the last one ended {late:?} after its token");
    let told = |code| {
        let connections = scene.servers.iter().flat_map(EchoServer::connections);
        connections
            .filter(|c| c.record().close.is_some_and(|(got, ..)| got == Some(code)))
            .count()
    };
    wait::until_true("the servers saw a Close too", SOON, || told(1008) == OF_EACH).await?;
    let good: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .filter(|(i, _)| kind(*i) != Token::EndsSoon)
        .map(|(_, session)| session)
        .collect();
    scene::all_answer(&good).await?;

    // A hint that is over already: the session opens and ends.
    let hint = unsigned("none", &but(claims(0), "exp", seconds(-60)), "");
    let request = Request::new("/hint").header("Authorization", format!("Bearer {hint}"));
    let mut ended = request.open(scene.gateway()).await?.session(Traffic::idle());
    ensure!(ended.ended(SOON).await?.code() == Some(1008), "an expired hint");
    let closed = [("clew_route", "shop/chat/verified"), ("reason", "token_expired")];
    wait::until("the end is counted", SOON, async || {
        let count = scene
            .clew
            .ready
            .admin
            .metric("clew_sessions_closed_total", &closed)
            .await
            .ok()?;
        (count == OF_EACH as f64).then_some(())
    })
    .await?;
    println!(
        "{OF_EACH} sessions closed with 1008 on both sides {late:?} after their tokens at the latest; {} beside them live on",
        good.len()
    );
    Ok(())
}
