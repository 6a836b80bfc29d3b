use std::fmt::Write;

use serde_json::json;

use super::structural::Shape;
use super::*;

fn good() -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "shop", "labels": {"app": "chat"}},
        "spec": {
            "parentRefs": [{"name": "edge", "namespace": "infra", "sectionName": "https"}],
            "hostnames": ["chat.example.com", "*.chat.example.com"],
            "rules": [{
                "name": "rooms",
                "matches": [{
                    "path": {"value": "/ws"},
                    "headers": [{"name": "x-tenant", "value": "acme"}],
                    "queryParams": [{"name": "v", "value": "2"}],
                    "subprotocols": ["graphql-transport-ws"],
                }],
                "backendRefs": [
                    {"name": "chat", "port": 8080, "weight": 90},
                    {"name": "chat-canary", "port": 8080, "weight": 10},
                ],
                "sessionKey": {"sources": [{"type": "Cookie", "cookie": {"name": "sid"}}]},
                "limits": {"maxMessageSize": "1Mi", "messageRate": {"messages": 50, "interval": "1s"}},
                "security": {"origin": {"allowed": ["https://app.example.com", "https://*.example.com:8443"]}},
                "drain": {"timeout": "2m"},
            }],
        },
    })
}

/// The violations of a good object in which the value at this pointer is another one.
fn with(pointer: &str, value: Value) -> Vec<(ViolationKind, String, String)> {
    let mut object = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no fields"),
    }
    check::<WebSocketRoute>(&mut object)
        .into_iter()
        .map(|found| (found.kind, found.path, found.message))
        .collect()
}

#[track_caller]
fn refuses(pointer: &str, value: Value, kind: ViolationKind, path: &str, message: &str) {
    assert_eq!(
        with(pointer, value),
        [(kind, path.to_owned(), message.to_owned())]
    );
}

#[test]
fn a_good_object_comes_back_typed_and_with_its_defaults() {
    let route: WebSocketRoute = admit(good()).unwrap();
    let rule = &route.spec.rules[0];
    assert_eq!(route.metadata.namespace.as_deref(), Some("shop"));
    assert_eq!(rule.policy.limits.max_message_size.unwrap().as_bytes(), 1 << 20);
    assert_eq!(rule.policy.drain.timeout.as_millis(), 120_000);
    assert_eq!(rule.policy.drain.close_code, 1012);
    assert_eq!(rule.policy.timeouts.handshake.as_millis(), 10_000);
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_types() {
    let mut admitted = good();
    assert_eq!(check::<WebSocketRoute>(&mut admitted), []);
    let typed: WebSocketRoute = serde_json::from_value(good()).unwrap();
    assert_eq!(serde_json::to_value(typed).unwrap(), admitted);
}

/// Which is why the walk does not look into what it fills in.
#[test]
fn every_default_is_whole_and_satisfies_its_own_schema() {
    fn descend(node: &Node) {
        if let Some(default) = &node.default {
            let mut walk = Walk::default();
            let mut filled = default.clone();
            walk.value(node, &mut filled);
            assert_eq!((walk.into_violations(), &filled), (vec![], default));
        }
        match &node.shape {
            Shape::Object(object) => object.fields.values().for_each(descend),
            Shape::Array(array) => descend(&array.items),
            _ => {}
        }
    }
    descend(&ROUTE);
}

#[test]
fn unknown_fields_are_named_with_what_was_meant() {
    use ViolationKind::UnknownField;
    let rule = "/spec/rules/0";
    refuses(
        &format!("{rule}/sesionKey"),
        json!({}),
        UnknownField,
        "spec.rules[0].sesionKey",
        "is not a field; did you mean sessionKey?",
    );
    refuses(
        &format!("{rule}/backendRefs/1/wieght"),
        json!(1),
        UnknownField,
        "spec.rules[0].backendRefs[1].wieght",
        "is not a field; did you mean weight?",
    );
    refuses(
        &format!("{rule}/zzz"),
        json!(1),
        UnknownField,
        "spec.rules[0].zzz",
        "is not a field",
    );
    refuses(
        "/metadata/lables",
        json!({}),
        UnknownField,
        "metadata.lables",
        "is not a field; did you mean labels?",
    );
    refuses(
        "/specs",
        json!({}),
        UnknownField,
        "specs",
        "is not a field; did you mean spec?",
    );
}

#[test]
fn types_bounds_enums_and_patterns_are_checked_in_place() {
    use ViolationKind::{Duplicate, OutOfBounds, Pattern, Required, UnsupportedValue, WrongType};
    let port = "/spec/rules/0/backendRefs/1/port";
    let port_path = "spec.rules[0].backendRefs[1].port";
    refuses(
        port,
        json!("8080"),
        WrongType,
        port_path,
        "must be a whole number, not a string",
    );
    refuses(
        port,
        json!(80.5),
        WrongType,
        port_path,
        "must be a whole number, not 80.5",
    );
    refuses(
        port,
        json!(0),
        OutOfBounds,
        port_path,
        "must be at least 1, not 0",
    );
    refuses(
        port,
        json!(65_536),
        OutOfBounds,
        port_path,
        "must be at most 65535, not 65536",
    );
    refuses(
        "/spec/rules/0/backendRefs",
        json!({}),
        WrongType,
        "spec.rules[0].backendRefs",
        "must be a list, not an object",
    );
    refuses(
        "/spec/rules",
        json!([]),
        OutOfBounds,
        "spec.rules",
        "must be at least 1 entries, not 0",
    );
    refuses(
        "/spec/rules/0/drain/closeReason",
        json!("é".repeat(124)),
        OutOfBounds,
        "spec.rules[0].drain.closeReason",
        "must be at most 123 characters, not 124",
    );
    refuses(
        "/spec/rules/0/onBackendGone",
        json!("reassign"),
        UnsupportedValue,
        "spec.rules[0].onBackendGone",
        "must be one of Reassign, Reject, not \"reassign\"; did you mean Reassign?",
    );
    refuses(
        "/spec/rules/0/drain/timeout",
        json!("2 minutes"),
        Pattern,
        "spec.rules[0].drain.timeout",
        r#""2 minutes" must match ^([0-9]{1,5}(h|m|s|ms)){1,4}$"#,
    );
    refuses(
        "/spec/hostnames/1",
        json!("chat.example.com"),
        Duplicate,
        "spec.hostnames[1]",
        "\"chat.example.com\" is there twice",
    );
    refuses(
        "/spec/rules/0/matches/0/headers",
        json!([{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]),
        Duplicate,
        "spec.rules[0].matches[0].headers[1]",
        "\"a\" is there twice",
    );
    refuses(
        "/spec/rules/0/backendRefs/0",
        json!({"port": 1}),
        Required,
        "spec.rules[0].backendRefs[0].name",
        "is required",
    );
    refuses(
        "/metadata/name",
        json!("Chat"),
        Pattern,
        "metadata.name",
        "\"Chat\" must be lower-case letters, digits and '-', beginning and ending with a letter or digit",
    );
    refuses(
        "/kind",
        json!("HTTPRoute"),
        UnsupportedValue,
        "kind",
        "must be WebSocketRoute, not \"HTTPRoute\"",
    );
}

#[test]
fn what_is_far_too_much_is_one_short_finding() {
    let many = vec![json!({"nonsense": 1}); 100_000];
    refuses(
        "/spec/rules",
        json!(many),
        ViolationKind::OutOfBounds,
        "spec.rules",
        "must be at most 16 entries, not 100000",
    );
    for pointer in [
        "/spec/rules/0/onBackendGone",
        "/spec/rules/0/drain/timeout",
        "/metadata/namespace",
    ] {
        let found = with(pointer, json!("x".repeat(100_000)));
        assert!(
            matches!(&*found, [(_, _, message)] if message.len() < 200),
            "{found:?}"
        );
    }
}

#[test]
fn a_quantity_is_a_string_or_a_whole_number() {
    let size = "/spec/rules/0/limits/maxMessageSize";
    assert_eq!(with(size, json!(65_536)), []);
    refuses(
        size,
        json!(0),
        ViolationKind::OutOfBounds,
        "spec.rules[0].limits.maxMessageSize",
        "must be at least 1, not 0",
    );
    refuses(
        size,
        json!(true),
        ViolationKind::WrongType,
        "spec.rules[0].limits.maxMessageSize",
        "must be a whole number or a string, not true or false",
    );
}

#[test]
fn origins_are_scheme_host_and_port() {
    let allowed = "/spec/rules/0/security/origin/allowed/0";
    for good in [
        "http://localhost:3000",
        "https://a-b.example.com",
        "https://[2001:db8::1]:443",
        "chrome-extension://abcdef",
    ] {
        assert_eq!(with(allowed, json!(good)), [], "{good}");
    }
    for bad in [
        "app.example.com",
        "https://app.example.com/",
        "https://u@app.example.com",
        "https://a..b",
        "https://*",
        "//a",
        "null",
    ] {
        assert!(
            matches!(&*with(allowed, json!(bad)), [(ViolationKind::Pattern, ..)]),
            "{bad}"
        );
    }
}

#[test]
fn a_null_is_an_absent_field() {
    assert_eq!(with("/spec/rules/0/drain", Value::Null), []);
    refuses(
        "/spec/parentRefs",
        Value::Null,
        ViolationKind::Required,
        "spec.parentRefs",
        "is required",
    );
}

#[test]
fn what_is_no_route_at_all_is_said_so() {
    for (object, path) in [
        (json!([]), ""),
        (
            json!({"apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute", "metadata": {"name": "a"}}),
            "spec",
        ),
    ] {
        let violations = admit::<WebSocketRoute>(object).unwrap_err();
        assert_eq!(
            violations
                .iter()
                .map(|found| found.path.as_str())
                .collect::<Vec<_>>(),
            [path]
        );
    }
}

#[test]
fn violations_read_as_sentences() {
    let violations = admit::<WebSocketRoute>(json!({"kind": "WebSocketRoute"})).unwrap_err();
    let text = violations.iter().fold(String::new(), |mut text, found| {
        writeln!(text, "{found}").unwrap();
        text
    });
    assert_eq!(
        text,
        "apiVersion: is required: clew.dev/v1alpha1\nmetadata: is required, with a name\nspec: is required\n"
    );
}
