//! A claim that must be verified, by Istio's own policies.

use anyhow::{Result, ensure};
use clew_e2e::gateway::SELECTOR;
use clew_e2e::issuer::{Issuer, key_set, seconds};
use clew_e2e::ws_client::{Answer, Request};
use clew_e2e::{istio, wait};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::shop::Shop;
use super::{SOON, alone, condition};

const ISSUER: &str = "https://id.example.com";

fn policies(issuer: &Issuer) -> [Value; 2] {
    let object = |kind: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "security.istio.io/v1", "kind": kind,
            "metadata": {"name": "verified", "namespace": istio::NAMESPACE}, "spec": spec,
        });
        object["spec"]["selector"] = json!({"matchLabels": {SELECTOR.0: SELECTOR.1}});
        object
    };
    let rule =
        json!({"issuer": ISSUER, "jwks": key_set(&[issuer]), "outputPayloadToHeader": "x-clew-jwt-payload"});
    let without = json!({"from": [{"source": {"notRequestPrincipals": ["*"]}}],
        "to": [{"operation": {"hosts": ["verified.example.com"]}}]});
    [
        object("RequestAuthentication", json!({"jwtRules": [rule]})),
        object(
            "AuthorizationPolicy",
            json!({"action": "DENY", "rules": [without]}),
        ),
    ]
}

async fn status_of(request: &Request, shop: &Shop) -> Option<u16> {
    match request.send(shop.visitors.gateway).await.ok()? {
        Answer::Refused(head, _) => Some(head.status),
        _ => Some(101),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_must_be_verified_is_taken_where_istio_requires_a_token() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "verified").await?;
    let open = shop.manifest.clone();
    let claim = json!({"type": "JWTClaim", "jwtClaim": {"name": "sub", "verification": "Required"}});
    shop.manifest["spec"]["rules"][0]["sessionKey"]["sources"] = json!([claim]);
    shop.manifest["metadata"]["annotations"] = json!({"clew.dev/allow-remap": "true"});
    shop.client.apply(&shop.manifest).await?;
    let (_, _, message) = shop
        .route
        .until("nothing verifies it", |route| {
            condition(route, "Accepted").filter(|(_, reason, _)| reason == "UnverifiedClaim")
        })
        .await?;
    ensure!(message.contains("no RequestAuthentication"), "{message}");
    ensure!(
        shop.visitors
            .request(0)
            .place(shop.visitors.gateway)
            .await
            .is_ok(),
        "the route is in force as it was before"
    );

    let issuer = Issuer::rs256("a")?;
    let [authentication, authorization] = policies(&issuer);
    shop.client.apply(&authentication).await?;
    shop.route
        .until("one policy is not enough", |route| {
            condition(route, "Accepted").filter(|(_, _, message)| message.contains("no AuthorizationPolicy"))
        })
        .await?;
    shop.client.apply(&authorization).await?;
    shop.programmed().await?;

    let bearer = |sub: &str| -> Result<Request> {
        let token = issuer.token(&json!({"iss": ISSUER, "sub": sub, "exp": seconds(600)}))?;
        Ok(shop
            .visitors
            .request(0)
            .header("authorization", format!("Bearer {token}")))
    };
    let forged = BASE64URL_NOPAD.encode(br#"{"iss":"x","sub":"mallory"}"#);
    let nobody = shop.visitors.request(0);
    wait::until("nobody gets in without a token", SOON, async || {
        (status_of(&nobody, &shop).await? == 403).then_some(())
    })
    .await?;
    let with_payload = shop
        .visitors
        .request(0)
        .header("x-clew-jwt-payload", forged.as_str());
    ensure!(
        status_of(&with_payload, &shop).await == Some(403),
        "a payload is no token"
    );
    let unsigned = format!("Bearer e30.{forged}.c2ln");
    let forger = shop.visitors.request(0).header("authorization", unsigned);
    ensure!(
        status_of(&forger, &shop).await == Some(401),
        "a token that nobody signed"
    );
    let first = wait::until("who has a token gets in", SOON, async || {
        bearer("ada").ok()?.place(shop.visitors.gateway).await.ok()
    })
    .await?;
    for n in 0..20 {
        // A payload beside the token decides nothing.
        let request = bearer("ada")?.header(
            "x-clew-jwt-payload",
            BASE64URL_NOPAD.encode(format!(r#"{{"sub":"{n}"}}"#).as_bytes()),
        );
        let placed = request.place(shop.visitors.gateway).await?;
        ensure!(placed == first, "the same subject on {placed} and on {first}");
    }
    let mut others = std::collections::BTreeSet::new();
    for n in 0..20 {
        others.insert(bearer(&format!("user-{n}"))?.place(shop.visitors.gateway).await?);
    }
    ensure!(others.len() > 1, "all subjects on {others:?}");

    shop.client.same(&authorization)?.delete().await?;
    shop.route
        .until("without the policy it is refused again", |route| {
            condition(route, "Accepted").filter(|(_, reason, _)| reason == "UnverifiedClaim")
        })
        .await?;
    shop.client.same(&authentication)?.delete().await?;
    shop.manifest = open;
    shop.close().await
}
