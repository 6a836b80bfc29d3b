//! What `explain` says of requests to somebody's own HTTPRoute.

use clew_filter_core::placement::Seed;
use clew_filter_core::token::Ring;
use serde_json::json;

use super::{good, http_route, policy, target, typed};
use crate::explain::{Explanation, Request, Secrets, explain};
use crate::fixture::endpoint_slice;
use crate::objects::Objects;
use crate::render::rules::Drains;
use crate::validate::{Target, validate};

/// HTTPRoute `chat` with rules for `/ws`, `/ws/admin`, posts to `/ws/up` and all else.
fn objects(class: &str, sections: &[&str]) -> Objects {
    let rule = |name: &str, path: &str| {
        json!({
            "name": name, "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "backendRefs": [{"name": "chat", "port": 80}],
        })
    };
    let mut objects = good(class);
    objects.http_routes = vec![http_route(
        "chat",
        json!({
            "parentRefs": [{"name": "edge"}], "hostnames": ["shop.example.com"],
            "rules": [
                rule("rooms", "/ws"), rule("admin", "/ws/admin"), rule("pages", "/"),
                {
                    "name": "post", "backendRefs": [{"name": "chat", "port": 80}],
                    "matches": [{"path": {"type": "PathPrefix", "value": "/ws/up"}, "method": "POST"}],
                },
            ],
        }),
    )];
    let mut policies = Vec::new();
    for (section, day) in sections.iter().zip(1..) {
        let mut one = policy(section, day, json!([target("chat", Some(section))]));
        let spec = &mut std::sync::Arc::make_mut(&mut one.object).spec;
        spec.policy.session_key = serde_json::from_value(
            json!({"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]}),
        )
        .unwrap();
        policies.push(one);
    }
    objects.policies = policies;
    let mut slice = endpoint_slice("chat", 1);
    slice["ports"] = json!([{"port": 80}]);
    objects.endpoint_slices = vec![typed(slice)];
    objects
}

fn ask(objects: &Objects, target: &str, host: &str) -> Explanation {
    let world = validate(objects, Target::Every).world;
    let request = Request {
        target: target.to_owned(),
        headers: vec![("host".to_owned(), host.as_bytes().to_vec())],
        peer: "127.0.0.1:5000".parse().unwrap(),
        listener: None,
    };
    let secrets = Secrets {
        seed: Seed::new([7; 16]),
        ring: Ring::new(&[]),
    };
    explain(&world, &Drains::default(), &request, &secrets, 1)
}

#[test]
fn a_policy_s_rule_is_named_with_key_and_pod_and_its_neighbours_are_not_ours() {
    for class in ["eg", "istio"] {
        let objects = objects(class, &["rooms", "pages"]);
        let rooms = ask(&objects, "/ws?room=7", "shop.example.com");
        assert_eq!(rooms.rule.as_deref(), Some("shop/rooms/chat.rooms"), "{rooms:?}");
        assert_eq!(rooms.key.unwrap().source, "QueryParam room");
        assert_eq!(rooms.backend.unwrap().service, "shop/chat:80");
        let pages = ask(&objects, "/?room=7", "shop.example.com");
        assert_eq!(pages.rule.as_deref(), Some("shop/pages/chat.pages"));
        let admin = ask(&objects, "/ws/admin?room=7", "shop.example.com");
        assert_eq!(admin.rule, None);
        assert!(
            admin.why.contains("HTTPRoute shop/chat takes it")
                && admin.why.contains("no WebSocketPolicy is for"),
            "{admin:?}"
        );
        let up = ask(&objects, "/ws/up?room=7", "shop.example.com");
        assert_eq!(
            up.rule.as_deref(),
            Some("shop/rooms/chat.rooms"),
            "no handshake is a POST"
        );
        let elsewhere = ask(&objects, "/ws?room=7", "other.example.com");
        assert!(elsewhere.why.contains("404"), "{elsewhere:?}");
    }
}
