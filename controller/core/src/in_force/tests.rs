use serde_json::{Value, json};

use super::InForce;
use crate::fixture::{Manifests, good, route};
use crate::refusal::Code;
use crate::validate::{Target, Validated};

fn edited(pointer: &str, value: Value) -> Manifests {
    let mut manifests = good();
    Manifests::set(&mut manifests.routes, pointer, value);
    manifests
}

fn turn(in_force: &mut InForce, manifests: &Manifests) -> Validated {
    in_force.validate(&manifests.objects(), Target::Standalone)
}

fn codes(validated: &Validated) -> Vec<Code> {
    validated.refusals().map(|refusal| refusal.code).collect()
}

fn cookie() -> Value {
    json!([{"type": "Cookie", "cookie": {"name": "sid"}}])
}

const SOURCES: &str = "/spec/rules/0/sessionKey/sources";

#[test]
fn a_spoiled_edit_leaves_the_route_as_it_was() {
    let mut in_force = InForce::default();
    let before = turn(&mut in_force, &good());
    let mut spoiled = edited(
        "/spec/rules/0/matches/0/path",
        json!({"type": "RegularExpression", "value": "("}),
    );
    spoiled.routes.push(route("another", "/another"));
    let after = turn(&mut in_force, &spoiled);
    assert_eq!(codes(&after), [Code::ExpressionInvalid]);
    let message = &after.refusals().next().unwrap().message;
    assert!(
        message.ends_with("stays in force as it was before this edit"),
        "{message}"
    );
    let names = |validated: &Validated| -> Vec<String> {
        let rules = validated.world.gateways[0].rules();
        rules.map(|rule| rule.name.to_string()).collect()
    };
    assert_eq!(names(&before), ["shop/chat/rooms"]);
    assert_eq!(names(&after).len(), 2, "the old one and the other route's");
    // A second spoiled edit, a mend, and the end of it.
    assert_eq!(names(&turn(&mut in_force, &spoiled)).len(), 2);
    assert_eq!(codes(&turn(&mut in_force, &good())), []);
    let mut none = good();
    none.routes.clear();
    assert_eq!(turn(&mut in_force, &none).world.gateways[0].rules().count(), 0);
    assert_eq!(in_force.routes().count(), 0);
}

#[test]
fn a_route_that_never_was_good_is_not_in_force() {
    let never = edited(
        "/spec/rules/0/matches/0/path",
        json!({"type": "RegularExpression", "value": "("}),
    );
    let validated = turn(&mut InForce::default(), &never);
    assert_eq!(validated.world.gateways[0].rules().count(), 0);
    assert!(
        !validated
            .refusals()
            .next()
            .unwrap()
            .message
            .contains("stays in force")
    );
}

#[test]
fn keys_of_a_live_route_move_only_where_that_is_wanted() {
    let mut in_force = InForce::default();
    turn(&mut in_force, &good());
    let mut moved = edited(SOURCES, cookie());
    let refused = turn(&mut in_force, &moved);
    assert_eq!(codes(&refused), [Code::KeysWouldMove]);
    assert!(
        refused
            .refusals()
            .next()
            .unwrap()
            .message
            .contains("about 2 of 3")
    );
    moved.routes[0]["metadata"]["annotations"] = json!({"clew.dev/allow-remap": "true"});
    assert_eq!(codes(&turn(&mut in_force, &moved)), []);
    // From now on the cookie is what a live route reads.
    assert_eq!(codes(&turn(&mut in_force, &good())), [Code::KeysWouldMove]);
}

#[test]
fn another_name_for_a_rule_hides_no_move() {
    let mut in_force = InForce::default();
    turn(&mut in_force, &good());
    let mut renamed = edited("/spec/rules/0/name", json!("another"));
    assert_eq!(codes(&turn(&mut in_force.clone(), &renamed)), []);
    *renamed.routes[0].pointer_mut(SOURCES).unwrap() = cookie();
    let refused = turn(&mut in_force, &renamed);
    assert_eq!(codes(&refused), [Code::KeysWouldMove]);
    let mut elsewhere = renamed.clone();
    elsewhere.routes[0]["spec"]["rules"][0]["matches"] =
        json!([{"path": {"type": "Exact", "value": "/elsewhere"}}]);
    assert_eq!(codes(&turn(&mut in_force.clone(), &elsewhere)), []);
}

#[test]
fn a_header_is_the_same_in_any_case() {
    let header = |name: &str| edited(SOURCES, json!([{"type": "Header", "header": {"name": name}}]));
    let mut in_force = InForce::default();
    turn(&mut in_force, &header("X-Room"));
    assert_eq!(codes(&turn(&mut in_force, &header("x-room"))), []);
    assert_eq!(
        codes(&turn(&mut in_force, &header("x-seat"))),
        [Code::KeysWouldMove]
    );
}

#[test]
fn a_source_behind_the_others_moves_nobody() {
    let mut in_force = InForce::default();
    turn(&mut in_force, &good());
    let mut more = good().routes[0].pointer(SOURCES).unwrap().clone();
    more.as_array_mut()
        .unwrap()
        .extend(cookie().as_array().unwrap().clone());
    assert_eq!(codes(&turn(&mut in_force, &edited(SOURCES, more))), []);
}

#[test]
fn what_another_process_kept_counts() {
    let mut first = InForce::default();
    turn(&mut first, &good());
    let mut second: InForce = first.routes().cloned().collect();
    assert_eq!(
        codes(&turn(&mut second, &edited(SOURCES, cookie()))),
        [Code::KeysWouldMove]
    );
}

/// The good fixture with a claim that must be verified, by the keys in the Secret `issuer`.
fn verifying(jwks: &str) -> Manifests {
    let mut manifests = edited(
        SOURCES,
        json!([{"type": "JWTClaim", "jwtClaim": {"name": "sub"}}]),
    );
    let jwt = json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "issuer"}}});
    Manifests::set(&mut manifests.routes, "/spec/rules/0/security", jwt);
    manifests.secrets.push(json!({
        "metadata": {"name": "issuer", "namespace": "shop"},
        "stringData": {"jwks": jwks},
    }));
    manifests
}

const KEYS: &str = r#"{"keys":[{"e":"AQAB","kid":"1","kty":"RSA","n":"AQAB"}]}"#;

fn keys(validated: &Validated) -> Vec<String> {
    validated
        .world
        .key_sets
        .values()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn keys_that_are_spoiled_or_gone_stay_as_they_last_were_good() {
    let mut in_force = InForce::default();
    assert_eq!(codes(&turn(&mut in_force, &verifying(KEYS))), []);
    let mut gone = verifying(KEYS);
    gone.secrets.clear();
    for (manifests, code) in [
        (verifying("{"), Code::KeySetInvalid),
        (gone.clone(), Code::SecretMissing),
        (verifying("{"), Code::KeySetInvalid),
    ] {
        let validated = turn(&mut in_force, &manifests);
        assert_eq!(codes(&validated), [code]);
        assert_eq!(keys(&validated), [KEYS]);
        assert_eq!(validated.world.gateways[0].rules().count(), 1);
        let message = &validated.refusals().next().unwrap().message;
        assert!(
            message.ends_with("stay in force as they last were good"),
            "{message}"
        );
    }
    // Another process knows them too.
    let sets = in_force.key_sets().map(|(name, keys)| (name, keys.to_vec()));
    let mut second = InForce::default().with_key_sets(sets.collect::<Vec<_>>());
    assert_eq!(keys(&turn(&mut second, &gone)), [KEYS]);
    // A set without keys is meant so, and a Secret that nobody names is forgotten.
    let none = r#"{"keys":[]}"#;
    assert_eq!(keys(&turn(&mut in_force, &verifying(none))), [none]);
    turn(&mut in_force, &good());
    assert_eq!(in_force.key_sets().count(), 0);
}

#[test]
fn keys_that_never_were_good_let_nobody_in() {
    let mut gone = verifying(KEYS);
    gone.secrets.clear();
    let missing = turn(&mut InForce::default(), &gone);
    assert_eq!(codes(&missing), [Code::SecretMissing]);
    assert_eq!(
        (keys(&missing).len(), missing.world.gateways[0].rules().count()),
        (0, 1)
    );
    let invalid = turn(&mut InForce::default(), &verifying("{"));
    assert_eq!(codes(&invalid), [Code::KeySetInvalid]);
    assert_eq!(invalid.world.gateways[0].rules().count(), 0);
}

#[test]
fn a_claim_that_is_verified_from_now_on_moves_nobody() {
    let mut in_force = InForce::default();
    let mut hint = verifying(KEYS);
    let claim = json!({"name": "sub", "verification": "None"});
    Manifests::set(
        &mut hint.routes,
        "/spec/rules/0/sessionKey/sources/0/jwtClaim",
        claim,
    );
    assert_eq!(codes(&turn(&mut in_force, &hint)), []);
    assert_eq!(codes(&turn(&mut in_force, &verifying(KEYS))), []);
}
