//! nginx.conf: every `location` that passes WebSockets on becomes a rule, every `server` with one a route.

mod include;
mod location;
mod surroundings;
mod syntax;
mod upstream;
mod variable;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use include::undump;
pub(super) use syntax::{Directive, parse};
pub(super) use variable::{Maps, keys};

use super::ledger::{Ledger, Outcome};
use super::plan::{Listener, Plan, Route, label, unused};
use super::policy::is_hostname;
use location::Location;

/// What holds for all of `http`.
pub(super) struct Http<'a> {
    /// `http` blocks, and files that stand in one.
    level: Vec<&'a Directive>,
    maps: Maps<'a>,
    upstreams: BTreeMap<&'a str, &'a Directive>,
    /// `limit_conn_zone` and `limit_req_zone` by the zone's name.
    zones: BTreeMap<&'a str, &'a Directive>,
}

/// Translates what was read from one or more files, together one configuration.
pub(super) fn translate(files: &[Vec<Directive>], plan: &mut Plan, ledger: &mut Ledger) {
    let mut http = Http {
        level: Vec::new(),
        maps: Maps::new(),
        upstreams: BTreeMap::new(),
        zones: BTreeMap::new(),
    };
    let directives = include::resolve(files, ledger);
    for directive in &directives {
        match directive.name.as_str() {
            "http" => {
                ledger.say(directive.id, Outcome::Irrelevant, "its servers are below");
                http.level.extend(directive.children());
            }
            "stream" | "mail" => directive.walk(&mut |one| {
                ledger.say(
                    one.id,
                    Outcome::Cannot,
                    "no HTTP: Clew routes WebSocket handshakes",
                );
            }),
            _ => http.level.push(directive),
        }
    }
    for directive in &http.level {
        match directive.name.as_str() {
            "map" => {
                let made = directive.arguments.get(1).map_or("", String::as_str);
                http.maps.insert(made.trim_start_matches('$'), directive);
            }
            "upstream" => {
                http.upstreams.insert(directive.first(), directive);
            }
            "limit_conn_zone" | "limit_req_zone" => {
                let zone = directive.option("zone").unwrap_or_default();
                http.zones
                    .insert(zone.split(':').next().unwrap_or_default(), directive);
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    for server in http.level.iter().filter(|one| one.name == "server") {
        translate_server(&http, server, &mut names, plan, ledger);
    }
    surroundings::speak_of_the_rest(&http, ledger);
}

fn translate_server(
    http: &Http<'_>,
    server: &Directive,
    names: &mut BTreeSet<String>,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    let mut locations = Vec::new();
    Location::collect(http, server, &[], &mut locations, ledger);
    let mut route = Route::default();
    let has_expressions = locations.iter().any(Location::is_expression);
    for location in &locations {
        route.rules.extend(location.rule(has_expressions, plan, ledger));
    }
    if route.rules.is_empty() {
        let note = "no location of this server passes WebSockets on (proxy_set_header Upgrade $http_upgrade)";
        server.walk(&mut |one| {
            // What passes them on may be in there.
            if one.name == "include" {
                surroundings::speak_of_include(one, ledger);
            } else if !ledger.is_said(one.id) {
                ledger.say(one.id, Outcome::Irrelevant, note);
            }
        });
        return;
    }
    ledger.say(server.id, Outcome::Carried, "a WebSocketRoute");
    hostnames(server, &mut route, ledger);
    listen(server, &mut route, plan, ledger);
    surroundings::speak_of_server(server, &mut route, ledger);
    let name = route.hostnames.first().map_or_else(
        || {
            route
                .rules
                .first()
                .map_or("default", |rule| &rule.name)
                .to_owned()
        },
        |host| host.replace("*.", "any-"),
    );
    route.name = unused(&label(&name), names);
    plan.routes.push(route);
}

fn hostnames(server: &Directive, route: &mut Route, ledger: &mut Ledger) {
    let mut takes_all = false;
    for directive in server.children().iter().filter(|one| one.name == "server_name") {
        let mut outcome = (Outcome::Carried, "hostnames".to_owned());
        for name in &directive.arguments {
            let name = name.to_ascii_lowercase();
            let both = name.strip_prefix('.').map(str::to_owned);
            let found = match &both {
                Some(parent) => vec![parent.clone(), format!("*.{parent}")],
                None => vec![name.clone()],
            };
            if matches!(name.as_str(), "_" | "" | "localhost") || name.parse::<std::net::IpAddr>().is_ok() {
                takes_all = true;
                let note = format!("{name:?}: the route takes every host of its port");
                outcome = outcome.max((Outcome::Approximated, note));
            } else if found.iter().all(|host| is_hostname(host)) {
                found.into_iter().for_each(|host| {
                    if !route.hostnames.contains(&host) {
                        route.hostnames.push(host);
                    }
                });
            } else {
                let note = format!("{name} is no hostname of Gateway API (a name, or *. and a name)");
                route
                    .remarks
                    .push(format!("DECIDE ({}): {note}", ledger.place(directive.id)));
                outcome = (Outcome::Cannot, note);
            }
        }
        if directive.arguments.iter().all(|name| name == "_") {
            outcome.0 = Outcome::Carried;
        }
        ledger.say(directive.id, outcome.0, outcome.1);
    }
    if takes_all {
        route.hostnames.clear();
    }
}

fn listen(server: &Directive, route: &mut Route, plan: &mut Plan, ledger: &mut Ledger) {
    for directive in server.children().iter().filter(|one| one.name == "listen") {
        let written = directive.first();
        let (address, port) = match written.rsplit_once(':') {
            _ if written.starts_with("unix:") => (None, None),
            Some((address, port)) if !port.ends_with(']') => (Some(address), port.parse::<u16>().ok()),
            _ => match written.parse::<u16>() {
                Ok(port) => (None, Some(port)),
                Err(_) => (Some(written), Some(80)),
            },
        };
        let Some(port) = port.filter(|port| *port > 0) else {
            ledger.say(directive.id, Outcome::Cannot, "a Gateway listens on TCP ports");
            continue;
        };
        let is_tls = directive.has("ssl")
            || directive.has("quic")
            || server
                .children()
                .iter()
                .any(|one| one.name == "ssl" && one.first() == "on");
        let address = address.and_then(|address| address.trim_matches(['[', ']']).parse().ok());
        let address = address.filter(|address: &std::net::IpAddr| !address.is_unspecified());
        let mut outcome = (Outcome::Carried, format!("listener port-{port}"));
        if directive.has("proxy_protocol") {
            outcome = (
                Outcome::Cannot,
                "the PROXY protocol is not read: the client's address would be the balancer's".to_owned(),
            );
        }
        let listener = plan.listeners.entry(port).or_insert_with(|| Listener {
            address,
            ..Listener::default()
        });
        if address != listener.address {
            listener.address = None;
        }
        if is_tls {
            let note = super::tls_remark(&ledger.place(directive.id), port);
            if !listener.is_tls {
                listener.remarks.push(note);
            }
            listener.is_tls = true;
            outcome = (
                Outcome::Cannot,
                "TLS needs its certificate in a Secret: until then the listener is plain, on 127.0.0.1 only"
                    .to_owned(),
            );
        }
        if directive.has("default_server") && !route.hostnames.is_empty() {
            outcome = outcome.max((
                Outcome::Approximated,
                "default_server: a route with hostnames takes only those".to_owned(),
            ));
        }
        route.ports.insert(port);
        ledger.say(directive.id, outcome.0, outcome.1);
    }
    if route.ports.is_empty() {
        plan.listeners.entry(80).or_default();
        route.ports.insert(80);
    }
}
