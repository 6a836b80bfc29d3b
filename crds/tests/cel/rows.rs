//! Every CEL rule of the schemas, with a spec that it lets pass and one that it refuses. The end-to-end tests hold the API server to the same table.

use serde_json::{Value, json};

/// A rule, and two specs.
pub(crate) struct Row {
    /// Where the rule stands in the schema.
    pub(crate) at: &'static str,
    pub(crate) message: &'static str,
    pub(crate) accepted: Value,
    pub(crate) refused: Value,
    /// Where its failure is reported.
    pub(crate) reported: &'static str,
}

/// A spec with these fields in place of a good one's.
fn spec(fields: Value) -> Value {
    let mut spec = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "chat", "port": 8080}]}]});
    merge(&mut spec, fields);
    spec
}

/// A spec whose only rule has these fields in place of a good one's.
fn rule(fields: Value) -> Value {
    let mut spec = spec(json!({}));
    merge(&mut spec["rules"][0], fields);
    spec
}

fn merge(object: &mut Value, fields: Value) {
    let (Value::Object(object), Value::Object(fields)) = (object, fields) else {
        panic!("two objects")
    };
    object.extend(fields);
}

fn source(source: Value) -> Value {
    rule(json!({"sessionKey": {"sources": [source]}}))
}

/// The rows of a duration that must be longer than zero, given how a spec with it looks.
fn longer_than_zero(at: &'static str, reported: &'static str, with: impl Fn(&str) -> Value) -> Row {
    Row {
        at,
        message: "must be longer than 0s",
        accepted: with("1ms"),
        refused: with("0h0m"),
        reported,
    }
}

/// The row of a union's member: set with its type, and set with another one beside that one's own.
fn source_member(name: &'static str, r#type: &'static str, value: Value) -> Row {
    let (other_name, other) = if name == "cookie" {
        ("header", "Header")
    } else {
        ("cookie", "Cookie")
    };
    Row {
        at: "spec.rules[].sessionKey.sources[]",
        message: leak(format!("must be set when type is {type}, and only then")),
        accepted: source(json!({"type": r#type, name: value})),
        refused: source(json!({"type": other, other_name: {"name": "a"}, name: value})),
        reported: leak(format!("spec.rules[0].sessionKey.sources[0].{name}")),
    }
}

fn leak(text: String) -> &'static str {
    text.leak()
}

/// Those of WebSocketPolicy: its own, and what a rule of a WebSocketRoute has beside its matches and backends.
pub(crate) fn policy_rows() -> Vec<Row> {
    let target = |fields: Value| {
        let mut target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"});
        merge(&mut target, fields);
        target
    };
    let targets = |targets: &[Value]| json!({"targetRefs": targets});
    let own = [
        Row {
            at: "spec.targetRefs",
            message: "must not name the same HTTPRoute and rule twice",
            accepted: targets(&[target(json!({})), target(json!({"sectionName": "rooms"}))]),
            refused: targets(&[target(json!({})), target(json!({}))]),
            reported: "spec.targetRefs",
        },
        Row {
            at: "spec.targetRefs[]",
            message: "must be gateway.networking.k8s.io",
            accepted: targets(&[target(json!({}))]),
            refused: targets(&[target(json!({"group": "networking.istio.io"}))]),
            reported: "spec.targetRefs[0].group",
        },
        Row {
            at: "spec.targetRefs[]",
            message: "must be HTTPRoute",
            accepted: targets(&[target(json!({}))]),
            refused: targets(&[target(json!({"kind": "Gateway"}))]),
            reported: "spec.targetRefs[0].kind",
        },
    ];
    let of_rules = rows().into_iter().filter(|row| {
        let below = row.at.strip_prefix("spec.rules[]");
        below.is_some_and(|below| !below.starts_with(".matches") && !below.starts_with(".backendRefs"))
    });
    let on_a_target = |spec: &Value| {
        let mut policy = targets(&[target(json!({}))]);
        merge(&mut policy, spec["rules"][0].clone());
        policy.as_object_mut().expect("an object").remove("backendRefs");
        policy
    };
    let of_policy = of_rules.map(|row| Row {
        at: leak(row.at.replacen("spec.rules[]", "spec", 1)),
        message: row.message,
        accepted: on_a_target(&row.accepted),
        refused: on_a_target(&row.refused),
        reported: leak(row.reported.replacen("spec.rules[0]", "spec", 1)),
    });
    own.into_iter().chain(of_policy).collect()
}

/// All of WebSocketRoute.
pub(crate) fn rows() -> Vec<Row> {
    let named = |names: [&str; 2]| {
        let rule = |name: &str| json!({"name": name, "backendRefs": [{"name": "chat", "port": 8080}]});
        spec(json!({"rules": [rule(names[0]), rule(names[1])]}))
    };
    let path =
        |r#type: &str, value: &str| rule(json!({"matches": [{"path": {"type": r#type, "value": value}}]}));
    let permanent = json!({"type": "Cookie", "cookie": {"name": "s", "lifetimeType": "Permanent"}});
    let drain = |field: &str, value: Value| rule(json!({"drain": {field: value}}));
    let jwt = json!({"sources": [{"type": "JWTClaim", "jwtClaim": {"name": "sub"}}]});
    let cookie_key = json!({"sources": [{"type": "Cookie", "cookie": {"name": "sid"}}]});
    let two_cookies = |persistence: &str| {
        rule(json!({
            "sessionKey": {
                "sources": [{"type": "Cookie", "cookie": {"name": "sid"}}],
                "onMissing": "Generate",
                "generate": {"cookieName": "key"},
            },
            "sessionPersistence": {"type": "Cookie", "cookie": {"name": persistence}},
        }))
    };
    vec![
        Row {
            at: "spec.parentRefs",
            message: "must not name the same parent, section and port twice",
            accepted: spec(json!({"parentRefs": [
                {"name": "edge"}, {"name": "edge", "namespace": "infra"}, {"name": "edge", "sectionName": "https"},
                {"name": "edge", "port": 8443}, {"group": "", "kind": "Service", "name": "edge"},
            ]})),
            refused: spec(json!({"parentRefs": [
                {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443},
                {"name": "edge", "namespace": "infra", "sectionName": "https", "port": 443},
            ]})),
            reported: "spec.parentRefs",
        },
        Row {
            at: "spec.parentRefs[]",
            message: "an Istio Gateway has no sections: use port",
            accepted: spec(
                json!({"parentRefs": [{"group": "networking.istio.io", "name": "edge", "port": 443}]}),
            ),
            refused: spec(
                json!({"parentRefs": [{"group": "networking.istio.io", "name": "edge", "sectionName": "https"}]}),
            ),
            reported: "spec.parentRefs[0].sectionName",
        },
        Row {
            at: "spec.rules",
            message: "every rule needs a name when there are several",
            accepted: named(["a", "b"]),
            refused: spec(json!({"rules": [
                {"name": "a", "backendRefs": [{"name": "chat", "port": 8080}]},
                {"backendRefs": [{"name": "chat", "port": 8080}]},
            ]})),
            reported: "spec.rules",
        },
        Row {
            at: "spec.rules",
            message: "must not have two rules of the same name",
            accepted: named(["a", "b"]),
            refused: named(["a", "a"]),
            reported: "spec.rules",
        },
        Row {
            at: "spec.rules[]",
            message: "Reject needs sessionPersistence: other sessions are not bound to a pod",
            accepted: rule(json!({
                "onBackendGone": "Reject",
                "sessionPersistence": {"type": "Header", "header": {"name": "x-session"}},
            })),
            refused: rule(json!({"onBackendGone": "Reject"})),
            reported: "spec.rules[0].onBackendGone",
        },
        Row {
            at: "spec.rules[]",
            message: "needs a sessionKey to count by",
            accepted: rule(json!({"limits": {"maxConnectionsPerKeyPerProxy": 5}, "sessionKey": cookie_key})),
            refused: rule(json!({"limits": {"maxConnectionsPerKeyPerProxy": 5}})),
            reported: "spec.rules[0].limits.maxConnectionsPerKeyPerProxy",
        },
        Row {
            at: "spec.rules[]",
            message: "needs a sessionKey source of type JWTClaim, whose token it watches",
            accepted: rule(json!({"security": {"closeAtTokenExpiry": true}, "sessionKey": jwt})),
            refused: rule(json!({"security": {"closeAtTokenExpiry": true}, "sessionKey": cookie_key})),
            reported: "spec.rules[0].security.closeAtTokenExpiry",
        },
        Row {
            at: "spec.rules[]",
            message: "must differ from sessionKey.generate.cookieName: one cookie cannot carry both",
            accepted: two_cookies("session"),
            refused: two_cookies("key"),
            reported: "spec.rules[0].sessionPersistence.cookie.name",
        },
        Row {
            at: "spec.rules[].backendRefs",
            message: "at least one backend needs a weight above 0",
            accepted: rule(json!({"backendRefs": [
                {"name": "a", "port": 1, "weight": 0}, {"name": "b", "port": 1, "weight": 1},
            ]})),
            refused: rule(json!({"backendRefs": [
                {"name": "a", "port": 1, "weight": 0}, {"name": "b", "port": 1, "weight": 0},
            ]})),
            reported: "spec.rules[0].backendRefs",
        },
        Row {
            at: "spec.rules[].backendRefs[]",
            message: "is required for a Service",
            accepted: rule(
                json!({"backendRefs": [{"group": "example.com", "kind": "Pool", "name": "chat"}]}),
            ),
            refused: rule(json!({"backendRefs": [{"name": "chat"}]})),
            reported: "spec.rules[0].backendRefs[0].port",
        },
        Row {
            at: "spec.rules[].matches[].path",
            message: "must start with '/'",
            accepted: path("RegularExpression", "(/v[0-9])?/ws"),
            refused: path("Exact", "ws"),
            reported: "spec.rules[0].matches[0].path.value",
        },
        Row {
            at: "spec.rules[].matches[].path",
            message: "must be a path as proxies normalise it, without query: no '//', '/./', '/../', '%2f', '?' or '#'",
            accepted: path("PathPrefix", "/a.b/..c/%20"),
            refused: path("PathPrefix", "/ws/.."),
            reported: "spec.rules[0].matches[0].path.value",
        },
        Row {
            at: "spec.rules[].sessionKey",
            message: "is required when onMissing is Generate",
            accepted: rule(json!({"sessionKey": {
                "sources": [{"type": "Cookie", "cookie": {"name": "sid"}}],
                "onMissing": "Generate",
                "generate": {"cookieName": "key"},
            }})),
            refused: rule(json!({"sessionKey": {
                "sources": [{"type": "Cookie", "cookie": {"name": "sid"}}],
                "onMissing": "Generate",
            }})),
            reported: "spec.rules[0].sessionKey.generate",
        },
        source_member("cookie", "Cookie", json!({"name": "sid"})),
        source_member("header", "Header", json!({"name": "x-room"})),
        source_member("queryParam", "QueryParam", json!({"name": "room"})),
        source_member("pathSegment", "PathSegment", json!({"index": 1})),
        source_member("jwtClaim", "JWTClaim", json!({"name": "sub"})),
        source_member("subprotocol", "Subprotocol", json!({"prefix": "room."})),
        source_member("sourceIP", "SourceIP", json!({})),
        Row {
            at: "spec.rules[].sessionPersistence",
            message: "must be set when type is Cookie, and only then",
            accepted: rule(json!({"sessionPersistence": {"type": "Cookie", "cookie": {"name": "s"}}})),
            refused: rule(json!({"sessionPersistence": {"type": "Cookie"}})),
            reported: "spec.rules[0].sessionPersistence.cookie",
        },
        Row {
            at: "spec.rules[].sessionPersistence",
            message: "must be set when type is Header, and only then",
            accepted: rule(json!({"sessionPersistence": {"type": "Header", "header": {"name": "x-s"}}})),
            refused: rule(json!({"sessionPersistence": {"type": "Header"}})),
            reported: "spec.rules[0].sessionPersistence.header",
        },
        Row {
            at: "spec.rules[].sessionPersistence",
            message: "is required for a Permanent cookie",
            accepted: {
                let mut persistence = permanent.clone();
                merge(&mut persistence, json!({"absoluteTimeout": "12h"}));
                rule(json!({"sessionPersistence": persistence}))
            },
            refused: rule(json!({"sessionPersistence": permanent})),
            reported: "spec.rules[0].sessionPersistence.absoluteTimeout",
        },
        Row {
            at: "spec.rules[].loadBalancer",
            message: "needs type ConsistentHash: the other types have no popular keys",
            accepted: rule(json!({"loadBalancer": {"boundedLoad": {"percent": 125}}})),
            refused: rule(json!({"loadBalancer": {"type": "Random", "boundedLoad": {"percent": 125}}})),
            reported: "spec.rules[0].loadBalancer.boundedLoad",
        },
        Row {
            at: "spec.rules[].security.origin.allowed",
            message: "'*' allows every Origin and stands alone",
            accepted: rule(json!({"security": {"origin": {"allowed": ["*"]}}})),
            refused: rule(json!({"security": {"origin": {"allowed": ["https://example.com", "*"]}}})),
            reported: "spec.rules[0].security.origin.allowed",
        },
        Row {
            at: "spec.rules[].drain.closeCode",
            message: "must be 1000, 1001, 1012, 1013 or 3000-4999",
            accepted: drain("closeCode", json!(3000)),
            refused: drain("closeCode", json!(1002)),
            reported: "spec.rules[0].drain.closeCode",
        },
        Row {
            at: "spec.rules[].drain.closeReason",
            message: "must be at most 123 bytes of UTF-8",
            accepted: drain("closeReason", json!("é".repeat(61))),
            refused: drain("closeReason", json!("é".repeat(62))),
            reported: "spec.rules[0].drain.closeReason",
        },
        Row {
            at: "spec.rules[].resilience.fault",
            message: "must have abort, delay or both",
            accepted: rule(json!({"resilience": {"fault": {"abort": {"percent": 10, "status": 503}}}})),
            refused: rule(json!({"resilience": {"fault": {}}})),
            reported: "spec.rules[0].resilience.fault",
        },
        longer_than_zero("spec.rules[].drain.timeout", "spec.rules[0].drain.timeout", |d| {
            drain("timeout", json!(d))
        }),
        longer_than_zero(
            "spec.rules[].sessionPersistence.absoluteTimeout",
            "spec.rules[0].sessionPersistence.absoluteTimeout",
            |d| {
                rule(
                    json!({"sessionPersistence": {"type": "Cookie", "cookie": {"name": "s"}, "absoluteTimeout": d}}),
                )
            },
        ),
        longer_than_zero(
            "spec.rules[].limits.messageRate.interval",
            "spec.rules[0].limits.messageRate.interval",
            |d| rule(json!({"limits": {"messageRate": {"messages": 1, "interval": d}}})),
        ),
        longer_than_zero(
            "spec.rules[].limits.handshakeRatePerProxy.interval",
            "spec.rules[0].limits.handshakeRatePerProxy.interval",
            |d| rule(json!({"limits": {"handshakeRatePerProxy": {"requests": 1, "interval": d}}})),
        ),
        longer_than_zero(
            "spec.rules[].resilience.outlierDetection.ejectionTime",
            "spec.rules[0].resilience.outlierDetection.ejectionTime",
            |d| rule(json!({"resilience": {"outlierDetection": {"ejectionTime": d}}})),
        ),
        longer_than_zero(
            "spec.rules[].resilience.fault.delay.duration",
            "spec.rules[0].resilience.fault.delay.duration",
            |d| rule(json!({"resilience": {"fault": {"delay": {"percent": 1, "duration": d}}}})),
        ),
    ]
}
