//! Envoy's way through a route configuration: the most specific virtual host, and in it the first route that matches.

use std::collections::BTreeSet;

use super::Request;
use crate::model::{AttachedPolicy, Hostname, Listener, Match, Parent, Pattern, Rule, World};

/// The rule whose route takes a request, or a sentence about why there is none.
pub(super) fn route<'w>(world: &'w World, request: &Request) -> Result<&'w Rule, String> {
    let host = request
        .headers
        .iter()
        .find(|(name, _)| name == "host")
        .map(|(_, value)| value.as_slice());
    let host = host.map(String::from_utf8_lossy);
    let listeners: Vec<&Listener> = world
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.listeners)
        .filter(|listener| request.listener.is_none_or(|address| address == listener.address))
        .collect();
    let has_gateways = !world.filtered().is_empty() && request.listener.is_none();
    if listeners.is_empty() && !has_gateways {
        return Err(match request.listener {
            Some(address) => format!("nothing listens on {address}"),
            None => "there is no listener at all".to_owned(),
        });
    }
    let found = listeners.iter().find_map(|listener| {
        // Asked about no host in particular, any will do.
        let mut hosts = listener
            .virtual_hosts
            .iter()
            .filter(|virtual_host| {
                host.as_ref()
                    .is_none_or(|host| virtual_host.hostname.serves(host))
            })
            .take(if host.is_some() { 1 } else { usize::MAX });
        hosts.find_map(|virtual_host| {
            virtual_host
                .routes
                .iter()
                .find(|route| takes(&route.matching, request))
        })
    });
    if let Some(route) = found {
        return Ok(&route.rule);
    }
    let gateways = world.filtered().into_iter().filter(|_| has_gateways);
    let mut taken: Vec<_> = gateways
        .filter_map(|gateway| at_gateway(world, gateway, request, host.as_deref()))
        .collect();
    // Whoever asks about no gateway in particular means one where it comes to a rule of ours.
    taken.sort_by_key(Result::is_err);
    let elsewhere = match has_gateways {
        true => "; an HTTPRoute that no WebSocketPolicy is for may take it",
        false => "",
    };
    taken.into_iter().next().unwrap_or_else(|| {
        Err(match host {
            Some(host) => format!(
                "no route for host {host} matches the path, the headers, the query and the subprotocols: 404{elsewhere}"
            ),
            None => format!("no route matches the path, the headers, the query and the subprotocols: 404{elsewhere}"),
        })
    })
}

/// A way to a rule at a gateway of others.
struct Candidate<'w> {
    hostnames: &'w BTreeSet<Hostname>,
    matching: &'w Match,
    /// Or whose rule it is that is none of ours.
    rule: Result<&'w Rule, &'w AttachedPolicy>,
}

/// What takes a request at a gateway of others, a rule of ours or a sentence about whose it is: there too the most specific host alone is
/// looked into.
fn at_gateway<'w>(
    world: &'w World,
    gateway: &Parent,
    request: &Request,
    host: Option<&str>,
) -> Option<Result<&'w Rule, String>> {
    let of_routes = world.attached().filter(|route| route.parent == *gateway);
    let of_routes = of_routes.flat_map(|route| {
        route.rules.iter().map(|attached| Candidate {
            hostnames: &route.hostnames,
            matching: &attached.matching,
            rule: Ok(&*attached.rule),
        })
    });
    let of_policies = world.policies().filter(|policy| policy.parent == *gateway);
    let of_policies = of_policies.flat_map(|policy| {
        policy.ways.iter().map(move |way| Candidate {
            hostnames: &policy.hostnames,
            matching: &way.matching,
            rule: way.rule.as_deref().ok_or(policy),
        })
    });
    let all: Vec<_> = of_routes.chain(of_policies).collect();
    let narrowest = all
        .iter()
        .flat_map(|one| one.hostnames)
        .filter(|hostname| host.is_none_or(|host| hostname.serves(host)))
        .max_by_key(|hostname| hostname.specificity())?;
    let mut tried: Vec<_> = all
        .iter()
        .filter(|one| host.is_none() || one.hostnames.contains(narrowest))
        .collect();
    // Two policies for parts of an HTTPRoute both know all ways into it.
    tried.sort_by_cached_key(|one| (one.matching.precedence(), one.rule.is_err()));
    let first = tried.into_iter().find(|one| takes(one.matching, request))?;
    Some(first.rule.map_err(|policy| {
        let (namespace, http_route) = (&policy.name.namespace, &policy.http_route);
        format!(
            "HTTPRoute {namespace}/{http_route} takes it at {gateway} by a rule that no WebSocketPolicy is for: its sessions have no keys"
        )
    }))
}

fn takes(matching: &Match, request: &Request) -> bool {
    let target = request.target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let offered = |list: &[u8]| {
        let is_one = |token: &[u8]| {
            matching
                .subprotocols
                .iter()
                .any(|one| one.as_bytes() == token.trim_ascii())
        };
        list.split(|byte| *byte == b',').any(is_one)
    };
    matching.path.takes(path.as_bytes())
        && matching
            .headers
            .iter()
            .all(|(name, pattern)| header(request, name, |value| pattern.takes(value)))
        && matching
            .query
            .iter()
            .all(|(name, pattern)| in_query(query, name, pattern))
        && (matching.subprotocols.is_empty() || header(request, "sec-websocket-protocol", offered))
}

/// Of several headers of one name, one that matches is enough (so in Envoy 1.40).
fn header(request: &Request, name: &str, matches: impl Fn(&[u8]) -> bool) -> bool {
    request
        .headers
        .iter()
        .any(|(key, value)| key == name && matches(value.trim_ascii()))
}

/// The first parameter of the name counts, as it stands: nothing is percent-decoded.
fn in_query(query: &str, name: &str, pattern: &Pattern) -> bool {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .is_some_and(|(_, value)| pattern.takes(value.as_bytes()))
}
