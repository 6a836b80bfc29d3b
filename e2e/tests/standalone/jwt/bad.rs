//! Tokens that open nothing.

use super::*;

/// Requests that no token entitles.
pub(super) fn bad_requests(issuer: &Issuer, partner: &Issuer) -> Result<Vec<(&'static str, Request)>> {
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
