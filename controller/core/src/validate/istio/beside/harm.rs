//! What a patch of somebody's EnvoyFilter does to sessions, as far as its value says: only what is known to end them, or to take
//! them from the pods that their keys name.

use serde_json::Value;

use crate::objects::ConfigPatch;
use crate::validate::Concern;

/// Where a cluster keeps what it does with HTTP.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// How the whole length of a session is bounded, in listeners and clusters.
const LONGEST: [&str; 2] = ["common_http_protocol_options", "max_stream_duration"];

/// What a patch may be narrowed by and still be known to meet what is ours; of anything else nobody knows.
const EVALUATED: [&str; 8] = [
    "/context",
    "/listener/filterChain/filter/name",
    "/listener/filterChain/filter/subFilter/name",
    "/routeConfiguration/vhost/name",
    "/routeConfiguration/vhost/route/name",
    "/routeConfiguration/vhost/route/action",
    "/cluster/service",
    "/cluster/name",
];

/// Each with what it does and what to do.
pub(super) fn harms(patch: &ConfigPatch) -> Vec<(Concern, String)> {
    let (operation, value) = (&patch.patch["operation"], &patch.patch["value"]);
    let changes = operation == "MERGE" || operation == "REPLACE";
    let mut found = Vec::new();
    if !is_evaluated(&patch.r#match, "") {
        return found;
    }
    match patch.apply_to.as_str() {
        // What is added or removed is not what is ours.
        _ if !changes => {}
        "NETWORK_FILTER" => {
            let config = field(value, "typed_config");
            found.extend(idle(at(config, &["stream_idle_timeout"]), "stream_idle_timeout"));
            found.extend(aged(at(config, &LONGEST)));
        }
        "HTTP_ROUTE" => {
            let route = field(value, "route");
            found.extend(idle(at(route, &["idle_timeout"]), "idle_timeout"));
            found.extend(aged(at(route, &["max_stream_duration", "max_stream_duration"])));
        }
        "CLUSTER" => {
            let options =
                field(value, "typed_extension_protocol_options").and_then(|all| all.get(HTTP_OPTIONS));
            found.extend(aged(at(options, &LONGEST)));
            found.extend(
                field(value, "outlier_detection")
                    .filter(|policy| may_eject(policy))
                    .map(|_| ejects()),
            );
            found.extend(misplaces(value));
        }
        _ => {}
    }
    found
}

fn idle(timeout: Option<&Value>, called: &str) -> Option<(Concern, String)> {
    let time = duration(timeout?)?;
    let message = format!(
        "its {called} cuts every session that says nothing for {time}, without a Close; take it out, and write timeouts.idle into the route, which closes in order"
    );
    Some((Concern::Ends, message))
}

fn aged(timeout: Option<&Value>) -> Option<(Concern, String)> {
    let time = duration(timeout?)?;
    let message = format!(
        "its max_stream_duration cuts every session after {time}, without a Close; take it out, and write timeouts.maxConnectionDuration into the route, which closes in order"
    );
    Some((Concern::Ends, message))
}

/// Whether it may take a pod out at all.
fn may_eject(policy: &Value) -> bool {
    let most = field(policy, "max_ejection_percent");
    most.is_none_or(|percent| percent != 0)
}

/// Whether only that narrows it which is looked at.
fn is_evaluated(matching: &Value, at: &str) -> bool {
    match matching {
        Value::Null => true,
        Value::Object(fields) => fields
            .iter()
            .all(|(name, inner)| is_evaluated(inner, &format!("{at}/{name}"))),
        _ => EVALUATED.contains(&at),
    }
}

fn ejects() -> (Concern, String) {
    let message = "its outlier_detection has Envoy take pods for ill when their sessions end, and send the keys of these pods elsewhere; take it out, and write resilience.outlierDetection into the route, which counts handshakes only";
    (Concern::Ejects, message.to_owned())
}

fn misplaces(cluster: &Value) -> Option<(Concern, String)> {
    let common = field(cluster, "common_lb_config");
    let is_set = |path: &[&str]| at(common, path).is_some();
    // Zones mean nothing to Maglev.
    let what = if is_set(&["locality_weighted_lb_config"]) {
        "its common_lb_config balances by locality"
    } else if field(cluster, "load_balancing_policy").is_some()
        || field(cluster, "lb_policy").is_some_and(|policy| policy != "MAGLEV")
    {
        "it balances otherwise than by the header in which the filter names the pod"
    } else {
        return None;
    };
    let message = format!(
        "{what}, so that sessions do not reach the pods that their keys name; take it out, or narrow its match"
    );
    Some((Concern::Misplaces, message))
}

/// As it is written; None: it bounds nothing.
fn duration(value: &Value) -> Option<&str> {
    value
        .as_str()
        .filter(|text| text.chars().any(|c| ('1'..='9').contains(&c)))
}

fn at<'v>(value: Option<&'v Value>, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value?, |value, name| field(value, name))
}

/// A field by its name, or by the one that it has in JSON.
fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let found = value.get(name).or_else(|| {
        let mut parts = name.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        let camel = parts.fold(first, |mut all, part| {
            let mut letters = part.chars();
            all.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            all.push_str(letters.as_str());
            all
        });
        value.get(&camel)
    });
    found.filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::{ConfigPatch, harms};
    use crate::validate::Concern;
    use serde_json::{Value, json};

    fn found(apply_to: &str, value: Value) -> Vec<Concern> {
        let patch = ConfigPatch {
            apply_to: apply_to.to_owned(),
            patch: json!({"operation": "MERGE", "value": value}),
            ..ConfigPatch::default()
        };
        harms(&patch).into_iter().map(|(concern, _)| concern).collect()
    }

    #[test]
    fn what_ends_sessions_is_told_from_what_does_not() {
        let manager = |config: Value| found("NETWORK_FILTER", json!({"typed_config": config}));
        assert_eq!(manager(json!({"stream_idle_timeout": "10s"})), [Concern::Ends]);
        assert_eq!(manager(json!({"streamIdleTimeout": "0.5s"})), [Concern::Ends]);
        assert!(manager(json!({"stream_idle_timeout": "0s"})).is_empty(), "off");
        let aged = json!({"common_http_protocol_options": {"max_stream_duration": "1h"}});
        assert_eq!(manager(aged.clone()), [Concern::Ends]);
        let idle = json!({"common_http_protocol_options": {"idle_timeout": "1h"}});
        assert!(manager(idle).is_empty(), "of connections without a stream");
        let route = |route: Value| found("HTTP_ROUTE", json!({"route": route}));
        assert_eq!(route(json!({"idle_timeout": "1s"})), [Concern::Ends]);
        let longest = json!({"max_stream_duration": {"max_stream_duration": "60s"}});
        assert_eq!(route(longest), [Concern::Ends]);
        assert!(route(json!({"timeout": "1s"})).is_empty(), "of the handshake");
        let options = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": aged});
        let cluster = json!({"typed_extension_protocol_options": options});
        assert_eq!(found("CLUSTER", cluster), [Concern::Ends]);
    }

    #[test]
    fn what_ejects_pods_and_what_places_otherwise_is_found_in_clusters_only() {
        let outlier = json!({"outlier_detection": {"consecutive_local_origin_failure": 1}});
        assert_eq!(found("CLUSTER", outlier.clone()), [Concern::Ejects]);
        assert!(found("HTTP_FILTER", outlier).is_empty());
        for placing in [
            json!({"common_lb_config": {"locality_weighted_lb_config": {}}}),
            json!({"commonLbConfig": {"localityWeightedLbConfig": {}}}),
            json!({"lb_policy": "ROUND_ROBIN"}),
            json!({"load_balancing_policy": {"policies": []}}),
        ] {
            assert_eq!(
                found("CLUSTER", placing.clone()),
                [Concern::Misplaces],
                "{placing}"
            );
        }
        for harmless in [
            json!({"lb_policy": "MAGLEV"}),
            json!({"common_lb_config": {"healthy_panic_threshold": {}}}),
            json!({"common_lb_config": {"zone_aware_lb_config": {}}}),
            json!({"common_lb_config": {"locality_weighted_lb_config": null}}),
            json!({"outlier_detection": {"max_ejection_percent": 0}}),
            json!({"outlier_detection": null}),
            json!({"connect_timeout": "1s"}),
            Value::Null,
        ] {
            assert!(found("CLUSTER", harmless.clone()).is_empty(), "{harmless}");
        }
        let other = ConfigPatch {
            apply_to: "CLUSTER".to_owned(),
            patch: json!({"operation": "ADD", "value": {"lb_policy": "RANDOM"}}),
            ..ConfigPatch::default()
        };
        assert!(harms(&other).is_empty(), "a cluster of its own");
    }

    #[test]
    fn what_is_narrowed_to_something_that_may_not_be_ours_does_no_known_harm() {
        let harm = |apply_to: &str, operation: &str, matching: Value| {
            let patch = ConfigPatch {
                apply_to: apply_to.to_owned(),
                r#match: matching,
                patch: json!({"operation": operation, "value": {
                    "typed_config": {"stream_idle_timeout": "5s"}, "route": {"idle_timeout": "5s"}, "outlier_detection": {},
                }}),
            };
            !harms(&patch).is_empty()
        };
        let manager = |listener: Value| json!({"context": "GATEWAY", "listener": listener});
        let of_manager =
            json!({"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}});
        assert!(harm("NETWORK_FILTER", "MERGE", manager(of_manager)));
        assert!(!harm(
            "NETWORK_FILTER",
            "MERGE",
            manager(json!({"portNumber": 15443}))
        ));
        assert!(harm(
            "CLUSTER",
            "MERGE",
            json!({"cluster": {"service": "chat.shop.svc.cluster.local"}})
        ));
        for other in [
            json!({"cluster": {"portNumber": 443}}),
            json!({"cluster": {"subset": "v1"}}),
            json!({"proxy": {"proxyVersion": "^1\\.20.*"}}),
        ] {
            assert!(!harm("CLUSTER", "MERGE", other.clone()), "{other}");
        }
        assert!(harm("HTTP_ROUTE", "MERGE", json!({"context": "GATEWAY"})));
        assert!(
            !harm("HTTP_ROUTE", "INSERT_FIRST", json!({"context": "GATEWAY"})),
            "a route of its own"
        );
    }
}
