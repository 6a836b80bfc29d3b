//! What stands around: ports, timeouts, limits, whom HAProxy let in, and what says nothing about WebSockets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Listener, Plan, Rule};
use super::super::policy::{duration, millis};
use super::Proxies;
use super::syntax::{Line, Section};

/// The ports of a frontend, which become listeners.
pub(super) fn bind(all: &Proxies, section: &Section, plan: &mut Plan, ledger: &mut Ledger) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for line in all.own(section, "bind") {
        let is_tls = line.words.iter().any(|word| word == "ssl");
        let mut outcome = (Outcome::Carried, "a listener".to_owned());
        if line.words.iter().any(|word| word == "accept-proxy") {
            let note = "the PROXY protocol is not read: the client's address would be the balancer's";
            outcome = (Outcome::Cannot, note.to_owned());
        }
        for address in line.word(1).split(',') {
            let (host, port) = address.rsplit_once(':').unwrap_or(("", ""));
            let range = port.split_once('-').unwrap_or((port, port));
            let (Ok(first), Ok(last)) = (range.0.parse::<u16>(), range.1.parse::<u16>()) else {
                outcome = (
                    Outcome::Cannot,
                    format!("{address:?} is no TCP port that a Gateway listens on"),
                );
                continue;
            };
            if first == 0 || last < first || last - first >= 16 {
                outcome = (Outcome::Cannot, format!("{address:?}: too many ports"));
                continue;
            }
            let ip: Option<IpAddr> = host
                .trim_start_matches("ipv4@")
                .trim_matches(['[', ']'])
                .parse()
                .ok();
            let ip = ip.filter(|ip| !ip.is_unspecified());
            for port in first..=last {
                let listener = plan.listeners.entry(port).or_insert_with(|| Listener {
                    address: ip,
                    ..Listener::default()
                });
                if listener.address != ip {
                    listener.address = None;
                }
                if is_tls {
                    if !listener.is_tls {
                        let remark = super::super::tls_remark(&ledger.place(line.id), port);
                        listener.remarks.push(remark);
                    }
                    listener.is_tls = true;
                    outcome = (
                        Outcome::Cannot,
                        "TLS needs its certificate in a Secret: until then the listener is plain, on 127.0.0.1 only".to_owned(),
                    );
                }
                ports.insert(port);
            }
        }
        ledger.say(line.id, outcome.0, outcome.1);
    }
    if ports.is_empty() {
        ports.insert(80);
    }
    ports
}

/// What the frontend and the backend of a rule say beside servers and keys.
pub(super) fn speak_of_rule(
    all: &Proxies,
    frontend: &Section,
    backend: &Section,
    rule: &mut Rule,
    ledger: &mut Ledger,
) {
    idle(all, frontend, backend, rule, ledger);
    if let Some(line) = all.timeout(backend, "connect") {
        match millis(line.word(2), 1).filter(|ms| *ms > 0) {
            Some(ms) => {
                rule.policy.map("timeouts").set("handshake", duration(ms));
                let note = "timeouts.handshake: to the server's 101, not only to its TCP";
                ledger.say(line.id, Outcome::Approximated, note);
            }
            None => ledger.say(line.id, Outcome::Cannot, "this is no duration"),
        }
    }
    if let Some(line) = all.nearest(frontend, "maxconn") {
        match line.word(1).parse::<u32>() {
            Ok(most @ 1..) => {
                let limits = rule.policy.map("limits");
                if limits.get("maxConnectionsPerProxy").is_none() {
                    limits.set("maxConnectionsPerProxy", most.min(10_000_000));
                }
                let note = "limits.maxConnectionsPerProxy of each rule; beyond it handshakes are refused, nothing waits";
                ledger.say(line.id, Outcome::Approximated, note);
            }
            _ => ledger.say(line.id, Outcome::Cannot, "this is no number of connections"),
        }
    }
    let sections = if frontend.name == backend.name && frontend.kind == backend.kind {
        vec![frontend]
    } else {
        vec![frontend, backend]
    };
    for section in sections {
        for line in &section.lines {
            decided(line, rule, ledger);
        }
    }
}

fn idle(all: &Proxies, frontend: &Section, backend: &Section, rule: &mut Rule, ledger: &mut Ledger) {
    let tunnel = all
        .timeout(backend, "tunnel")
        .or_else(|| all.timeout(frontend, "tunnel"));
    if let Some(line) = tunnel {
        match millis(line.word(2), 1) {
            Some(ms) => {
                rule.policy.map("timeouts").set("idle", duration(ms));
                ledger.say(line.id, Outcome::Carried, "timeouts.idle");
            }
            None => ledger.say(line.id, Outcome::Cannot, "this is no duration"),
        }
    }
    let mut shortest: Option<u64> = None;
    for line in [all.timeout(frontend, "client"), all.timeout(backend, "server")]
        .into_iter()
        .flatten()
    {
        let Some(ms) = millis(line.word(2), 1) else {
            ledger.say(line.id, Outcome::Cannot, "this is no duration");
            continue;
        };
        if tunnel.is_some() {
            ledger.say(
                line.id,
                Outcome::Irrelevant,
                "timeout tunnel holds for WebSockets",
            );
        } else {
            shortest = Some(shortest.map_or(ms, |other| other.min(ms)));
            let note =
                "timeouts.idle, the shorter of timeout client and timeout server: there is no timeout tunnel";
            ledger.say(line.id, Outcome::Approximated, note);
        }
    }
    if let Some(ms) = shortest {
        rule.policy.map("timeouts").set("idle", duration(ms));
        rule.policy.remark_on(
            "timeouts",
            "DECIDE: without timeout tunnel HAProxy cut sessions that were idle for this long, and so does this. 0s never does.",
        );
    }
}

/// What HAProxy decided before a server was asked.
fn decided(line: &Line, rule: &mut Rule, ledger: &mut Ledger) {
    let action = line.word(1);
    let guards = match line.word(0) {
        "http-request" => matches!(
            action,
            "deny" | "tarpit" | "auth" | "reject" | "silent-drop" | "return" | "redirect" | "use-service"
        ),
        "tcp-request" => {
            matches!(line.word(2), "reject" | "silent-drop")
                || action == "content" && line.word(2) == "reject"
        }
        "block" | "redirect" => true,
        _ => false,
    };
    let is_redirect = action == "redirect" || line.word(0) == "redirect";
    let note = if is_redirect {
        "handshakes are not redirected: browsers would not follow"
    } else if guards && line.text().to_ascii_lowercase().contains("origin") {
        "it kept clients out by their Origin: list the good ones in security.origin.allowed"
    } else if guards {
        "it kept clients out: nothing here does"
    } else {
        return;
    };
    if !is_redirect {
        rule.policy.remark(format!(
            "DECIDE ({}): `{}`: {note}.",
            ledger.place(line.id),
            line.text()
        ));
    }
    ledger.say(line.id, Outcome::Cannot, note);
}

/// What nobody spoke of yet.
pub(super) fn speak_of_the_rest(all: &Proxies, ledger: &mut Ledger) {
    for section in &all.sections {
        let is_used = ledger.is_said(section.id);
        for line in &section.lines {
            if !ledger.is_said(line.id) {
                said(section, is_used, line, ledger);
            }
        }
        if !is_used {
            let note = match section.kind.as_str() {
                "global" | "defaults" => "its lines are below",
                "peers" => "no table is shared: every proxy computes the same server",
                "frontend" | "listen" => "it leads to no server",
                "backend" => "no frontend that speaks HTTP leads to it",
                "resolvers" | "mailers" | "cache" | "program" | "ring" | "http-errors" | "log-forward"
                | "traces" | "log-profile" => "it says nothing about WebSocket sessions",
                // What guards stays named.
                _ => continue,
            };
            ledger.say(section.id, Outcome::Irrelevant, note);
        }
    }
}

fn said(section: &Section, is_used: bool, line: &Line, ledger: &mut Ledger) {
    const NOTHING: &str = "it says nothing about WebSocket sessions";
    let word = line.word(0);
    let (outcome, note) = match (section.kind.as_str(), word) {
        ("global", "maxconn") => (
            Outcome::Cannot,
            "the whole process has no limit: limits.maxConnectionsPerProxy is a rule's",
        ),
        ("global", _)
        | (
            "peers" | "resolvers" | "mailers" | "cache" | "program" | "ring" | "http-errors" | "log-forward",
            _,
        ) => (Outcome::Irrelevant, "it says how HAProxy itself runs"),
        (_, "mode") => (Outcome::Irrelevant, "Clew speaks HTTP"),
        (
            "defaults",
            "timeout" | "maxconn" | "retries" | "balance" | "cookie" | "default-server" | "default_backend",
        ) => known_timeout(line).unwrap_or((
            Outcome::Irrelevant,
            "nothing that was translated takes it from here",
        )),
        (_, "timeout") => match known_timeout(line) {
            Some(said) => said,
            None => return,
        },
        (_, "option") => option(line),
        (_, "http-check" | "tcp-check") => (Outcome::Cannot, CHECKS),
        (
            _,
            "log" | "log-format" | "log-tag" | "errorfile" | "errorfiles" | "stats" | "description" | "id"
            | "compression" | "http-reuse" | "unique-id-format" | "unique-id-header" | "monitor-uri"
            | "backlog" | "capture" | "email-alert" | "filter" | "disabled" | "enabled" | "bind-process"
            | "errorloc" | "log-format-sd" | "declare" | "guid" | "monitor",
        ) => (Outcome::Irrelevant, NOTHING),
        (_, "http-response" | "rspadd" | "rspdel" | "rspirep" | "rsprep" | "http-after-response") => {
            (Outcome::Cannot, "answers pass as the server gave them")
        }
        (_, "http-request") if line.is(&["http-request", "set-header", "X-Forwarded-Proto"]) => {
            (Outcome::Carried, "Envoy sets X-Forwarded-Proto")
        }
        (_, "http-request" | "reqadd" | "reqdel" | "reqirep" | "reqrep" | "reqidel") => (
            Outcome::Cannot,
            "handshakes pass as the client sent them: nothing here does this",
        ),
        (_, "fullconn") => (Outcome::Cannot, "no limit moves with the load"),
        (_, "stick-table") => (
            Outcome::Cannot,
            "rates and counts of clients are not kept: limits hold for a rule, a key or a client's messages",
        ),
        ("frontend" | "listen" | "backend", _) if !is_used => {
            (Outcome::Irrelevant, "no WebSocket comes here")
        }
        _ => return,
    };
    ledger.say(line.id, outcome, note);
}

const CHECKS: &str = "servers are not asked for their health: handshakes that fail are tried elsewhere, and in a cluster readiness counts";

fn known_timeout(line: &Line) -> Option<(Outcome, &'static str)> {
    if line.word(0) != "timeout" {
        return None;
    }
    Some(match line.word(1) {
        "http-request" | "http-keep-alive" | "check" | "client-fin" | "server-fin" | "client-hs" => {
            (Outcome::Irrelevant, "it says nothing about WebSocket sessions")
        }
        "queue" => (Outcome::Irrelevant, "nothing waits in a queue"),
        "tarpit" => (Outcome::Irrelevant, "nobody is kept waiting"),
        _ => return None,
    })
}

fn option(line: &Line) -> (Outcome, &'static str) {
    let name = if line.word(1) == "no" {
        line.word(2)
    } else {
        line.word(1)
    };
    match name {
        "forwardfor" => (Outcome::Carried, "Envoy sets X-Forwarded-For"),
        "redispatch" | "persist" => (Outcome::Carried, "onBackendGone: Reassign, which is the default"),
        "httpchk" | "tcp-check" | "ssl-hello-chk" | "mysql-check" | "redis-check" | "pgsql-check" => {
            (Outcome::Cannot, CHECKS)
        }
        "originalto" | "http_proxy" | "transparent" | "splice-auto" => {
            (Outcome::Cannot, "nothing here does this")
        }
        "allbackups" => (Outcome::Cannot, "no backup takes over by itself"),
        _ => (Outcome::Irrelevant, "it says nothing about WebSocket sessions"),
    }
}
