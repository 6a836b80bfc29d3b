//! HTTPRoutes, for Gateways of Istio's class: to second Services, because an HTTPRoute cannot name a subset.
//!
//! The name of a rule is how the filter knows it, and in an HTTPRoute each name stands once. So what a rule does in several
//! steps is in as many HTTPRoutes; Istio puts all of them in order again, by their matches.

use std::collections::BTreeMap;

use clew_filter_config::headers;
use serde::Serialize;
use serde_json::{Value, json};

use super::object::{Object, SUBDOMAIN, name};
use super::policy::Policy;
use super::step::{Step, steps};
use crate::model::{
    Hostname, Istio, IstioRoute, Match, ObjectName, Parent, Path, Pattern, Rule, RuleId, Section, Target,
};
use crate::render::rules::route_name;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_refs: Vec<ParentRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hostnames: Vec<String>,
    rules: Vec<HttpRule>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParentRef {
    namespace: String,
    name: String,
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
    /// None: Istio answers with 500.
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

pub(super) fn objects(istio: &Istio) -> Vec<Object> {
    istio
        .routes
        .iter()
        .filter(|route| matches!(route.parent, Parent::IstioClass(_)))
        .fold(BTreeMap::<_, Vec<&IstioRoute>>::new(), |mut by_name, route| {
            by_name.entry(&route.name).or_default().push(route);
            by_name
        })
        .into_values()
        .flat_map(|at_parents| of_route(&at_parents, istio))
        .collect()
}

/// One route, at all its parents of this kind.
fn of_route(at_parents: &[&IstioRoute], istio: &Istio) -> Vec<Object> {
    let Some(route) = at_parents.first() else {
        return Vec::new();
    };
    let mut rules: Vec<(&Rule, Vec<&Match>)> = Vec::new();
    let mut known: BTreeMap<&RuleId, usize> = BTreeMap::new();
    for attached in &route.rules {
        let at = *known.entry(&attached.rule.id).or_insert_with(|| {
            rules.push((&attached.rule, Vec::new()));
            rules.len() - 1
        });
        rules[at].1.push(&attached.matching);
    }
    let mut by_step: Vec<Vec<HttpRule>> = Vec::new();
    for (rule, matches) in &rules {
        for (i, step) in steps(rule).into_iter().enumerate() {
            if by_step.len() == i {
                by_step.push(Vec::new());
            }
            by_step[i].push(HttpRule::of(rule, matches, &step, route, istio));
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
    let several = by_step.len() > 1;
    let object = |(i, rules): (usize, Vec<HttpRule>)| {
        let spec = Spec {
            parent_refs: parent_refs.clone(),
            hostnames: hostnames.clone(),
            rules,
        };
        let end = if several {
            format!("clew-{i}")
        } else {
            "clew".to_owned()
        };
        let called = ObjectName::new(&route.name.namespace, name(&route.name.name, &end, SUBDOMAIN));
        Object::new(
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            called,
            &spec,
            [route.name.clone()],
        )
    };
    by_step.into_iter().enumerate().map(object).collect()
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
    fn of(rule: &Rule, matches: &[&Match], step: &Step<'_>, route: &IstioRoute, istio: &Istio) -> Self {
        let second =
            Policy::of(rule, step.share, &route.parent, istio).second_service(&step.share.id.service);
        let backend = json!({"namespace": second.namespace, "name": second.name, "port": step.share.id.port});
        Self {
            name: route_name(rule),
            matches: matches
                .iter()
                .map(|matching| HttpMatch::of(matching, step))
                .collect(),
            backend_refs: if step.share.target == Target::Missing {
                Vec::new()
            } else {
                vec![backend]
            },
            timeouts: step.timeout_ms.map(|ms| json!({"request": duration(ms)})),
        }
    }
}

impl HttpMatch {
    fn of(matching: &Match, step: &Step<'_>) -> Self {
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
        if step.upgrade && !is_written {
            regex("upgrade", "(?i)websocket".to_owned());
        }
        if let Some(backend) = &step.backend {
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
fn duration(ms: u64) -> String {
    clew_crds::Duration::from_millis(ms).to_string()
}
