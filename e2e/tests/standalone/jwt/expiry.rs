//! A session ends with its token.

use super::*;

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
