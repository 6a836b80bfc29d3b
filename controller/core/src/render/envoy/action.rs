//! What a route does with a handshake: the same for all matches of a rule.

use clew_filter_config::headers;
use clew_filter_config::rule::KeySource;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{cluster, jwt, seconds};
use crate::model::{BackendShare, ObjectName, Resilience, Rule, Target};
use crate::render::rules;

/// The actions of a rule's routes.
pub(super) struct Actions {
    /// The name that all its routes bear.
    pub(super) name: String,
    /// In the order in which they are tried.
    pub(super) steps: Vec<Step>,
    /// What they say to filters, by the filters' names.
    pub(super) per_filter: Map<String, Value>,
}

/// What is done with some of the handshakes that match.
pub(super) struct Step {
    /// With those for which the filter chose this backend; None: with all.
    pub(super) backend: Option<String>,
    /// Only with upgrades to WebSocket, not with plain HTTP.
    pub(super) upgrade: bool,
    /// This is done.
    pub(super) action: Action,
}

/// A route's action, under the name of its field.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Route(RouteAction),
    DirectResponse(Value),
}

#[derive(Clone, Serialize)]
pub(super) struct RouteAction {
    cluster: String,
    /// For a session it ends with the 101.
    timeout: String,
    hash_policy: Vec<HashPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<Value>,
}

#[derive(Clone, Serialize)]
struct HashPolicy {
    #[serde(flatten)]
    on: HashOn,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    terminal: bool,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
enum HashOn {
    Header { header_name: String },
    Cookie { name: String },
    QueryParameter { name: String },
    ConnectionProperties { source_ip: bool },
}

impl Actions {
    pub(super) fn of(gateway: &ObjectName, rule: &Rule) -> Self {
        let mut steps = Vec::new();
        if rule.backends.len() > 1 {
            for share in &rule.backends {
                steps.extend(Step::of(rule, share, Some(share.id.to_string())));
            }
        }
        // The heaviest that exists, of equal ones the first.
        let first = rule
            .backends
            .iter()
            .rev()
            .max_by_key(|share| (share.target == Target::Service, share.weight));
        steps.extend(first.into_iter().flat_map(|share| Step::of(rule, share, None)));
        Self {
            name: rules::route_name(rule),
            steps,
            per_filter: fault(&rule.resilience)
                .into_iter()
                .chain(rule.jwt.as_ref().map(|provider| jwt::of_route(gateway, provider)))
                .collect(),
        }
    }
}

impl Step {
    /// The timeout is that of handshakes: an answer to plain HTTP, such as a long poll, may take longer.
    fn of(rule: &Rule, share: &BackendShare, backend: Option<String>) -> Vec<Self> {
        let all = |action| Self {
            backend: backend.clone(),
            upgrade: false,
            action,
        };
        match Action::of(rule, share) {
            Action::Route(route) if route.timeout != NEVER => {
                let plain = RouteAction {
                    timeout: NEVER.to_owned(),
                    ..route.clone()
                };
                vec![
                    Self {
                        upgrade: true,
                        ..all(Action::Route(route))
                    },
                    all(Action::Route(plain)),
                ]
            }
            action => vec![all(action)],
        }
    }
}

/// No timeout, where Envoy would have one by default.
const NEVER: &str = "0s";

impl Action {
    fn of(rule: &Rule, share: &BackendShare) -> Self {
        if share.target == Target::Missing {
            return Self::DirectResponse(json!({
                "status": 500,
                "body": {"inline_string": format!("backend {} does not exist\n", share.id)},
            }));
        }
        let retries = Some(rule.resilience.connect_retries).filter(|retries| *retries > 0);
        Self::Route(RouteAction {
            cluster: cluster::name(rule, share),
            timeout: seconds(rule.handshake_timeout_ms),
            hash_policy: hash_policy(rule),
            retry_policy: retries.map(retry_policy),
        })
    }
}

/// The filter's choice; where there is no filter, the first source that Envoy can read by itself.
fn hash_policy(rule: &Rule) -> Vec<HashPolicy> {
    let native = rule.session_key.iter().find_map(|source| match source {
        KeySource::Cookie { name } => Some(HashOn::Cookie { name: name.clone() }),
        KeySource::Header { name } => Some(HashOn::Header {
            header_name: name.clone(),
        }),
        KeySource::QueryParam { name } => Some(HashOn::QueryParameter { name: name.clone() }),
        KeySource::SourceIp { trusted_hops: 0 } => Some(HashOn::ConnectionProperties { source_ip: true }),
        _ => None,
    });
    let ours = HashOn::Header {
        header_name: headers::HOST.to_owned(),
    };
    let mut policy = vec![HashPolicy {
        on: ours,
        terminal: true,
    }];
    policy.extend(native.map(|on| HashPolicy { on, terminal: false }));
    policy
}

/// So many slots of Maglev's table are looked at for a host that has not failed yet, each beside the last. All keys of a host have one slot, and every
/// retry looks at the same ones: were all of them that host's, no retry for any of its keys would help. Of two hosts that is so once in 2^n.
const SLOTS: u32 = 32;

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
        "host_selection_retry_max_attempts": SLOTS,
    })
}

fn fault(resilience: &Resilience) -> Option<(String, Value)> {
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
    Some((super::listener::FAULT.to_owned(), rendered.into()))
}
