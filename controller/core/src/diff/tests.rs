use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use clew_filter_config::plugin::FailureMode;
use clew_filter_core::placement::Seed;
use serde_json::{Value, json};

use super::{Action, Diff, State, diff};
use crate::fixture::{Manifests, good, on_gateway_api, on_istio};
use crate::render::envoy::Settings;
use crate::render::rules::Drains;
use crate::validate::{Target, validate};

const KEYS: u32 = 4_000;

fn settings() -> Settings {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        folder: String::new(),
        module: String::new(),
        module_sha256: String::new(),
        channel: anywhere,
        token: String::new(),
        admin: anywhere,
        node: String::new(),
        failure_mode: FailureMode::Closed,
        access_log: None,
    }
}

fn between(before: &Manifests, after: &Manifests) -> Diff {
    let world = |manifests: &Manifests| validate(&manifests.objects(), Target::Every).world;
    let (old, new) = (world(before), world(after));
    let drains = Drains::default();
    let state = |world| State {
        world,
        drains: &drains,
    };
    diff(state(&old), state(&new), &Seed::new([7; 16]), &settings(), KEYS)
}

fn edited(manifests: &Manifests, pointer: &str, value: Value) -> Diff {
    let mut after = manifests.clone();
    let route = &mut after.routes[0];
    match route.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            route.pointer_mut(parent).unwrap()[field] = value;
        }
    }
    between(manifests, &after)
}

#[test]
fn nothing_changes_where_nothing_is_edited() {
    for manifests in [good(), on_istio(), on_gateway_api()] {
        assert_eq!(between(&manifests, &manifests), Diff::default());
    }
}

#[test]
fn stricter_terms_name_the_sessions_that_they_may_end() {
    for (field, value, said) in [
        (
            "timeouts",
            json!({"idle": "1m"}),
            Some("timeouts.idle: those idle for 1m"),
        ),
        (
            "timeouts",
            json!({"maxConnectionDuration": "1h"}),
            Some("timeouts.maxConnectionDuration: those older than 1h"),
        ),
        (
            "limits",
            json!({"maxMessageSize": "1Ki"}),
            Some("limits.maxMessageSize: those with a message of more than 1024 bytes"),
        ),
        (
            "limits",
            json!({"messageRate": {"messages": 5, "interval": "1s"}}),
            Some("limits.messageRate: those whose client sends more"),
        ),
        ("drain", json!({"timeout": "9s"}), None),
        ("limits", json!({"maxConnectionsPerProxy": 1}), None),
    ] {
        let diff = edited(&good(), &format!("/spec/rules/0/{field}"), value);
        let [rule] = &diff.rules[..] else {
            panic!("{field}: {diff:?}")
        };
        assert_eq!((rule.action, &*rule.rule), (Action::Changed, "shop/chat/rooms"));
        assert_eq!(rule.ends, said.map(str::to_owned).into_iter().collect::<Vec<_>>());
        assert_eq!(rule.keys.unwrap().keys, 0, "{field} moves nobody");
        assert!(diff.listeners.is_empty(), "{field}: {diff:?}");
    }
    let mut strict = good();
    strict.routes[0]["spec"]["rules"][0]["timeouts"] = json!({"idle": "1m"});
    assert!(
        edited(&strict, "/spec/rules/0/timeouts/idle", json!("2m")).rules[0]
            .ends
            .is_empty()
    );
}

#[test]
fn keys_that_are_read_from_elsewhere_move_without_need() {
    let sources = json!([{"type": "Cookie", "cookie": {"name": "sid"}}]);
    let moved = edited(&good(), "/spec/rules/0/sessionKey/sources", sources).rules[0]
        .keys
        .unwrap();
    assert!(moved.keys > u64::from(KEYS) / 2 && moved.ratio > 5.0, "{moved:?}");
}

#[test]
fn a_weight_moves_the_share_that_it_must() {
    let backends = |a: u32, b: u32| json!([{"name": "chat", "port": 8080, "weight": a}, {"name": "other", "port": 8080, "weight": b}]);
    let mut before = good();
    before.routes[0]["spec"]["rules"][0]["backendRefs"] = backends(90, 10);
    let moved = edited(&before, "/spec/rules/0/backendRefs", backends(80, 20)).rules[0]
        .keys
        .unwrap();
    assert_eq!(moved.keys, moved.minimum, "{moved:?}");
    assert!((300..500).contains(&moved.keys), "a tenth: {moved:?}");
}

#[test]
fn another_port_of_the_same_pods_moves_nobody_who_stays_with_them() {
    let mut before = good();
    before.routes[0]["spec"]["rules"][0]["backendRefs"] = json!([{"name": "chat", "port": 80}]);
    let ports = json!([{"name": "ws", "port": 80}, {"name": "more", "port": 81}]);
    before.services[0]["spec"]["ports"] = ports;
    let more = json!({"name": "more", "port": 9000});
    for slice in &mut before.endpoint_slices {
        slice["ports"].as_array_mut().unwrap().push(more.clone());
    }
    let mut after = before.clone();
    after.routes[0]["spec"]["rules"][0]["backendRefs"][0]["port"] = json!(81);
    let moved = |before, after| between(before, after).rules[0].keys.unwrap();
    assert_eq!(moved(&before, &after).keys, 0);
    // From no pod to some.
    let mut none = before.clone();
    none.endpoint_slices.clear();
    let all = moved(&none, &before);
    assert_eq!((all.keys, all.ratio), (KEYS.into(), 1.0));
}

#[test]
fn pods_that_leave_are_seen_though_no_rule_is_edited() {
    let mut after = good();
    let endpoints = after.endpoint_slices[0]["endpoints"].as_array_mut().unwrap();
    let gone = endpoints.pop().unwrap();
    let diff = between(&good(), &after);
    let moved = diff.rules[0].keys.unwrap();
    assert!(
        moved.keys == moved.minimum && moved.keys > 1_000,
        "{gone}: {moved:?}"
    );
}

#[test]
fn a_rule_that_goes_ends_nobody_and_its_objects_go() {
    let before = on_istio();
    let mut after = before.clone();
    after.routes.clear();
    let diff = between(&before, &after);
    assert!(
        diff.rules
            .iter()
            .all(|rule| rule.action == Action::Deleted && rule.ends.is_empty())
    );
    assert!(!diff.objects.is_empty() && diff.objects.iter().all(|object| object.action == Action::Deleted));
    assert!(diff.listeners.is_empty());
    let back = between(&after, &before);
    assert!(back.objects.iter().all(|object| object.action == Action::Created));
    let reversed: Vec<_> = back.objects.iter().rev().map(|object| &object.name).collect();
    assert_eq!(
        reversed,
        diff.objects.iter().map(|object| &object.name).collect::<Vec<_>>()
    );
}

#[test]
fn the_first_and_the_last_route_of_envoy_gateway_touch_no_listener() {
    let with = on_gateway_api();
    let mut without = with.clone();
    without.routes.clear();
    for (before, after) in [(&without, &with), (&with, &without)] {
        let diff = between(before, after);
        assert!(!diff.objects.is_empty() && diff.listeners.is_empty(), "{diff:?}");
    }
}

#[test]
fn a_gateway_of_our_own_that_is_edited_loses_its_listener() {
    let mut after = good();
    after.gateways[0]["spec"]["listeners"][0]["port"] = json!(8081);
    let diff = between(&good(), &after);
    let [listener] = &diff.listeners[..] else {
        panic!("{diff:?}")
    };
    assert_eq!(
        (listener.gateway.as_str(), listener.address.port()),
        ("shop/edge", 8080)
    );
    let [new] = &diff.added_listeners[..] else {
        panic!("{diff:?}")
    };
    assert_eq!((new.address.port(), new.why.as_str()), (8081, "it is new"));
    let serves = &listener.rules;
    assert!(
        !serves.is_empty() && serves.iter().all(|rule| rule.starts_with("shop/")),
        "{diff:?}"
    );
}

#[test]
fn keys_of_session_tokens_that_go_are_counted_and_none_is_said() {
    let with = |keys: &[char]| {
        let mut manifests = good();
        let entries = keys
            .iter()
            .map(|key| (key.to_string(), key.to_string().repeat(32)));
        manifests.secrets.push(json!({
            "metadata": {"name": "signing", "namespace": "clew-system"},
            "type": "clew.dev/signing-keys",
            "stringData": entries.collect::<BTreeMap<_, _>>(),
        }));
        manifests
    };
    let gone = "keys of session tokens; tokens of 1 that go count as none";
    for (before, after, action, what) in [
        (good(), with(&['a']), Action::Created, "keys of session tokens"),
        (
            with(&['a']),
            with(&['a', 'b']),
            Action::Changed,
            "keys of session tokens",
        ),
        (with(&['a', 'b']), with(&['b']), Action::Changed, gone),
        (with(&['a']), good(), Action::Deleted, gone),
    ] {
        let diff = between(&before, &after);
        let [secret] = &diff.secrets[..] else {
            panic!("{diff:?}")
        };
        assert_eq!((secret.action, secret.what.as_str()), (action, what));
        assert!(diff.listeners.is_empty() && diff.rules.is_empty(), "{diff:?}");
    }
}
