//! RDS: one route configuration for each socket.
//!
//! A rule with one backend is one route for each of its matches. With several backends it is one for each backend, which
//! asks for that backend in `x-clew-backend` (the filter writes it and has the route looked up again), and a last one
//! without, on which the first look-up lands. Each of them is twice there where sessions have timeouts: for upgrades, and
//! without these timeouts for plain HTTP.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use clew_filter_config::headers;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::action::{Action, Actions, Step};
use super::file::{File, file_name};
use crate::model::{Gateway, Listener, Match, ObjectName, Path, Pattern, RuleId, World};
use crate::render::STREAM_BUFFER_BYTES;

/// A file for each socket, by its path.
pub(super) fn files(world: &World) -> BTreeMap<String, File> {
    let of = |gateway: &Gateway| {
        let file = |listener| (path(listener), file(&gateway.name, listener));
        gateway.listeners.iter().map(file).collect::<Vec<_>>()
    };
    world.gateways.iter().flat_map(of).collect()
}

/// Where the routes of a socket are.
pub(super) fn path(listener: &Listener) -> String {
    format!("routes/{}.json", file_name(&listener.address.to_string()))
}

#[derive(Serialize)]
struct RouteConfiguration<'a> {
    #[serde(rename = "@type")]
    r#type: &'static str,
    name: String,
    ignore_port_in_host_matching: bool,
    request_headers_to_add: Value,
    virtual_hosts: Vec<VirtualHost<'a>>,
}

#[derive(Serialize)]
struct VirtualHost<'a> {
    name: String,
    domains: [String; 1],
    request_body_buffer_limit: u32,
    routes: Vec<Route<'a>>,
}

#[derive(Serialize)]
struct Route<'a> {
    name: &'a str,
    r#match: RouteMatch<'a>,
    #[serde(flatten)]
    action: &'a Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    typed_per_filter_config: Option<&'a Map<String, Value>>,
}

fn file(gateway: &ObjectName, listener: &Listener) -> File {
    let attached = || listener.virtual_hosts.iter().flat_map(|host| &host.routes);
    let actions: HashMap<&RuleId, Actions> = attached()
        .map(|route| (&route.rule.id, &*route.rule))
        .collect::<HashMap<_, _>>()
        .into_iter()
        .map(|(id, rule)| (id, Actions::of(gateway, rule)))
        .collect();
    let virtual_hosts = listener
        .virtual_hosts
        .iter()
        .map(|host| VirtualHost {
            name: host.hostname.to_string(),
            domains: [host.hostname.to_string()],
            request_body_buffer_limit: STREAM_BUFFER_BYTES,
            routes: host
                .routes
                .iter()
                .filter_map(|route| Some((route, actions.get(&route.rule.id)?)))
                .flat_map(|(route, actions)| {
                    actions.steps.iter().map(|step| Route {
                        name: &actions.name,
                        r#match: RouteMatch::of(&route.matching, step),
                        action: &step.action,
                        typed_per_filter_config: Some(&actions.per_filter).filter(|of| !of.is_empty()),
                    })
                })
                .collect(),
        })
        .collect();
    File::new(&[RouteConfiguration {
        r#type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        name: listener.address.to_string(),
        // `Host: chat.example.com:8443` is chat.example.com.
        ignore_port_in_host_matching: true,
        // Here and not in the connection manager, so that the filter reads the list as the proxies in front wrote it.
        request_headers_to_add: json!([{
            "header": {"key": "x-forwarded-for", "value": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"},
            "append_action": "APPEND_IF_EXISTS_OR_ADD",
        }]),
        virtual_hosts,
    }])
}

#[derive(Default, Serialize)]
struct RouteMatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_separated_prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_regex: Option<Regex<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query_parameters: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    string_match: StringMatch<'a>,
}

/// One of the first two.
#[derive(Default, Serialize)]
struct StringMatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_regex: Option<Regex<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_case: bool,
}

/// Envoy wants the whole text to match.
#[derive(Serialize)]
struct Regex<'a> {
    regex: Cow<'a, str>,
}

impl<'a> Regex<'a> {
    fn new(regex: impl Into<Cow<'a, str>>) -> Self {
        Self { regex: regex.into() }
    }
}

impl<'a> Named<'a> {
    fn exact(name: &'a str, value: &'a str) -> Self {
        Self {
            name,
            string_match: StringMatch {
                exact: Some(value),
                ..StringMatch::default()
            },
        }
    }

    fn regex(name: &'a str, regex: impl Into<Cow<'a, str>>) -> Self {
        let safe_regex = Some(Regex::new(regex));
        Self {
            name,
            string_match: StringMatch {
                safe_regex,
                ..StringMatch::default()
            },
        }
    }

    fn of((name, pattern): &'a (String, Pattern)) -> Self {
        let name = if name == "host" { headers::AUTHORITY } else { name };
        match pattern {
            Pattern::Exact(value) => Self::exact(name, value),
            Pattern::Regex(expression) => Self::regex(name, expression.as_str()),
        }
    }
}

impl<'a> RouteMatch<'a> {
    fn of(matching: &'a Match, step: &'a Step) -> Self {
        let mut headers: Vec<_> = matching.headers.iter().map(Named::of).collect();
        headers.extend(
            matching
                .subprotocol_expression()
                .map(|any| Named::regex("sec-websocket-protocol", any)),
        );
        headers.extend(
            step.backend
                .as_deref()
                .map(|backend| Named::exact(headers::BACKEND, backend)),
        );
        if step.upgrade {
            let mut upgrade = Named::exact("upgrade", "websocket");
            upgrade.string_match.ignore_case = true;
            headers.push(upgrade);
        }
        let query_parameters = matching.query.iter().map(Named::of).collect();
        let rest = Self {
            headers,
            query_parameters,
            ..Self::default()
        };
        match &matching.path {
            Path::Exact(path) => Self {
                path: Some(path),
                ..rest
            },
            Path::Prefix(prefix) if prefix.is_empty() => Self {
                prefix: Some("/"),
                ..rest
            },
            Path::Prefix(prefix) => Self {
                path_separated_prefix: Some(prefix),
                ..rest
            },
            Path::Regex(expression) => Self {
                safe_regex: Some(Regex::new(expression.as_str())),
                ..rest
            },
        }
    }
}
