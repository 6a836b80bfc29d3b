//! Whether an object in the cluster is as it is to be. What the API server fills in by itself is no difference; what
//! anybody else wrote into it is.

use serde_json::{Map, Value, json};

use super::kind::Kind;

/// Whether an object is not as it is to be.
pub(crate) fn differs(kind: Kind, wanted: &Value, live: &Value) -> bool {
    let is_of_all = has(
        &live["metadata"]["ownerReferences"],
        &wanted["metadata"]["ownerReferences"],
    );
    !is_of_all || !says(kind, wanted, live)
}

/// Whether an object says what it is to say, whoever it is of.
pub(crate) fn says(kind: Kind, wanted: &Value, live: &Value) -> bool {
    let of_metadata = ["labels", "annotations"];
    of_metadata
        .iter()
        .all(|field| has(&live["metadata"][field], &wanted["metadata"][field]))
        && is(kind, &wanted["spec"], &live["spec"])
}

/// What takes out of an object whatever others have put into its spec, as a JSON merge patch (RFC 7386).
pub(crate) fn removal(kind: Kind, wanted: &Value, live: &Value) -> Value {
    json!({"spec": without(kind, &wanted["spec"], &live["spec"])})
}

/// Whether all of this is there, whatever else is.
pub(super) fn has(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(field, value)| live.get(field).is_some_and(|live| has(live, value))),
        (Value::Array(live), Value::Array(wanted)) => {
            wanted.iter().all(|one| live.iter().any(|live| has(live, one)))
        }
        (live, wanted) => live == wanted,
    }
}

fn is(kind: Kind, wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            let all_there = wanted.iter().all(|(field, value)| match live.get(field) {
                Some(live) => is(kind, value, live),
                None => is_nothing(value),
            });
            all_there
                && live
                    .iter()
                    .all(|(field, value)| wanted.contains_key(field) || is_default(kind, field, value))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(one, live)| is(kind, one, live))
        }
        (Value::Number(wanted), Value::Number(live)) => wanted.as_f64() == live.as_f64(),
        (wanted, live) => wanted == live,
    }
}

fn without(kind: Kind, wanted: &Value, live: &Value) -> Value {
    let (Value::Object(wanted), Value::Object(live)) = (wanted, live) else {
        return wanted.clone();
    };
    let mut patch = Map::new();
    for (field, value) in live {
        match wanted.get(field) {
            Some(wanted) if is(kind, wanted, value) => {}
            Some(wanted) => {
                patch.insert(field.clone(), without(kind, wanted, value));
            }
            None if is_default(kind, field, value) => {}
            None => {
                patch.insert(field.clone(), Value::Null);
            }
        }
    }
    let absent = wanted.iter().filter(|(field, _)| !live.contains_key(*field));
    patch.extend(absent.map(|(field, value)| (field.clone(), value.clone())));
    patch.into()
}

/// What the API server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// What the API server puts in.
fn is_default(kind: Kind, field: &str, value: &Value) -> bool {
    let among = |known: &[Value]| known.contains(value);
    is_nothing(value)
        || match (kind, field) {
            (Kind::Service, "clusterIPs" | "ipFamilies" | "ipFamilyPolicy") => true,
            (Kind::Service, "type") => among(&[json!("ClusterIP")]),
            (Kind::Service, "sessionAffinity") => among(&[json!("None")]),
            (Kind::Service, "internalTrafficPolicy") => among(&[json!("Cluster")]),
            (Kind::Service, "protocol") => among(&[json!("TCP")]),
            (Kind::Service, "targetPort") => value.is_number(),
            (Kind::HttpRoute, "group") => among(&[json!(""), json!("gateway.networking.k8s.io")]),
            (Kind::HttpRoute, "kind") => among(&[json!("Gateway"), json!("Service")]),
            (Kind::HttpRoute, "weight") => among(&[json!(1)]),
            (Kind::HttpRoute, "type") => among(&[json!("Exact"), json!("PathPrefix")]),
            (Kind::HttpRoute, "path") => among(&[json!({"type": "PathPrefix", "value": "/"})]),
            (Kind::HttpRoute, "matches") => among(&[json!([{"path": {"type": "PathPrefix", "value": "/"}}])]),
            (Kind::BackendTrafficPolicy, "alwaysEjectOneEndpoint") => among(&[json!(false)]),
            (Kind::ReferenceGrant, "group") => among(&[json!("")]),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::{differs, removal};
    use crate::cluster::kind::Kind;
    use serde_json::{Value, json};

    fn object(spec: Value) -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": spec})
    }

    #[test]
    fn what_the_api_server_fills_in_is_no_difference() {
        let wanted = object(
            json!({"clusterIP": "None", "selector": {"app": "chat"}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
        );
        let mut live = object(
            json!({"clusterIP": "None", "clusterIPs": ["None"], "type": "ClusterIP", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "selector": {"app": "chat"}, "ports": [{"name": "http", "port": 80, "targetPort": 80, "protocol": "TCP"}]}),
        );
        live["metadata"]["labels"]["theirs"] = json!("too");
        assert!(!differs(Kind::Service, &wanted, &live));
        live["spec"]["selector"]["version"] = json!("2");
        assert!(differs(Kind::Service, &wanted, &live));
        let wanted = object(
            json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}),
        );
        let live = object(
            json!({"parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}], "rules": [{
            "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
            "backendRefs": [{"group": "", "kind": "Service", "name": "a", "port": 80, "weight": 1}]}]}),
        );
        assert!(!differs(Kind::HttpRoute, &wanted, &live));
    }

    #[test]
    fn what_others_change_add_or_remove_is_a_difference() {
        let wanted =
            object(json!({"hosts": ["a"], "http": [{"name": "x", "timeout": "10s"}], "exportTo": ["*"]}));
        for (live, patch) in [
            (
                json!({"hosts": ["b"], "http": [{"name": "x", "timeout": "10s"}], "exportTo": ["*"]}),
                json!({"hosts": ["a"]}),
            ),
            (
                json!({"hosts": ["a"], "http": [{"name": "x", "timeout": "10s", "fault": {}, "retries": {"attempts": 3}}], "exportTo": ["*"]}),
                json!({"http": [{"name": "x", "timeout": "10s"}]}),
            ),
            (
                json!({"hosts": ["a"], "http": [{"name": "x", "timeout": "10s"}], "exportTo": ["*"], "tcp": [{"route": []}]}),
                json!({"tcp": null}),
            ),
            (
                json!({"hosts": ["a"], "http": [{"name": "x", "timeout": "10s"}]}),
                json!({"exportTo": ["*"]}),
            ),
        ] {
            let live = object(live);
            assert!(differs(Kind::VirtualService, &wanted, &live), "{live}");
            assert_eq!(
                removal(Kind::VirtualService, &wanted, &live),
                json!({"spec": patch})
            );
        }
        let mut live = wanted.clone();
        assert!(!differs(Kind::VirtualService, &wanted, &live));
        live["metadata"]["labels"] = json!({});
        assert!(differs(Kind::VirtualService, &wanted, &live));
    }

    #[test]
    fn an_owner_that_is_missing_is_a_difference_and_one_more_is_not() {
        let mut wanted = object(json!({}));
        wanted["metadata"]["ownerReferences"] = json!([{"uid": "1"}]);
        let mut live = object(json!({}));
        assert!(differs(Kind::DestinationRule, &wanted, &live));
        live["metadata"]["ownerReferences"] = json!([{"uid": "2"}, {"uid": "1", "controller": false}]);
        assert!(!differs(Kind::DestinationRule, &wanted, &live));
    }
}
