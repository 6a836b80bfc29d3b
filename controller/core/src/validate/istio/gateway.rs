//! Istio's own Gateway: servers with ports, and hosts that may be for one namespace only.

use super::at;
use crate::model::{Hostname, Parent};
use crate::objects::{IstioGateway, Server};
use crate::refusal::Code;
use crate::validate::listeners::Place;
use crate::validate::parents::{NoPlace, no_place};

/// Where the hosts of a route are looked up; never empty.
pub(in crate::validate) fn places(
    parent: &Parent,
    gateway: &IstioGateway,
    namespace: &str,
    port: Option<u16>,
    hostnames: &[Hostname],
) -> Result<Vec<Place>, NoPlace> {
    let servers = &gateway.spec.servers;
    let selected: Vec<_> = servers
        .iter()
        .filter(|server| port.is_none_or(|port| port == server.port.number))
        .collect();
    if selected.is_empty() {
        let ports: Vec<_> = servers
            .iter()
            .map(|server| server.port.number.to_string())
            .collect();
        let message = format!("{parent} has no server on this port; it has {}", ports.join(", "));
        return Err(no_place(Code::SectionNotFound, ".port", message));
    }
    let suited: Vec<_> = selected
        .into_iter()
        .filter(|server| speaks_http(server))
        .collect();
    if suited.is_empty() {
        let message = format!(
            "no server of {parent} speaks HTTP, or HTTPS that ends there, without redirecting; name a port of one that does"
        );
        return Err(no_place(Code::ServerUnsuited, ".port", message));
    }
    let open: Vec<_> = suited
        .iter()
        .flat_map(|server| {
            server
                .hosts
                .iter()
                .map(|host| (server.port.number, host.as_str()))
        })
        .filter_map(|(port, host)| Some((port, open_to(host, &parent.name().namespace, namespace)?)))
        .collect();
    if open.is_empty() {
        let message = format!(
            "the servers of {parent} have no hosts for routes of namespace {namespace}; write them as */host or {namespace}/host"
        );
        return Err(no_place(Code::NamespaceNotAllowed, ".namespace", message));
    }
    let mut places: Vec<Place> = Vec::new();
    for (port, served) in &open {
        for hostname in hostnames.iter().filter_map(|wanted| wanted.intersection(served)) {
            let place = Place {
                at: at(parent, *port),
                hostname: hostname.clone(),
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    if places.is_empty() {
        let list = |hosts: &mut dyn Iterator<Item = &Hostname>| {
            hosts.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let message = format!(
            "the servers serve {}, the route wants {}; make them overlap",
            list(&mut open.iter().map(|(_, host)| host)),
            list(&mut hostnames.iter())
        );
        return Err(no_place(Code::NoMatchingHostname, "", message));
    }
    Ok(places)
}

fn speaks_http(server: &Server) -> bool {
    let tls = server.tls.as_ref();
    match server.port.protocol.to_ascii_uppercase().as_str() {
        "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => !tls.is_some_and(|tls| tls.https_redirect),
        "HTTPS" => tls
            .and_then(|tls| tls.mode.as_deref())
            .is_some_and(|mode| !mode.contains("PASSTHROUGH")),
        _ => false,
    }
}

/// The hosts that routes of a namespace may have.
fn open_to(host: &str, own: &str, namespace: &str) -> Option<Hostname> {
    let (of, host) = host.split_once('/').unwrap_or(("*", host));
    let is_open = match of {
        "*" => true,
        "." => own == namespace,
        other => other == namespace,
    };
    is_open.then(|| Hostname::new(host))
}

#[cfg(test)]
mod tests {
    use super::open_to;

    #[test]
    fn hosts_are_for_the_namespaces_that_stand_before_them() {
        for (host, open) in [
            ("chat.example.com", true),
            ("*/chat.example.com", true),
            ("shop/chat.example.com", true),
            ("./chat.example.com", false),
            ("infra/chat.example.com", false),
        ] {
            assert_eq!(open_to(host, "infra", "shop").is_some(), open, "{host}");
        }
        assert_eq!(open_to("./*", "shop", "shop").unwrap().to_string(), "*");
    }
}
