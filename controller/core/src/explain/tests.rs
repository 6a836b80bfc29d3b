use clew_filter_config::persistence::SigningKey;
use clew_filter_core::placement::Seed;
use clew_filter_core::token::{Ring, Token};
use serde_json::{Value, json};

use super::{Explanation, Request, Secrets, explain};
use crate::fixture::{Manifests, good, on_gateway_api, on_istio, route};
use crate::render::rules::{Drains, render};
use crate::validate::{Target, validate};

const NOW: u64 = 1_800_000_000_000;

fn secrets() -> Secrets {
    Secrets {
        seed: Seed::new([7; 16]),
        ring: Ring::new(&[SigningKey {
            secret: "ab".repeat(32),
            signs: true,
        }]),
    }
}

fn ask(manifests: &Manifests, target: &str, headers: &[(&str, &str)]) -> Explanation {
    let world = validate(&manifests.objects(), Target::Every).world;
    let mut drains = Drains::default();
    drains.observe(&world, 1);
    let request = Request {
        target: target.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect(),
        peer: "127.0.0.1:5000".parse().unwrap(),
        listener: None,
    };
    explain(&world, &drains, &request, &secrets(), NOW)
}

/// What the filters are told.
fn render_rules(manifests: &Manifests) -> String {
    let world = validate(&manifests.objects(), Target::Standalone).world;
    let gateway = &world.gateways[0];
    serde_json::to_string(&render(&world, gateway.rules(), &Drains::default()).rules).unwrap()
}

/// The good fixture with this for its one match, before a route that takes everything.
fn matching(matching: Value) -> Manifests {
    let mut manifests = good();
    Manifests::set(&mut manifests.routes, "/spec/rules/0/matches/0", matching);
    manifests.routes.push(route("rest", "/"));
    manifests
}

#[test]
fn names_the_rule_the_key_and_the_pod() {
    let answer = ask(&good(), "/ws/a?room=7", &[("host", "chat.example.com:8080")]);
    assert_eq!(answer.rule.as_deref(), Some("shop/chat/rooms"));
    let key = answer.key.unwrap();
    assert_eq!((key.source.as_str(), key.hash.len()), ("QueryParam room", 16));
    let backend = answer.backend.unwrap();
    assert_eq!(backend.service, "shop/chat:8080");
    assert!(backend.name.starts_with("chat-") && backend.address.ends_with(":9000"));
    // The same without a Host: any will do.
    assert_eq!(
        ask(&good(), "/ws/a?room=7", &[]).backend.unwrap().name,
        backend.name
    );
}

/// One key, one pod, whoever carries it there.
#[test]
fn the_pod_is_the_same_on_istio_and_on_envoy_gateway() {
    for mut mesh in [on_istio(), on_gateway_api()] {
        mesh.routes[0]["spec"]["rules"][0]["backendRefs"] = json!([{"name": "chat", "port": 8080}]);
        for room in 0..8 {
            let target = format!("/ws?room={room}");
            let host = [("host", "chat.example.com")];
            let there = ask(&mesh, &target, &host);
            assert_eq!(there.rule.as_deref(), Some("shop/chat/rooms"));
            let here = ask(&good(), &target, &host);
            assert_eq!(there.backend.unwrap().name, here.backend.unwrap().name);
        }
        assert_eq!(ask(&mesh, "/ws", &[("host", "chat.example.org")]).rule, None);
        assert_eq!(ask(&mesh, "/other", &[]).rule, None);
    }
}

/// HTTP/2 has no Host, and Envoy none for any request: the filter sees `:authority`.
#[test]
fn the_host_can_be_a_key() {
    let mut manifests = good();
    let sources = json!([{"type": "Header", "header": {"name": "Host"}}]);
    Manifests::set(
        &mut manifests.routes,
        "/spec/rules/0/sessionKey",
        json!({"sources": sources}),
    );
    let answer = ask(&manifests, "/ws", &[("host", "chat.example.com")]);
    assert_eq!(answer.key.unwrap().source, "Header :authority");
    let rules = render_rules(&manifests);
    assert!(rules.contains("\"name\":\":authority\""), "{rules}");
}

#[test]
fn a_draining_pod_is_nobodys_place() {
    let before = ask(&good(), "/ws?room=7", &[]).backend.unwrap();
    let mut manifests = good();
    for endpoint in manifests.endpoint_slices[0]["endpoints"].as_array_mut().unwrap() {
        if endpoint["targetRef"]["name"] == before.name.as_str() {
            endpoint["conditions"] = json!({"terminating": true});
        }
    }
    assert_ne!(
        ask(&manifests, "/ws?room=7", &[]).backend.unwrap().name,
        before.name
    );
}

#[test]
fn finds_the_route_as_envoy_does() {
    let tenant = matching(json!({"headers": [{"name": "X-Tenant", "value": "acme"}]}));
    let param = matching(json!({"queryParams": [{"name": "v", "value": "2"}]}));
    let protocol = matching(json!({"subprotocols": ["graphql.ws"]}));
    let expression = matching(json!({"path": {"type": "RegularExpression", "value": "/[0-9]+"}}));
    // What each says was seen in Envoy 1.40.
    for (manifests, target, headers, first) in [
        (&tenant, "/", &[("x-tenant", "acme")][..], true),
        (&tenant, "/", &[("x-tenant", "b"), ("x-tenant", " acme ")], true),
        (&tenant, "/", &[("x-tenant", "b, acme")], false),
        (&tenant, "/", &[], false),
        (&param, "/?v=2", &[], true),
        (&param, "/?v=2&v=3", &[], true),
        (&param, "/?v=3&v=2", &[], false),
        (&param, "/?v=%32", &[], false),
        (&param, "/?V=2", &[], false),
        (
            &protocol,
            "/",
            &[("sec-websocket-protocol", "a ,graphql.ws")],
            true,
        ),
        (
            &protocol,
            "/",
            &[
                ("sec-websocket-protocol", "a"),
                ("sec-websocket-protocol", "graphql.ws"),
            ],
            true,
        ),
        (&protocol, "/", &[("sec-websocket-protocol", "graphqlxws")], false),
        (&expression, "/12?x", &[], true),
        (&expression, "/12/", &[], false),
    ] {
        let rule = ask(manifests, target, headers).rule.unwrap();
        assert_eq!(rule == "shop/chat/rooms", first, "{target} {headers:?}");
    }
}

#[test]
fn a_prefix_is_made_of_segments_and_hosts_are_their_own() {
    for (target, host, found) in [
        ("/ws", "chat.example.com", true),
        ("/ws/", "CHAT.example.com", true),
        ("/wsx", "chat.example.com", false),
        ("/ws", "other.example.com", false),
    ] {
        let answer = ask(&good(), target, &[("host", host)]);
        assert_eq!(answer.rule.is_some(), found, "{target} {host}");
        assert_eq!(answer.why.ends_with("404"), !found, "{}", answer.why);
    }
}

#[test]
fn says_what_happens_without_a_key() {
    let with = |on_missing: Value| {
        let mut manifests = good();
        let mut key = json!({"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]});
        key.as_object_mut()
            .unwrap()
            .extend(on_missing.as_object().unwrap().clone());
        Manifests::set(&mut manifests.routes, "/spec/rules/0/sessionKey", key);
        let answer = ask(&manifests, "/ws", &[]);
        assert_eq!((answer.key, answer.backend), (None, None));
        answer.why
    };
    assert!(with(json!({})).contains("fewer sessions"));
    assert!(with(json!({"onMissing": "Reject"})).contains("400, key_missing"));
    assert!(with(json!({"onMissing": "Generate", "generate": {"cookieName": "k"}})).contains("cookie k"));
}

#[test]
fn a_backend_that_does_not_exist_has_its_share() {
    let mut manifests = good();
    let backends = json!([{"name": "gone", "port": 8080}, {"name": "chat", "port": 8080}]);
    Manifests::set(&mut manifests.routes, "/spec/rules/0/backendRefs", backends);
    let asked: Vec<_> = (0..100)
        .map(|room| ask(&manifests, &format!("/ws?room={room}"), &[]))
        .collect();
    let missing = asked
        .iter()
        .filter(|answer| answer.why.contains("shop/gone:8080"))
        .count();
    assert!((20..80).contains(&missing), "{missing}");
    assert!(
        asked
            .iter()
            .all(|answer| answer.backend.is_none() == answer.why.contains("500"))
    );
}

/// A client that was given a key comes back with it.
#[test]
fn a_generated_key_is_a_key() {
    let mut manifests = good();
    Manifests::set(
        &mut manifests.routes,
        "/spec/rules/0/sessionKey",
        json!({
            "sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}],
            "onMissing": "Generate",
            "generate": {"cookieName": "k"},
        }),
    );
    let asked = |value: &str| {
        ask(
            &manifests,
            "/ws",
            &[("host", "chat.example.com"), ("cookie", value)],
        )
    };
    let answer = asked("k=abc");
    assert_eq!(answer.key.unwrap().source, "Cookie k, which was generated");
    let same = ask(&good(), "/ws?room=abc", &[("host", "chat.example.com")]);
    assert_eq!(answer.backend, same.backend, "only the value counts");
}

#[test]
fn an_origin_of_another_host_is_refused() {
    let with = |origin: &str| {
        let headers = [("host", "chat.example.com"), ("origin", origin)];
        ask(&good(), "/ws?room=7", &headers)
    };
    assert!(with("https://chat.example.com").backend.is_some());
    let refused = with("https://evil.example");
    assert!(refused.backend.is_none() && refused.rule.is_some());
    assert!(refused.why.contains("origin_refused"), "{}", refused.why);
}

#[test]
fn a_token_decides_where_its_pod_takes_sessions() {
    let mut manifests = good();
    Manifests::set(
        &mut manifests.routes,
        "/spec/rules/0/sessionPersistence",
        json!({"type": "Header", "header": {"name": "X-Session"}}),
    );
    let token = |pod: &str, rule: &str| {
        let token = Token {
            pod: pod.to_owned(),
            uid: pod.replace("chat", "uid"),
            issued_ms: NOW,
            expires_ms: None,
        };
        secrets().ring.seal(&token, rule).unwrap()
    };
    let by_key = ask(&manifests, "/ws?room=7", &[]);
    for pod in ["chat-1", "chat-2", "chat-3"] {
        let answer = ask(
            &manifests,
            "/ws?room=7",
            &[("x-session", &token(pod, "shop/chat/rooms"))],
        );
        assert_eq!(
            (answer.backend.unwrap().name.as_str(), &answer.key),
            (pod, &by_key.key)
        );
        assert_eq!(answer.why, "its persistence token names the pod");
    }
    let gone = token("chat-9", "shop/chat/rooms");
    for (token, why) in [
        (
            gone.as_str(),
            "its persistence token names chat-9, which takes no sessions; the pod",
        ),
        ("x", "its persistence token is none; the pod"),
        (
            &token("chat-1", "shop/chat/other"),
            "its persistence token is of another rule; the pod",
        ),
    ] {
        let answer = ask(&manifests, "/ws?room=7", &[("x-session", token)]);
        assert!(answer.why.starts_with(why), "{}", answer.why);
        assert_eq!(answer.backend, by_key.backend);
    }
    Manifests::set(
        &mut manifests.routes,
        "/spec/rules/0/onBackendGone",
        "Reject".into(),
    );
    let answer = ask(&manifests, "/ws?room=7", &[("x-session", &gone)]);
    assert!(
        answer.backend.is_none() && answer.why.contains("503"),
        "{}",
        answer.why
    );
}
