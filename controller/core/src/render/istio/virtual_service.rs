//! VirtualServices. Istio tries those of one gateway and host in the order of their age, whatever they match, so that the routes
//! of one namespace for one hostname are one object, in the order that Gateway API wants.

use std::collections::{BTreeMap, BTreeSet};

use clew_filter_config::headers;
use serde::Serialize;
use serde_json::{Value, json};

use super::destination_rule::{API, destination};
use super::host;
use super::policy::Policy;
use crate::model::{
    AttachedRoute, AttachedRule, Fault, Hostname, Istio, Match, ObjectName, Parent, Path, Pattern, Rule,
    Section, Target,
};
use crate::render::envoy::seconds;
use crate::render::object::{Object, SUBDOMAIN, digits, name};
use crate::render::rules::route_name;
use crate::render::step::{Step, steps};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    hosts: [String; 1],
    gateways: [String; 1],
    http: Vec<HttpRoute>,
    export_to: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpRoute {
    name: String,
    r#match: Vec<HttpMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    route: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_response: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<Value>,
}

#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpMatch {
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_params: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

pub(super) fn objects(istio: &Istio) -> Vec<Object> {
    let mut by_host: BTreeMap<(&ObjectName, &str, &Hostname), Vec<&AttachedRoute>> = BTreeMap::new();
    let mut objects = Vec::new();
    for route in &istio.routes {
        match &route.parent {
            Parent::IstioGateway(gateway) => {
                for hostname in &route.hostnames {
                    let key = (gateway, route.name.namespace.as_str(), hostname);
                    by_host.entry(key).or_default().push(route);
                }
            }
            Parent::MeshService(service) => objects.push(on_mesh(service, route, istio)),
            _ => {}
        }
    }
    let at_gateways = by_host
        .into_iter()
        .map(|((gateway, namespace, hostname), routes)| {
            let mut tried: Vec<(&AttachedRule, &BTreeSet<Section>)> = routes
                .iter()
                .flat_map(|route| route.rules.iter().map(|attached| (attached, &route.sections)))
                .collect();
            tried.sort_by_cached_key(|(attached, _)| attached.matching.precedence());
            let spec = Spec {
                hosts: [hostname.to_string()],
                gateways: [gateway.to_string()],
                http: tried
                    .into_iter()
                    .flat_map(|(attached, sections)| at_gateway(attached, sections, &routes[0].parent, istio))
                    .collect(),
                export_to: ["*"],
            };
            let stem = match hostname {
                Hostname::Any => "any-host".to_owned(),
                Hostname::Below(domain) => format!("below{domain}"),
                Hostname::Exact(host) => host.clone(),
            };
            let end = format!("clew-{}", digits(&format!("{gateway} {hostname}")));
            let called = ObjectName::new(namespace, name(&stem, &end, SUBDOMAIN));
            Object::new(
                API,
                "VirtualService",
                called,
                &spec,
                routes.iter().map(|route| route.owner()),
            )
        });
    at_gateways.chain(objects).collect()
}

/// One match of a rule at a gateway.
fn at_gateway(
    attached: &AttachedRule,
    sections: &BTreeSet<Section>,
    parent: &Parent,
    istio: &Istio,
) -> Vec<HttpRoute> {
    let rule = &attached.rule;
    let of_step = |step: Step<'_>| {
        let policy = Policy::of(rule, step.share, parent, istio);
        let route = json!({"destination": destination(&policy, step.share)});
        let route = (step.share.target == Target::Service).then_some(route);
        let backend = step.backend.as_deref();
        HttpRoute {
            r#match: matches(&attached.matching, sections, backend, step.upgrade),
            timeout: step.timeout_ms.map(seconds),
            ..HttpRoute::to(rule, route.into_iter().collect())
        }
    };
    steps(rule).into_iter().map(of_step).collect()
}

/// On the mesh no filter chooses a backend, so Istio deals them by weight.
fn on_mesh(service: &ObjectName, route: &AttachedRoute, istio: &Istio) -> Object {
    let http = route.rules.iter().flat_map(|attached| {
        let rule = &attached.rule;
        let is_only = rule.backends.len() == 1;
        let known: Vec<_> = rule
            .backends
            .iter()
            .filter(|share| share.target == Target::Service && (is_only || share.weight > 0))
            .collect();
        let destinations: Vec<_> = known
            .iter()
            .map(|share| {
                let to = destination(&Policy::of(rule, share, &route.parent, istio), share);
                match known.len() {
                    1 => json!({"destination": to}),
                    _ => json!({"destination": to, "weight": share.weight}),
                }
            })
            .collect();
        let timeout_ms = Some(rule.handshake_timeout_ms).filter(|ms| *ms > 0 && !known.is_empty());
        let of = |upgrade, timeout: Option<u64>| HttpRoute {
            r#match: matches(&attached.matching, &route.sections, None, upgrade),
            timeout: timeout.map(seconds),
            ..HttpRoute::to(rule, destinations.clone())
        };
        match timeout_ms {
            Some(_) => vec![of(true, timeout_ms), of(false, None)],
            None => vec![of(false, None)],
        }
    });
    let spec = Spec {
        hosts: [host(service)],
        gateways: ["mesh".to_owned()],
        http: http.collect(),
        // A route of the Service's own namespace is for all its clients, any other one for those of its own.
        export_to: [if route.name.namespace == service.namespace {
            "*"
        } else {
            "."
        }],
    };
    let end = format!("clew-{}", digits(&service.to_string()));
    let called = ObjectName::new(&route.name.namespace, name(&service.name, &end, SUBDOMAIN));
    Object::new(API, "VirtualService", called, &spec, [route.owner()])
}

impl HttpRoute {
    /// To some destinations, or nowhere: with an answer of the gateway's own Istio takes neither retries nor faults.
    fn to(rule: &Rule, route: Vec<Value>) -> Self {
        let resilience = &rule.resilience;
        let is_somewhere = !route.is_empty();
        let nowhere = json!({"status": 500, "body": {"string": "the backend does not exist\n"}});
        Self {
            name: route_name(rule),
            r#match: Vec::new(),
            route,
            direct_response: (!is_somewhere).then_some(nowhere),
            timeout: None,
            retries: is_somewhere.then(|| retries(resilience.connect_retries)),
            fault: resilience.fault.as_ref().filter(|_| is_somewhere).and_then(fault),
        }
    }
}

/// Said in any case: Istio would try again by itself. Only while nothing of the request has reached a backend, and not at the
/// pod that failed, to which the hash would lead again.
fn retries(attempts: u8) -> Value {
    if attempts == 0 {
        return json!({"attempts": 0});
    }
    json!({
        "attempts": attempts,
        "retryOn": "connect-failure,refused-stream,reset-before-request",
        "retryIgnorePreviousHosts": true,
    })
}

fn fault(fault: &Fault) -> Option<Value> {
    let mut rendered = serde_json::Map::new();
    if let Some(abort) = fault.abort {
        let abort = json!({"httpStatus": abort.status, "percentage": {"value": abort.percent}});
        rendered.insert("abort".to_owned(), abort);
    }
    if let Some(delay) = fault.delay.filter(|delay| delay.delay_ms > 0) {
        let delay = json!({"fixedDelay": seconds(delay.delay_ms), "percentage": {"value": delay.percent}});
        rendered.insert("delay".to_owned(), delay);
    }
    (!rendered.is_empty()).then(|| rendered.into())
}

/// A VirtualService's prefix is of characters, not of segments: `/ws` is the path and what begins with `/ws/`.
fn matches(
    matching: &Match,
    sections: &BTreeSet<Section>,
    backend: Option<&str>,
    upgrade: bool,
) -> Vec<HttpMatch> {
    let uris = match &matching.path {
        Path::Exact(path) => vec![Some(json!({"exact": path}))],
        Path::Prefix(prefix) if prefix.is_empty() => vec![Some(json!({"prefix": "/"}))],
        Path::Prefix(prefix) => vec![
            Some(json!({"exact": prefix})),
            Some(json!({"prefix": format!("{prefix}/")})),
        ],
        Path::Regex(expression) => vec![Some(json!({"regex": expression.as_str()}))],
    };
    let mut rest = HttpMatch {
        query_params: matching
            .query
            .iter()
            .map(|(name, pattern)| (name.clone(), text(pattern)))
            .collect(),
        ..HttpMatch::default()
    };
    if let Some(any) = matching.subprotocol_expression() {
        rest.headers
            .insert("sec-websocket-protocol".to_owned(), json!({"regex": any}));
    }
    if upgrade {
        rest.headers
            .insert("upgrade".to_owned(), json!({"regex": "(?i)websocket"}));
    }
    for (name, pattern) in &matching.headers {
        match name.as_str() {
            "host" => rest.authority = Some(text(pattern)),
            name => drop(rest.headers.insert(name.to_owned(), text(pattern))),
        }
    }
    if let Some(backend) = backend {
        rest.headers
            .insert(headers::BACKEND.to_owned(), json!({"exact": backend}));
    }
    // A port that is not narrowed down is every port.
    let all = sections.iter().any(|section| section.port.is_none());
    let ports: Vec<_> = if all {
        vec![None]
    } else {
        sections.iter().map(|section| section.port).collect()
    };
    let of_port = |port: Option<u16>| {
        let rest = &rest;
        uris.iter().map(move |uri| HttpMatch {
            uri: uri.clone(),
            port,
            ..rest.clone()
        })
    };
    ports.into_iter().flat_map(of_port).collect()
}

fn text(pattern: &Pattern) -> Value {
    match pattern {
        Pattern::Exact(value) => json!({"exact": value}),
        Pattern::Regex(expression) => json!({"regex": expression.as_str()}),
    }
}
