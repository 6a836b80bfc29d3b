//! What a route does with a handshake: the same for all matches of a rule.

use clew_filter_config::headers;
use clew_filter_config::rule::KeySource;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{cluster, seconds};
use crate::model::{BackendShare, Resilience, Rule, Target};
use crate::render::rules;

/// The actions of a rule's routes.
pub(super) struct Actions {
    /// The name that all its routes bear.
    pub(super) name: String,
    /// By backend; the last one is for whatever names none.
    by_backend: Vec<(Option<String>, Action)>,
    /// For the fault filter.
    pub(super) fault: Option<Value>,
}

/// A route's action, under the name of its field.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Route(Value),
    DirectResponse(Value),
}

impl Actions {
    pub(super) fn of(rule: &Rule) -> Self {
        let mut by_backend: Vec<_> = rule
            .backends
            .iter()
            .map(|share| (Some(share.id.to_string()), Action::of(rule, share)))
            .collect();
        let first = rule
            .backends
            .iter()
            .zip(&by_backend)
            .rev()
            .max_by_key(|(share, _)| (share.target == Target::Service, share.weight));
        let first = first.map(|(_, (_, action))| (None, action.clone()));
        if rule.backends.len() == 1 {
            by_backend.clear();
        }
        by_backend.extend(first);
        Self {
            name: rules::route_name(rule),
            by_backend,
            fault: fault(&rule.resilience),
        }
    }

    /// Each with the backend that it is for.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (Option<&str>, &Action)> {
        self.by_backend
            .iter()
            .map(|(backend, action)| (backend.as_deref(), action))
    }
}

impl Action {
    fn of(rule: &Rule, share: &BackendShare) -> Self {
        if share.target == Target::Missing {
            return Self::DirectResponse(json!({
                "status": 500,
                "body": {"inline_string": format!("backend {} does not exist\n", share.id)},
            }));
        }
        let mut route = Map::new();
        route.insert("cluster".to_owned(), cluster::name(rule, share).into());
        // It ends with the 101. 0s: no timeout.
        route.insert("timeout".to_owned(), seconds(rule.handshake_timeout_ms).into());
        if rule.idle_timeout_ms > 0 {
            route.insert("idle_timeout".to_owned(), seconds(rule.idle_timeout_ms).into());
        }
        route.insert("hash_policy".to_owned(), hash_policy(rule));
        if rule.resilience.connect_retries > 0 {
            route.insert(
                "retry_policy".to_owned(),
                retry_policy(rule.resilience.connect_retries),
            );
        }
        Self::Route(route.into())
    }
}

/// The filter's choice; where there is no filter, the first source that Envoy can read by itself.
fn hash_policy(rule: &Rule) -> Value {
    let native = rule.session_key.iter().find_map(|source| match source {
        KeySource::Cookie { name } => Some(json!({"cookie": {"name": name}})),
        KeySource::Header { name } => Some(json!({"header": {"header_name": name}})),
        KeySource::QueryParam { name } => Some(json!({"query_parameter": {"name": name}})),
        KeySource::SourceIp { trusted_hops: 0 } => {
            Some(json!({"connection_properties": {"source_ip": true}}))
        }
        _ => None,
    });
    let ours = json!({"header": {"header_name": headers::HOST}, "terminal": true});
    Value::Array([Some(ours), native].into_iter().flatten().collect())
}

/// Only while nothing of the request has reached a backend. A retry by hash would meet the same host again, so hosts that
/// failed are passed over.
fn retry_policy(retries: u8) -> Value {
    json!({
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": retries,
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": 5,
    })
}

fn fault(resilience: &Resilience) -> Option<Value> {
    let fault = resilience.fault.as_ref()?;
    let percentage = |percent: u8| json!({"numerator": percent, "denominator": "HUNDRED"});
    let mut rendered = Map::new();
    rendered.insert("@type".to_owned(), super::listener::FAULT_TYPE.into());
    if let Some(abort) = fault.abort {
        let abort = json!({"http_status": abort.status, "percentage": percentage(abort.percent)});
        rendered.insert("abort".to_owned(), abort);
    }
    if let Some(delay) = fault.delay.filter(|delay| delay.delay_ms > 0) {
        let delay = json!({"fixed_delay": seconds(delay.delay_ms), "percentage": percentage(delay.percent)});
        rendered.insert("delay".to_owned(), delay);
    }
    Some(json!({super::listener::FAULT: rendered}))
}
