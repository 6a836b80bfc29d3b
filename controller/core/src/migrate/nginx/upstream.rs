//! An `upstream`: its servers, and how one is chosen.

use super::super::document::Map;
use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Backend, Path, Plan, Rule, label};
use super::super::policy::{Key, by_cookie, duration, is_cookie_path, is_token, millis};
use super::super::servers::{self, Written};
use super::syntax::Directive;
use super::{Http, keys, surroundings};

/// Makes the Services of an upstream, and sets what it says in a rule.
pub(super) fn apply(
    http: &Http<'_>,
    upstream: &Directive,
    path: Option<&Path>,
    hops: u32,
    rule: &mut Rule,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    ledger.say(upstream.id, Outcome::Carried, "a Service");
    rule.backends = backends(upstream, rule, plan, ledger);
    let mut is_chosen = false;
    for directive in upstream.children() {
        match directive.name.as_str() {
            "ip_hash" => {
                rule.keys = vec![Key::Address { hops }];
                let note = "sessionKey SourceIP: the whole address; ip_hash takes three quarters of an IPv4 address, so \
                            clients of one /24 shared a server and now do not";
                ledger.say(directive.id, Outcome::Approximated, note);
            }
            "hash" => match keys(directive.first(), path, &http.maps, hops) {
                Ok((keys, note)) => {
                    said_map(http, directive.first(), ledger);
                    let words: Vec<_> = keys.iter().map(Key::words).collect();
                    let mut said = format!("sessionKey: {}", words.join(", then "));
                    if !directive.has("consistent") {
                        said += "; when servers come and go, only the keys that must move do";
                    }
                    rule.keys = keys;
                    match note {
                        None => ledger.say(directive.id, Outcome::Carried, said),
                        Some(note) => {
                            let decide = format!("DECIDE ({}): {note}.", ledger.place(directive.id));
                            rule.policy.remark(decide);
                            ledger.say(directive.id, Outcome::Approximated, format!("{said}; {note}"));
                        }
                    }
                }
                Err(why) => cannot_key(directive, &why, rule, ledger),
            },
            "sticky" => sticky(http, directive, path, hops, rule, ledger),
            "sticky_cookie_insert" => persistence(directive, rule, ledger),
            "least_conn" | "least_time" => {
                let note = "LeastSessions: of two servers the one with fewer sessions";
                ledger.say(directive.id, Outcome::Carried, note);
                rule.policy.map("loadBalancer").set("type", "LeastSessions");
            }
            "random" => {
                let kind = if directive.has("two") {
                    "LeastSessions"
                } else {
                    "Random"
                };
                rule.policy.map("loadBalancer").set("type", kind);
                ledger.say(directive.id, Outcome::Carried, kind);
            }
            "include" => {
                surroundings::speak_of_include(directive, ledger);
                continue;
            }
            _ => continue,
        }
        is_chosen = true;
    }
    if !rule.keys.is_empty() && rule.policy.get("loadBalancer").is_some() {
        rule.policy.map("loadBalancer").set("type", "ConsistentHash");
    }
    if !is_chosen {
        rule.policy.map("loadBalancer").set("type", "LeastSessions");
    }
}

fn cannot_key(directive: &Directive, why: &str, rule: &mut Rule, ledger: &mut Ledger) {
    let decide = format!(
        "DECIDE ({}): {}: {why}. Without a sessionKey a session goes to a server with few sessions.",
        ledger.place(directive.id),
        directive.arguments.join(" ")
    );
    rule.policy.remark(decide);
    ledger.say(directive.id, Outcome::Cannot, format!("no sessionKey: {why}"));
}

fn sticky(
    http: &Http<'_>,
    directive: &Directive,
    path: Option<&Path>,
    hops: u32,
    rule: &mut Rule,
    ledger: &mut Ledger,
) {
    match directive.first() {
        "cookie" => persistence(directive, rule, ledger),
        "learn" => {
            let lookup: Vec<_> = directive
                .arguments
                .iter()
                .filter_map(|argument| argument.strip_prefix("lookup="))
                .collect();
            follow(
                http,
                directive,
                &lookup,
                path,
                hops,
                rule,
                ledger,
                "learned from the server's answer which one it was; here \
                 the value itself says which, so the request that makes it and the session that brings it agree only if both go \
                 through Clew, or the server takes any session",
            );
        }
        "route" => {
            let from: Vec<_> = directive.arguments.iter().skip(1).map(String::as_str).collect();
            follow(
                http,
                directive,
                &from,
                path,
                hops,
                rule,
                ledger,
                "named the server; here the value is hashed, so it keeps \
                 to one server, which is not the one that it names",
            );
        }
        other => cannot_key(directive, &format!("sticky {other} is not known"), rule, ledger),
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "what `learn` and `route` have in common"
)]
fn follow(
    http: &Http<'_>,
    directive: &Directive,
    texts: &[&str],
    path: Option<&Path>,
    hops: u32,
    rule: &mut Rule,
    ledger: &mut Ledger,
    difference: &str,
) {
    let mut found = Vec::new();
    let mut why = "it names no variable".to_owned();
    for text in texts {
        match keys(text, path, &http.maps, hops) {
            Ok((keys, _)) => {
                said_map(http, text, ledger);
                found.extend(keys);
            }
            Err(error) => why = error,
        }
    }
    found.dedup();
    found.truncate(8);
    if found.is_empty() {
        return cannot_key(directive, &why, rule, ledger);
    }
    let words: Vec<_> = found.iter().map(Key::words).collect();
    let decide = format!(
        "DECIDE ({}): sticky {} {difference}.",
        ledger.place(directive.id),
        directive.first()
    );
    rule.policy.remark(decide);
    let said = format!(
        "sessionKey: {}; sticky {} {difference}",
        words.join(", then "),
        directive.first()
    );
    ledger.say(directive.id, Outcome::Approximated, said);
    rule.keys = found;
}

/// `sticky cookie NAME [expires=] [domain=] [path=] [httponly] [secure] [samesite=]`.
fn persistence(directive: &Directive, rule: &mut Rule, ledger: &mut Ledger) {
    let name = directive.arguments.get(1).map_or("", String::as_str);
    if !is_token(name) {
        return cannot_key(directive, "the cookie has no name", rule, ledger);
    }
    let mut cookie = Map::default().with("name", name);
    let mut outcome = Outcome::Carried;
    let mut said = format!(
        "sessionPersistence by the cookie {name}, signed; HttpOnly and SameSite are set by themselves"
    );
    if let Some(path) = directive.option("path").filter(|path| is_cookie_path(path)) {
        cookie.set("path", path);
    }
    let expires = directive.option("expires").filter(|text| *text != "max");
    let lifetime = expires.and_then(|text| millis(text, 1000));
    rule.policy.set("sessionPersistence", by_cookie(cookie, lifetime));
    if directive.option("domain").is_some() {
        outcome = Outcome::Approximated;
        said += "; the cookie is the host's alone, whatever domain= said";
    }
    ledger.say(directive.id, outcome, said);
}

/// However many servers there are.
const MOST_RETRIES: u32 = 3;

fn backends(upstream: &Directive, rule: &mut Rule, plan: &mut Plan, ledger: &mut Ledger) -> Vec<Backend> {
    let mut written = Vec::new();
    let (mut sum, mut is_capped, mut failures) = (0_u32, true, None);
    for directive in upstream.children().iter().filter(|one| one.name == "server") {
        if directive.first().starts_with("unix:") {
            ledger.say(directive.id, Outcome::Cannot, "a Unix socket is no endpoint");
            continue;
        }
        written.push(Written {
            id: directive.id,
            name: None,
            address: directive.first().to_owned(),
            port: 80,
            weight: directive
                .option("weight")
                .and_then(|text| text.parse().ok())
                .filter(|weight| (1..=1_000_000).contains(weight))
                .unwrap_or(1),
            is_backup: directive.has("backup"),
            is_down: directive.has("down"),
        });
        let conns = directive
            .option("max_conns")
            .and_then(|text| text.parse::<u32>().ok());
        is_capped &= conns.is_some_and(|conns| conns > 0);
        sum = sum.saturating_add(conns.unwrap_or(0));
        let tries = directive
            .option("max_fails")
            .and_then(|text| text.parse::<u32>().ok());
        let pause = directive
            .option("fail_timeout")
            .and_then(|text| millis(text, 1000));
        if tries.is_some() || pause.is_some() {
            failures = failures.or(Some((tries.unwrap_or(1), pause.unwrap_or(10_000))));
        }
    }
    // Unless it is told otherwise, NGINX asks the next server where one cannot be connected to.
    let others = written
        .iter()
        .filter(|one| !one.is_down && !one.is_backup)
        .skip(1);
    if let Some((_, retries)) = others.zip(1..=MOST_RETRIES).last() {
        rule.policy.map("resilience").set("connectRetries", retries);
    }
    let backends = servers::services(&label(upstream.first()), &written, plan, ledger);
    let is_capped = is_capped && sum > 0;
    if is_capped {
        rule.policy
            .map("limits")
            .set("maxConnectionsPerProxy", sum.min(10_000_000));
    }
    let is_watched = matches!(failures, Some((1.., 1..)));
    if let Some((tries @ 1.., pause @ 1..)) = failures {
        rule.policy.map("resilience").set(
            "outlierDetection",
            Map::default()
                .with("consecutiveHandshakeFailures", tries.min(1000))
                .with("ejectionTime", duration(pause)),
        );
    }
    for directive in upstream.children().iter().filter(|one| one.name == "server") {
        for argument in directive.arguments.iter().skip(1) {
            let (name, _) = argument.split_once('=').unwrap_or((argument, ""));
            let (outcome, note) = match name {
                "weight" | "down" | "backup" => continue,
                "max_conns" if is_capped => (
                    Outcome::Approximated,
                    "max_conns: its sum over the servers is limits.maxConnectionsPerProxy; no server has a limit of its own",
                ),
                "max_conns" if directive.option(name) == Some("0") => continue,
                "max_fails" | "fail_timeout" if is_watched => (
                    Outcome::Approximated,
                    "max_fails and fail_timeout: resilience.outlierDetection, one for all servers, of handshakes that are answered with errors; connectRetries where no connection is had",
                ),
                "max_fails" if directive.option(name) == Some("0") => continue,
                "max_conns" => (
                    Outcome::Cannot,
                    "max_conns: not every server has one, and a server has no limit of its own",
                ),
                "slow_start" => (
                    Outcome::Cannot,
                    "slow_start: a server that comes gets its share of keys at once",
                ),
                "resolve" | "service" => (
                    Outcome::Cannot,
                    "names are not looked up: in a cluster use its Service",
                ),
                "route" => (
                    Outcome::Approximated,
                    "route=: servers are found by hash, not by this name",
                ),
                _ => {
                    ledger.say(
                        directive.id,
                        Outcome::Cannot,
                        format!("{argument} is not understood"),
                    );
                    continue;
                }
            };
            ledger.say(directive.id, outcome, note);
        }
    }
    backends
}

/// The maps that a text uses are carried with it.
fn said_map(http: &Http<'_>, text: &str, ledger: &mut Ledger) {
    for name in super::variable::variables(text) {
        if let Some(map) = http.maps.get(name.as_str())
            && !ledger.is_said(map.id)
        {
            map.walk(&mut |one| ledger.say(one.id, Outcome::Carried, format!("${name} in the sessionKey")));
            said_map(http, map.first(), ledger);
            map.children()
                .iter()
                .for_each(|entry| said_map(http, entry.first(), ledger));
        }
    }
}
