//! HTTPRoutes, for whoever carries out Gateway API.
//!
//! The name of a rule is how the filter knows it, and in an HTTPRoute each name stands once. So what a rule does in several
//! steps is in as many HTTPRoutes; gateways put all of them in order again, by their matches.

use std::collections::BTreeMap;

use clew_filter_config::headers;
use serde::Serialize;
use serde_json::{Value, json};

use super::object::{Object, SUBDOMAIN, name};
use super::rules::route_name;
use super::step::steps;
use crate::model::{
    AttachedRoute, BackendShare, Hostname, Match, ObjectName, Path, Pattern, Rule, RuleId, Section, Target,
};
use smol_str::SmolStr;

/// A rule of an HTTPRoute: what is done with some of the handshakes that a rule takes.
pub(super) struct Part {
    /// The end of the HTTPRoute's name.
    pub(super) into: String,
    /// The name of the HTTPRoute's rule.
    pub(super) name: String,
    /// Only with those for which the filter chose this backend.
    pub(super) backend: Option<String>,
    /// Only with upgrades to WebSocket.
    pub(super) upgrade: bool,
    /// Milliseconds.
    pub(super) timeout_ms: Option<u64>,
    /// Empty: they are answered with 500.
    pub(super) backend_refs: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    parent_refs: &'a [ParentRef],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hostnames: &'a [String],
    rules: Vec<HttpRule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParentRef {
    namespace: SmolStr,
    name: SmolStr,
    #[serde(skip_serializing_if = "Option::is_none")]
    section_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpRule {
    name: String,
    matches: Vec<HttpMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backend_refs: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeouts: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HttpMatch {
    path: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query_params: Vec<Value>,
}

/// The steps of a route's rules. Rules of which each has its own `stem` do not share an HTTPRoute, and what a step's handshakes
/// go to is a Service, `to`.
pub(super) fn in_steps(
    route: &AttachedRoute,
    stem: impl Fn(&Rule) -> String,
    to: impl Fn(&Rule, &BackendShare) -> ObjectName,
) -> impl Fn(&Rule) -> Vec<Part> {
    let several = route.rules.iter().any(|attached| steps(&attached.rule).len() > 1);
    move |rule| {
        let part = |(i, step): (usize, super::step::Step<'_>)| Part {
            into: match several {
                true => format!("{}-{i}", stem(rule)),
                false => stem(rule),
            },
            name: route_name(rule),
            backend: step.backend,
            upgrade: step.upgrade,
            timeout_ms: step.timeout_ms,
            backend_refs: match step.share.target {
                Target::Missing => Vec::new(),
                Target::Service => vec![backend_ref(&to(rule, step.share), step.share.id.port)],
            },
        };
        steps(rule).into_iter().enumerate().map(part).collect()
    }
}

pub(super) fn backend_ref(service: &ObjectName, port: u16) -> Value {
    json!({"namespace": service.namespace, "name": service.name, "port": port})
}

/// Each route with all its parents, in the order of their names.
pub(super) fn by_name<'a>(
    routes: impl Iterator<Item = &'a AttachedRoute>,
) -> BTreeMap<&'a ObjectName, Vec<&'a AttachedRoute>> {
    routes.fold(BTreeMap::<_, Vec<_>>::new(), |mut by_name, route| {
        by_name.entry(&route.name).or_default().push(route);
        by_name
    })
}

/// One route, at all its parents of a kind.
pub(super) fn of_route(at_parents: &[&AttachedRoute], parts: impl Fn(&Rule) -> Vec<Part>) -> Vec<Object> {
    let Some(route) = at_parents.first() else {
        return Vec::new();
    };
    let mut called: Vec<(String, Vec<HttpRule>)> = Vec::new();
    for (rule, matches) in rules(route) {
        for part in parts(rule) {
            let at = called.iter().position(|(into, _)| *into == part.into);
            let at = at.unwrap_or_else(|| {
                called.push((part.into.clone(), Vec::new()));
                called.len() - 1
            });
            called[at].1.push(HttpRule::of(part, &matches));
        }
    }
    let parent_refs: Vec<_> = at_parents
        .iter()
        .flat_map(|at| {
            at.sections
                .iter()
                .map(|section| ParentRef::of(at.parent.name(), section))
        })
        .collect();
    let hostnames: Vec<_> = route
        .hostnames
        .iter()
        .filter(|hostname| **hostname != Hostname::Any)
        .map(ToString::to_string)
        .collect();
    let object = |(into, rules): (String, Vec<HttpRule>)| {
        let spec = Spec {
            parent_refs: &parent_refs,
            hostnames: &hostnames,
            rules,
        };
        Object::new(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            object_name(&route.name, &into),
            &spec,
            [route.owner()],
        )
    };
    called.into_iter().map(object).collect()
}

/// What an HTTPRoute, and a policy for it, of a route is called.
pub(super) fn object_name(route: &ObjectName, end: &str) -> ObjectName {
    ObjectName::new(&route.namespace, name(&route.name, end, SUBDOMAIN))
}

/// The rules in the order in which they are tried first, each with all its matches.
pub(super) fn rules(route: &AttachedRoute) -> Vec<(&Rule, Vec<&Match>)> {
    let mut rules: Vec<(&Rule, Vec<&Match>)> = Vec::new();
    let mut known: BTreeMap<&RuleId, usize> = BTreeMap::new();
    for attached in &route.rules {
        let at = *known.entry(&attached.rule.id).or_insert_with(|| {
            rules.push((&attached.rule, Vec::new()));
            rules.len() - 1
        });
        rules[at].1.push(&attached.matching);
    }
    rules
}

impl ParentRef {
    fn of(gateway: &ObjectName, section: &Section) -> Self {
        Self {
            namespace: gateway.namespace.clone(),
            name: gateway.name.clone(),
            section_name: section.name.clone(),
            port: section.port,
        }
    }
}

impl HttpRule {
    fn of(part: Part, matches: &[&Match]) -> Self {
        Self {
            matches: matches
                .iter()
                .map(|matching| HttpMatch::of(matching, &part))
                .collect(),
            name: part.name,
            backend_refs: part.backend_refs,
            timeouts: part.timeout_ms.map(|ms| json!({"request": duration(ms)})),
        }
    }
}

impl HttpMatch {
    fn of(matching: &Match, part: &Part) -> Self {
        let path = match &matching.path {
            Path::Exact(path) => json!({"type": "Exact", "value": path}),
            Path::Prefix(prefix) if prefix.is_empty() => json!({"type": "PathPrefix", "value": "/"}),
            Path::Prefix(prefix) => json!({"type": "PathPrefix", "value": prefix}),
            Path::Regex(expression) => json!({"type": "RegularExpression", "value": expression.as_str()}),
        };
        let mut headers: Vec<_> = matching.headers.iter().map(named).collect();
        let mut regex = |name: &str, value: String| {
            headers.push(json!({"type": "RegularExpression", "name": name, "value": value}));
        };
        if let Some(any) = matching.subprotocol_expression() {
            regex("sec-websocket-protocol", any);
        }
        let is_written = matching.headers.iter().any(|(name, _)| name == "upgrade");
        if part.upgrade && !is_written {
            regex("upgrade", "(?i)websocket".to_owned());
        }
        if let Some(backend) = &part.backend {
            headers.push(json!({"type": "Exact", "name": headers::BACKEND, "value": backend}));
        }
        Self {
            path,
            headers,
            query_params: matching.query.iter().map(named).collect(),
        }
    }
}

fn named((name, pattern): &(String, Pattern)) -> Value {
    match pattern {
        Pattern::Exact(value) => json!({"type": "Exact", "name": name, "value": value}),
        Pattern::Regex(expression) => {
            json!({"type": "RegularExpression", "name": name, "value": expression.as_str()})
        }
    }
}

/// As GEP-2257 has it: at most five digits of each unit.
pub(super) fn duration(ms: u64) -> String {
    clew_crds::Duration::from_millis(ms).to_string()
}
