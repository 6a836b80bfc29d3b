//! What gives each reason. One that is added to the API does not compile here until it has a case.

use clew_crds::status::{
    AcceptedReason, ConditionType, PartiallySupportedReason, ProgrammedReason, ReadyReason,
    ResolvedRefsReason,
};
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio;
use clew_e2e::pod::{PORT, service};
use serde_json::{Value, json};

use super::{HOME, INFRA, REFUSING};
use crate::controller::{CLEW, ISTIO};

/// How a reason comes about.
pub(super) enum Case {
    /// These objects; the route is the last of them.
    Applied(Vec<Value>),
    /// The route is in force, and then written anew.
    Edited(Value, Value),
    /// The route is in force, and edited while the proxy does not answer.
    Unanswered(Value, Value),
    /// The route alone, where Istio's kinds are not installed and there is a Gateway of its class.
    WithoutIstio(Value),
}

/// A route of this name, to a hostname of its own.
fn route(name: &str, changed: impl FnOnce(&mut Value)) -> Value {
    let mut route = json!({
        "apiVersion": CLEW, "kind": "WebSocketRoute",
        "metadata": {"name": name, "namespace": HOME},
        "spec": {
            "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
            "hostnames": [host(name)],
            "rules": [{
                "backendRefs": [{"name": "chat", "port": PORT}],
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            }],
        },
    });
    changed(&mut route["spec"]);
    route
}

fn host(name: &str) -> String {
    format!("{name}.reasons.example.com")
}

/// One whose parent is in [`INFRA`].
fn route_of_infra(name: &str, gateway: &str) -> Value {
    route(name, |spec| {
        spec["parentRefs"][0]["name"] = json!(gateway);
        spec["parentRefs"][0]["namespace"] = json!(INFRA);
    })
}

fn backend(name: &str, namespace: &str) -> Value {
    json!([{"name": name, "namespace": namespace, "port": PORT}])
}

fn accepted(reason: AcceptedReason) -> Case {
    use AcceptedReason as Reason;
    match reason {
        Reason::Accepted => Case::Applied(vec![route("accepted", |_| {})]),
        // Both of one second are told apart by their names.
        Reason::Conflicted => Case::Applied(vec![
            route("conflict", |_| {}),
            route("conflicted", |spec| spec["hostnames"] = json!([host("conflict")])),
        ]),
        Reason::NoMatchingParent => Case::Applied(vec![route("no-parent", |spec| {
            spec["parentRefs"][0]["name"] = json!("nobody");
        })]),
        Reason::NoMatchingListenerHostname => Case::Applied(vec![route("no-hostname", |spec| {
            spec["hostnames"] = json!(["elsewhere.example.com"]);
        })]),
        Reason::NotAllowedByListeners => Case::Applied(vec![
            istio_gateway(INFRA, "private", &[&format!("./{}", host("not-allowed"))]),
            route_of_infra("not-allowed", "private"),
        ]),
        Reason::InvalidRule => Case::Applied(vec![route("invalid", |spec| {
            spec["rules"][0]["matches"] = json!([{"path": {"type": "RegularExpression", "value": "/(?=a)"}}]);
        })]),
        Reason::UnverifiedClaim => Case::Applied(vec![route("unverified", |spec| {
            spec["rules"][0]["sessionKey"] =
                json!({"sources": [{"type": "JWTClaim", "jwtClaim": {"name": "sub"}}]});
        })]),
        Reason::RemapRefused => Case::Edited(
            route("remap", |_| {}),
            route("remap", |spec| {
                spec["rules"][0]["sessionKey"] =
                    json!({"sources": [{"type": "Header", "header": {"name": "x-room"}}]});
            }),
        ),
        Reason::Pending => Case::WithoutIstio(route("undecided", |_| {})),
        Reason::TargetNotFound => Case::Applied(vec![json!({
            "apiVersion": CLEW, "kind": "WebSocketPolicy",
            "metadata": {"name": "no-target", "namespace": HOME},
            "spec": {"targetRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "nobody"},
            ]},
        })]),
    }
}

fn resolved(reason: ResolvedRefsReason) -> Case {
    use ResolvedRefsReason as Reason;
    match reason {
        Reason::ResolvedRefs => Case::Applied(vec![route("resolved", |_| {})]),
        Reason::BackendNotFound => Case::Applied(vec![route("not-found", |spec| {
            spec["rules"][0]["backendRefs"] = backend("nobody", HOME);
        })]),
        Reason::RefNotPermitted => Case::Applied(vec![
            service(INFRA, "chat"),
            route("not-permitted", |spec| {
                spec["rules"][0]["backendRefs"] = backend("chat", INFRA);
            }),
        ]),
        Reason::UnsupportedBackend => {
            let mut secure = service(HOME, "secure");
            secure["spec"]["ports"][0]["appProtocol"] = json!("kubernetes.io/wss");
            let route = route("unsupported", |spec| {
                spec["rules"][0]["backendRefs"] = backend("secure", HOME);
            });
            Case::Applied(vec![secure, route])
        }
        Reason::SecretNotFound => Case::Applied(vec![route("no-secret", |spec| {
            spec["rules"][0]["security"] =
                json!({"jwt": {"issuer": "https://id.example.com", "jwksSecretRef": {"name": "nobody"}}});
        })]),
    }
}

fn programmed(reason: ProgrammedReason) -> Case {
    use ProgrammedReason as Reason;
    match reason {
        Reason::Programmed => Case::Applied(vec![route("programmed", |_| {})]),
        Reason::ApplyFailed => Case::Applied(vec![
            service(REFUSING, "chat"),
            istio_gateway(REFUSING, "edge", &[&host("refused")]),
            in_namespace(route("refused", |_| {}), REFUSING),
        ]),
        Reason::NotOwned => Case::Applied(vec![
            service(HOME, "owned"),
            json!({
                "apiVersion": ISTIO, "kind": "DestinationRule",
                "metadata": {"name": "owned-clew", "namespace": HOME}, "spec": {"host": "elsewhere.example.com"},
            }),
            route("not-owned", |spec| {
                spec["rules"][0]["backendRefs"] = backend("owned", HOME);
            }),
        ]),
        Reason::TargetMissing => Case::WithoutIstio(route("no-target", |spec| {
            spec["parentRefs"] = json!([{"name": "edge"}]);
        })),
        Reason::FilterNotInstalled => {
            let mut bare = istio_gateway(HOME, "bare", &[&host("no-filter")]);
            bare["spec"]["selector"] = json!({"istio": "nobody"});
            let route = route("no-filter", |spec| spec["parentRefs"][0]["name"] = json!("bare"));
            Case::Applied(vec![bare, route])
        }
        // The gateway's pods are in the root namespace, where a rule holds for the mesh unless it is for that namespace alone.
        Reason::DestinationRuleHidden => Case::Applied(vec![
            service(HOME, "hidden"),
            json!({
                "apiVersion": ISTIO, "kind": "DestinationRule",
                "metadata": {"name": "theirs", "namespace": istio::NAMESPACE},
                "spec": {"host": format!("hidden.{HOME}.svc.cluster.local"), "exportTo": ["."]},
            }),
            route("hidden", |spec| {
                spec["rules"][0]["backendRefs"] = backend("hidden", HOME);
            }),
        ]),
        Reason::ProxiesBehind => Case::Unanswered(
            route("behind", |_| {}),
            route("behind", |spec| {
                spec["rules"][0]["limits"] = json!({"maxMessageSize": "64Ki"});
            }),
        ),
        Reason::Pending => Case::Applied(vec![quiet_gateway(), quiet_plugin(), quiet("pending")]),
    }
}

fn partially_supported(reason: PartiallySupportedReason) -> Case {
    use PartiallySupportedReason as Reason;
    match reason {
        Reason::FieldsIgnored => Case::Applied(vec![
            service(HOME, "mesh"),
            route("ignored", |spec| {
                spec["parentRefs"] = json!([{"group": "", "kind": "Service", "name": "mesh"}]);
                spec["rules"][0]["limits"] = json!({"maxMessageSize": "64Ki"});
                spec.as_object_mut().map(|spec| spec.remove("hostnames"));
            }),
        ]),
        Reason::DrainTruncated => Case::Applied(vec![route("truncated", |spec| {
            spec["rules"][0]["drain"] = json!({"timeout": "2m"});
        })]),
    }
}

fn ready(reason: ReadyReason) -> Case {
    use ReadyReason as Reason;
    match reason {
        Reason::Ready => Case::Applied(vec![route("ready", |_| {})]),
        Reason::Pending => Case::Applied(vec![quiet_gateway(), quiet_plugin(), quiet("unready")]),
        Reason::NotReady => Case::Applied(vec![route("not-ready", |spec| {
            spec["hostnames"] = json!(["not-ready.example.com"]);
        })]),
    }
}

/// A gateway that has the filter, and no proxy yet.
fn quiet_gateway() -> Value {
    let mut quiet = istio_gateway(HOME, "quiet", &["*.reasons.example.com"]);
    quiet["spec"]["selector"] = json!({"istio": "quiet"});
    quiet
}

fn quiet_plugin() -> Value {
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
        "metadata": {"name": "quiet", "namespace": HOME},
        "spec": {
            "selector": {"matchLabels": {"istio": "quiet"}}, "url": "http://nobody.example.com/",
            "pluginName": "clew", "pluginConfig": {"gateway": "istio=quiet"},
        },
    })
}

fn quiet(name: &str) -> Value {
    route(name, |spec| spec["parentRefs"][0]["name"] = json!("quiet"))
}

fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

/// What is named beside a reason, so that somebody can do something about it.
const NAMED: &[(&str, &str)] = &[
    ("Conflicted", "reasons/conflict"),
    ("NoMatchingParent", "reasons/nobody"),
    ("NoMatchingListenerHostname", "elsewhere.example.com"),
    ("NotAllowedByListeners", "reasons-infra"),
    ("InvalidRule", "spec.rules[0].matches[0].path"),
    ("UnverifiedClaim", "RequestAuthentication"),
    ("RemapRefused", "clew.dev/allow-remap"),
    ("BackendNotFound", "reasons/nobody"),
    ("RefNotPermitted", "ReferenceGrant"),
    ("UnsupportedBackend", "spec.rules[0].backendRefs[0]"),
    ("SecretNotFound", "reasons/nobody"),
    ("ApplyFailed", "not on a Friday"),
    ("NotOwned", "reasons/owned-clew"),
    ("TargetMissing", "DestinationRule"),
    ("FilterNotInstalled", "clew install --gateway reasons/bare"),
    ("DestinationRuleHidden", "istio-system/theirs"),
    ("ProxiesBehind", "0 of 1 proxies"),
    ("FieldsIgnored", "spec.rules[0].limits"),
    ("DrainTruncated", "sleep: {seconds: 120}"),
];

/// A reason, and what gives it.
pub(super) struct Row {
    pub(super) condition: ConditionType,
    pub(super) reason: &'static str,
    /// What the condition's status then is.
    pub(super) status: &'static str,
    /// What its message has in it.
    pub(super) named: &'static str,
    pub(super) case: Case,
}

/// Every reason there is.
pub(super) fn rows() -> Vec<Row> {
    use ConditionType as Type;
    let mut rows = Vec::new();
    for condition in Type::ALL {
        let mut add = |reason: &'static str, undecided: bool, case| {
            // A condition holds by its own name, or says what is partial.
            let holds = reason == condition.as_str() || *condition == Type::PartiallySupported;
            let status = match (holds, undecided) {
                (true, _) => "True",
                (false, true) => "Unknown",
                (false, false) => "False",
            };
            let named = NAMED.iter().find(|(of, _)| *of == reason);
            rows.push(Row {
                condition: *condition,
                reason,
                status,
                named: named.map_or("", |(_, named)| named),
                case,
            });
        };
        match condition {
            Type::Ready => {
                for one in ReadyReason::ALL {
                    add(one.as_str(), *one == ReadyReason::Pending, ready(*one));
                }
            }
            Type::Accepted => {
                for one in AcceptedReason::ALL {
                    add(one.as_str(), *one == AcceptedReason::Pending, accepted(*one));
                }
            }
            Type::ResolvedRefs => {
                for one in ResolvedRefsReason::ALL {
                    add(one.as_str(), false, resolved(*one));
                }
            }
            Type::Programmed => {
                for one in ProgrammedReason::ALL {
                    add(one.as_str(), *one == ProgrammedReason::Pending, programmed(*one));
                }
            }
            Type::PartiallySupported => {
                for one in PartiallySupportedReason::ALL {
                    add(one.as_str(), false, partially_supported(*one));
                }
            }
        }
    }
    rows
}
