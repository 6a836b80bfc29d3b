//! Envoy's way through a route configuration: the most specific virtual host, and in it the first route that matches.

use super::Request;
use crate::model::{Listener, Match, Parent, Pattern, Rule, World};

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
    let of_others = || {
        let mut gateways = world.filtered().into_iter().filter(|_| has_gateways);
        gateways.find_map(|gateway| at_gateway(world, gateway, request, host.as_deref()))
    };
    match found.map(|route| &*route.rule).or_else(of_others) {
        Some(rule) => Ok(rule),
        None => Err(match host {
            Some(host) => format!(
                "no route for host {host} matches the path, the headers, the query and the subprotocols: 404"
            ),
            None => "no route matches the path, the headers, the query and the subprotocols: 404".to_owned(),
        }),
    }
}

/// The rule whose route takes a request at a gateway of others: there too the most specific host alone is looked into.
fn at_gateway<'w>(
    world: &'w World,
    gateway: &Parent,
    request: &Request,
    host: Option<&str>,
) -> Option<&'w Rule> {
    let here = || world.attached().filter(|route| route.parent == *gateway);
    let narrowest = here()
        .flat_map(|route| &route.hostnames)
        .filter(|hostname| host.is_none_or(|host| hostname.serves(host)))
        .max_by_key(|hostname| hostname.specificity())?;
    let mut tried: Vec<_> = here()
        .filter(|route| host.is_none() || route.hostnames.contains(narrowest))
        .flat_map(|route| &route.rules)
        .collect();
    tried.sort_by_cached_key(|attached| attached.matching.precedence());
    tried
        .into_iter()
        .find(|attached| takes(&attached.matching, request))
        .map(|attached| &*attached.rule)
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
