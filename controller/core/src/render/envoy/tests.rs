use clew_filter_config::plugin::FailureMode;
use serde_json::{Value, json};

use super::{CLUSTERS, Rendered, Settings, bootstrap, render};
use crate::fixture::{Manifests, endpoint_slice, good, route, service};
use crate::model::World;
use crate::render::rules::Drains;
use crate::validate::{Target, validate};

fn settings() -> Settings {
    Settings {
        folder: "/xds".to_owned(),
        module: "/clew.wasm".to_owned(),
        module_sha256: "0".repeat(64),
        channel: "127.0.0.1:9900".parse().unwrap(),
        token: "token".to_owned(),
        admin: "127.0.0.1:9901".parse().unwrap(),
        node: "clew".to_owned(),
        failure_mode: FailureMode::Closed,
        access_log: None,
    }
}

fn world(manifests: &Manifests) -> World {
    validate(&manifests.objects(), Target::Standalone).world
}

fn rendered(manifests: &Manifests) -> Rendered {
    render(&world(manifests), &settings(), &Drains::default())
}

fn routes(rendered: &Rendered) -> Vec<Value> {
    let file: Value = serde_json::from_str(&rendered.routes.values().next().unwrap().content).unwrap();
    file["resources"][0]["virtual_hosts"][0]["routes"]
        .as_array()
        .unwrap()
        .clone()
}

/// Where, and what it is then.
type Edit = (&'static str, fn() -> Value);

/// Every field of a route, changed: what is frozen must not notice.
const EDITS: &[Edit] = &[
    ("/metadata/generation", || json!(2)),
    ("/spec/hostnames", || {
        json!(["rooms.example.com", "*.chat.example.com"])
    }),
    ("/spec/rules/0/name", || json!("halls")),
    ("/spec/rules/0/matches", || json!([])),
    (
        "/spec/rules/0/matches/0/path",
        || json!({"type": "Exact", "value": "/x"}),
    ),
    (
        "/spec/rules/0/matches/0/path",
        || json!({"type": "RegularExpression", "value": "/x+"}),
    ),
    (
        "/spec/rules/0/matches/0/headers",
        || json!([{"name": "x-a", "value": "1"}]),
    ),
    (
        "/spec/rules/0/matches/0/queryParams",
        || json!([{"name": "a", "value": "1"}]),
    ),
    ("/spec/rules/0/matches/0/subprotocols", || {
        json!(["graphql-transport-ws"])
    }),
    (
        "/spec/rules/0/backendRefs",
        || json!([{"name": "chat", "port": 8080, "weight": 9}, {"name": "other", "port": 8080}]),
    ),
    ("/spec/rules/0/backendRefs/0/name", || json!("gone")),
    (
        "/spec/rules/0/sessionKey",
        || json!({"sources": [{"type": "Cookie", "cookie": {"name": "sid"}}], "onMissing": "Generate", "generate": {"cookieName": "k"}}),
    ),
    (
        "/spec/rules/0/sessionPersistence",
        || json!({"type": "Header", "header": {"name": "x-s"}}),
    ),
    ("/spec/rules/0/onBackendGone", || json!("Reject")),
    ("/spec/rules/0/loadBalancer", || json!({"type": "LeastSessions"})),
    (
        "/spec/rules/0/timeouts",
        || json!({"handshake": "1s", "idle": "1h", "maxConnectionDuration": "1h"}),
    ),
    (
        "/spec/rules/0/limits",
        || json!({"maxConnectionsPerProxy": 5, "maxMessageSize": "1Mi"}),
    ),
    (
        "/spec/rules/0/security",
        || json!({"origin": {"allowed": ["*"]}, "closeAtTokenExpiry": true, "jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "issuer"}}}),
    ),
    (
        "/spec/rules/0/drain",
        || json!({"timeout": "1s", "closeCode": 1001, "closeReason": "x"}),
    ),
    (
        "/spec/rules/0/resilience",
        || json!({"connectRetries": 1, "maxPendingHandshakes": 1, "outlierDetection": {}, "fault": {"abort": {"percent": 1, "status": 500}}}),
    ),
];

#[test]
fn an_edit_of_a_route_touches_no_listener() {
    let before = rendered(&good());
    let boot = bootstrap(&settings());
    for (pointer, value) in EDITS {
        let mut edited = good();
        Manifests::set(&mut edited.routes, pointer, value());
        let after = rendered(&edited);
        assert_eq!(after.listeners, before.listeners, "{pointer}");
        assert_eq!(after.extensions, before.extensions, "{pointer}");
        assert_eq!(after.secrets, before.secrets, "{pointer}");
        assert_eq!(bootstrap(&settings()), boot);
    }
    let mut without = good();
    without.routes.clear();
    assert_eq!(rendered(&without).listeners, before.listeners);
}

#[test]
fn an_access_log_is_told_facts_and_nothing_that_a_client_sent() {
    let without = rendered(&good());
    let settings = Settings {
        access_log: Some("/log".to_owned()),
        ..settings()
    };
    let with = render(&world(&good()), &settings, &Drains::default());
    let asked = |rendered: &Rendered| {
        let filter = rendered.extensions.values().next().unwrap();
        filter.content.contains(r#"\"accessLog\":true"#)
    };
    assert!(asked(&with) && !asked(&without));
    assert!(!without.listeners.content.contains("access_log"));
    let listeners: Value = serde_json::from_str(&with.listeners.content).unwrap();
    let log = &listeners["resources"][0]["filter_chains"][0]["filters"][0]["typed_config"]["access_log"][0]["typed_config"];
    assert_eq!(log["path"], "/log");
    let format = log["log_format"]["json_format"].as_object().unwrap();
    assert_eq!(format["clew_route"], "%FILTER_STATE(wasm.clew_route:PLAIN)%");
    let of_clients = [
        "%REQ",
        "%REQUEST",
        "%DOWNSTREAM_REMOTE",
        "%DOWNSTREAM_DIRECT_REMOTE",
        "%PATH",
        "%COOKIE",
    ];
    for value in format.values() {
        assert!(
            !of_clients
                .iter()
                .any(|start| value.as_str().unwrap().starts_with(start)),
            "{value}"
        );
    }
}

#[test]
fn whoever_chooses_open_passes_what_a_failed_filter_leaves() {
    let policy = |failure_mode| {
        let settings = Settings {
            failure_mode,
            ..settings()
        };
        let rendered = render(&world(&good()), &settings, &Drains::default());
        let file: Value =
            serde_json::from_str(&rendered.extensions.values().next().unwrap().content).unwrap();
        let config = &file["resources"][0]["typed_config"]["config"];
        let plugin: Value = serde_json::from_str(config["configuration"]["value"].as_str().unwrap()).unwrap();
        (config["failure_policy"].clone(), plugin["failureMode"].clone())
    };
    assert_eq!(
        policy(FailureMode::Closed),
        (json!("FAIL_RELOAD"), json!("Closed"))
    );
    assert_eq!(policy(FailureMode::Open), (json!("FAIL_OPEN"), json!("Open")));
}

#[test]
fn every_field_of_a_rule_is_among_the_edits() {
    let mut full = good();
    for (pointer, value) in EDITS
        .iter()
        .filter(|(pointer, _)| pointer.matches('/').count() == 4)
    {
        Manifests::set(&mut full.routes, pointer, value());
    }
    let edited: Vec<_> = EDITS.iter().map(|(pointer, _)| *pointer).collect();
    let rule = &full.objects().routes[0].object.spec.rules[0];
    for field in serde_json::to_value(rule).unwrap().as_object().unwrap().keys() {
        assert!(
            edited
                .iter()
                .any(|pointer| pointer.contains(&format!("/rules/0/{field}"))),
            "{field}"
        );
    }
}

#[test]
fn equal_input_gives_equal_bytes_in_any_order() {
    let mut manifests = good();
    manifests.routes.extend([route("b", "/b"), route("a", "/a")]);
    let before = rendered(&manifests);
    for list in [
        &mut manifests.routes,
        &mut manifests.services,
        &mut manifests.endpoint_slices,
    ] {
        list.reverse();
    }
    manifests.endpoint_slices[0]["endpoints"]
        .as_array_mut()
        .unwrap()
        .reverse();
    assert_eq!(rendered(&manifests), before);
}

/// The good fixture, whose tokens are verified by these keys.
fn verifying(jwks: &str) -> Manifests {
    let mut manifests = good();
    let jwt = json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "issuer"}}});
    Manifests::set(&mut manifests.routes, "/spec/rules/0/security", jwt);
    manifests.secrets.push(json!({
        "metadata": {"name": "issuer", "namespace": "shop"},
        "stringData": {"jwks": jwks},
    }));
    manifests
}

#[test]
fn new_keys_for_tokens_touch_one_file() {
    let before = rendered(&verifying(r#"{"keys": []}"#));
    let after = rendered(&verifying(
        r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#,
    ));
    let changed: Vec<_> = after
        .files()
        .zip(before.files())
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0)
        .collect();
    assert_eq!(changed, ["jwt/shop.edge.json"]);
}

#[test]
fn a_route_asks_for_a_token_in_all_its_forms_and_no_other_route_does() {
    let mut manifests = verifying(r#"{"keys": []}"#);
    let timeouts = json!({"handshake": "5s"});
    Manifests::set(&mut manifests.routes, "/spec/rules/0/timeouts", timeouts);
    manifests.routes.push(route("open", "/open"));
    let asks: Vec<_> = routes(&rendered(&manifests))
        .iter()
        .map(|route| {
            let path = route["match"]["path_separated_prefix"]
                .as_str()
                .unwrap()
                .to_owned();
            (path, route.get("typed_per_filter_config").is_some())
        })
        .collect();
    assert_eq!(asks.len(), 4, "{asks:?}");
    assert!(
        asks.iter().all(|(path, asks)| *asks == (path == "/ws")),
        "{asks:?}"
    );
}

#[test]
fn an_endpoint_that_comes_or_goes_touches_one_file() {
    let before = rendered(&good());
    let mut fewer = good();
    fewer.endpoint_slices[0]["endpoints"]
        .as_array_mut()
        .unwrap()
        .pop();
    let after = rendered(&fewer);
    let changed: Vec<_> = after
        .files()
        .zip(before.files())
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0)
        .collect();
    assert_eq!(changed, [CLUSTERS]);
}

#[test]
fn a_pod_that_leaves_is_not_among_the_endpoints() {
    let mut manifests = good();
    manifests.endpoint_slices[0]["endpoints"][1]["conditions"] = json!({"terminating": true});
    let world = world(&manifests);
    let mut drains = Drains::default();
    drains.observe(&world, 1);
    let content = render(&world, &settings(), &drains).clusters.content;
    assert!(
        content.contains("10.0.1.1") && !content.contains("10.0.1.2"),
        "{content}"
    );
}

#[test]
fn rules_with_one_backend_and_one_policy_share_a_cluster() {
    let mut manifests = good();
    let outlier = json!({"outlierDetection": {"consecutiveHandshakeFailures": 3}});
    for (name, resilience, limits) in [
        ("a", outlier.clone(), json!({})),
        ("b", outlier, json!({})),
        // The filter counts sessions.
        ("c", json!({}), json!({"maxConnectionsPerProxy": 5})),
    ] {
        let mut one = route(name, &format!("/{name}"));
        one["spec"]["rules"][0]["resilience"] = resilience;
        one["spec"]["rules"][0]["limits"] = limits;
        manifests.routes.push(one);
    }
    let rendered = rendered(&manifests);
    let file: Value = serde_json::from_str(&rendered.clusters.content).unwrap();
    // The channel, the plain one, and the one of a and b.
    let clusters = file["resources"].as_array().unwrap();
    assert_eq!(clusters.len(), 3);
    for cluster in clusters {
        for thresholds in cluster["circuit_breakers"]["thresholds"].as_array().unwrap() {
            assert_eq!(
                (&thresholds["max_connections"], &thresholds["max_requests"]),
                (&json!(u32::MAX), &json!(u32::MAX))
            );
        }
    }
    let cluster = |path: &str| {
        let routes = routes(&rendered);
        let route = routes
            .iter()
            .find(|route| route["match"]["path_separated_prefix"] == path)
            .unwrap();
        route["route"]["cluster"].clone()
    };
    assert_eq!(cluster("/a"), cluster("/b"));
    assert_ne!(cluster("/a"), cluster("/ws"));
    assert_eq!(cluster("/c"), cluster("/ws"));
}

#[test]
fn the_first_look_up_of_several_backends_lands_on_the_heaviest_that_exists() {
    let mut manifests = good();
    let backends = json!([
        {"name": "gone", "port": 8080, "weight": 100},
        {"name": "other", "port": 8080, "weight": 10},
        {"name": "chat", "port": 8080, "weight": 20},
    ]);
    Manifests::set(&mut manifests.routes, "/spec/rules/0/backendRefs", backends);
    let routes = routes(&rendered(&manifests));
    let gone = json!([{"name": "x-clew-backend", "string_match": {"exact": "shop/gone:8080"}}]);
    assert_eq!(routes[0]["match"]["headers"], gone);
    assert_eq!(routes[0]["direct_response"]["status"], 500);
    let last = routes.last().unwrap();
    assert_eq!(last["match"].get("headers"), None);
    assert_eq!(last["route"]["cluster"], "shop/chat:8080");
    let names: std::collections::BTreeSet<_> = routes
        .iter()
        .map(|route| route["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn the_timeout_of_handshakes_is_not_one_of_plain_http() {
    let mut manifests = good();
    Manifests::set(
        &mut manifests.routes,
        "/spec/rules/0/timeouts",
        json!({"handshake": "5s", "idle": "1h", "maxConnectionDuration": "24h"}),
    );
    let routes = routes(&rendered(&manifests));
    let upgrade = json!([{"name": "upgrade", "string_match": {"exact": "websocket", "ignore_case": true}}]);
    assert_eq!(routes[0]["match"]["headers"], upgrade);
    assert_eq!(routes[0]["route"]["timeout"], "5s");
    // The filter's: Envoy would hold a session to what was written when it began.
    assert_eq!(routes[0]["route"].get("idle_timeout"), None);
    assert_eq!(routes[0]["route"].get("max_stream_duration"), None);
    assert_eq!(routes[1]["match"].get("headers"), None);
    assert_eq!(routes[1]["route"]["timeout"], "0s");
    assert_eq!(routes.len(), 2);
}

#[test]
fn durations_are_written_as_protobuf_reads_them() {
    assert_eq!(
        [0, 1, 1500, 10_000].map(super::seconds),
        ["0s", "0.001s", "1.500s", "10s"]
    );
}

/// Ten thousand routes, each with a Service of its own; nothing grows faster than they do.
#[test]
fn ten_thousand_routes() {
    let mut manifests = good();
    for n in 0..10_000 {
        let name = format!("chat-{n}");
        let mut one = route(&name, &format!("/chat/{n}"));
        one["spec"]["rules"][0]["backendRefs"][0]["name"] = json!(name);
        manifests.routes.push(one);
        manifests.services.push(service(&name));
        manifests.endpoint_slices.push(endpoint_slice(&name, n));
    }
    let rendered = rendered(&manifests);
    assert_eq!(routes(&rendered).len(), 2 * 10_001);
    let clusters: Value = serde_json::from_str(&rendered.clusters.content).unwrap();
    assert_eq!(
        clusters["resources"].as_array().unwrap().len(),
        10_002,
        "the channel's among them"
    );
}
