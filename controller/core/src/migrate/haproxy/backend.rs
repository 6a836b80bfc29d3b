//! A `backend`: its servers, how one is chosen, and how long sessions stay.

use super::super::document::Map;
use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Match, Path, Plan, Rule, label};
use super::super::policy::{Key, by_cookie, is_token, millis, segments};
use super::super::servers::{self, Written};
use super::Proxies;
use super::syntax::{Line, Section};

/// Sets what a backend says in a rule.
pub(super) fn apply(all: &Proxies, backend: &Section, rule: &mut Rule, plan: &mut Plan, ledger: &mut Ledger) {
    ledger.say(backend.id, Outcome::Carried, "a Service");
    rule.backends = servers(all, backend, rule, plan, ledger);
    let path = match rule.matches.as_slice() {
        [] => Ok(None),
        [Match { path, .. }] => Ok(path.clone()),
        _ => Err("paths of several kinds lead here, and no one segment is the key in all of them"),
    };
    let balance = all.nearest(backend, "balance");
    let table = all.nearest(backend, "stick-table");
    if let Some(line) = balance {
        chosen(line, &path, rule, ledger);
    } else {
        rule.policy.map("loadBalancer").set("type", "LeastSessions");
    }
    if let Some(line) = all.nearest(backend, "hash-type") {
        hash_type(line, ledger);
    }
    if let Some(line) = all.nearest(backend, "hash-balance-factor") {
        factor(line, rule, ledger);
    }
    // What sticks comes before what balances.
    let mut sticky = Vec::new();
    for line in all.lines(backend, "stick") {
        stick(line, table, &path, &mut sticky, rule, ledger);
    }
    sticky.extend(std::mem::take(&mut rule.keys));
    rule.keys = sticky;
    rule.keys.truncate(8);
    for line in all.lines(backend, "cookie") {
        cookie(line, rule, ledger);
    }
    if !rule.keys.is_empty() {
        let factor = rule.policy.map("loadBalancer").get("boundedLoad").cloned();
        let mut balancer = Map::default().with("type", "ConsistentHash");
        if let Some(factor) = factor {
            balancer.set("boundedLoad", factor);
        }
        rule.policy.set("loadBalancer", balancer);
    } else if rule.policy.map("loadBalancer").get("boundedLoad").is_some() {
        rule.policy
            .set("loadBalancer", Map::default().with("type", "LeastSessions"));
    }
    if let Some(line) = all.nearest(backend, "retries") {
        let retries = line.word(1).parse::<u32>().unwrap_or(3).min(10);
        rule.policy.map("resilience").set("connectRetries", retries);
        ledger.say(
            line.id,
            Outcome::Approximated,
            "resilience.connectRetries: before the 101 only",
        );
    }
    checks(all, backend, rule);
}

fn chosen(line: &Line, path: &Result<Option<Path>, &str>, rule: &mut Rule, ledger: &mut Ledger) {
    let kind = line.word(1);
    let (name, argument) = call(kind);
    let expression = match name {
        "source" => "src".to_owned(),
        "uri" => "path".to_owned(),
        "url_param" => format!("url_param({})", line.word(2)),
        "hdr" => format!("hdr({argument})"),
        "hash" => line.word(2).to_owned(),
        "roundrobin" | "static-rr" | "leastconn" | "first" | "random" => {
            let is_random = name == "random";
            let kind = if is_random { "Random" } else { "LeastSessions" };
            rule.policy.map("loadBalancer").set("type", kind);
            let outcome = if matches!(name, "leastconn" | "random") {
                Outcome::Carried
            } else {
                Outcome::Approximated
            };
            let note = if is_random {
                "loadBalancer Random".to_owned()
            } else {
                format!(
                    "loadBalancer LeastSessions: of two servers the one with fewer sessions, instead of {name}"
                )
            };
            return ledger.say(line.id, outcome, note);
        }
        _ => {
            rule.policy.map("loadBalancer").set("type", "LeastSessions");
            return ledger.say(
                line.id,
                Outcome::Cannot,
                format!("{kind} is no source of keys: sessions go where few are"),
            );
        }
    };
    match key(&expression, path) {
        Ok((key, note)) => {
            rule.keys = vec![key.clone()];
            match note {
                None => ledger.say(line.id, Outcome::Carried, format!("sessionKey: {}", key.words())),
                Some(note) => {
                    rule.policy
                        .remark(format!("DECIDE ({}): {note}.", ledger.place(line.id)));
                    ledger.say(
                        line.id,
                        Outcome::Approximated,
                        format!("sessionKey: {}; {note}", key.words()),
                    );
                }
            }
        }
        Err(why) => {
            rule.policy.remark(format!(
                "DECIDE ({}): {}: {why}. Without a sessionKey a session goes to a server with few sessions.",
                ledger.place(line.id),
                line.text()
            ));
            rule.policy.map("loadBalancer").set("type", "LeastSessions");
            ledger.say(line.id, Outcome::Cannot, format!("no sessionKey: {why}"));
        }
    }
}

fn call(text: &str) -> (&str, &str) {
    match text.split_once('(') {
        Some((name, rest)) => (name, rest.split([')', ',']).next().unwrap_or_default()),
        None => (text, ""),
    }
}

/// A sample expression as a key, and what differs.
fn key(expression: &str, path: &Result<Option<Path>, &str>) -> Result<(Key, Option<String>), String> {
    let (fetch, converters) = match expression.split_once("),") {
        Some((fetch, rest)) => (format!("{fetch})"), rest),
        None => match expression.split_once(',') {
            Some((fetch, rest)) if !fetch.contains('(') => (fetch.to_owned(), rest),
            _ => (expression.to_owned(), ""),
        },
    };
    let (name, argument) = call(&fetch);
    let token = |make: fn(String) -> Key| match is_token(argument) {
        true => Ok(make(argument.to_owned())),
        false => Err(format!("{expression}: it names nothing")),
    };
    let key = match name {
        "src" => Ok(Key::Address { hops: 0 }),
        "hdr" | "req.hdr" | "req.fhdr" if argument.eq_ignore_ascii_case("host") => {
            Err("the host is no key: sessions of one host would all go to one server".to_owned())
        }
        "hdr_ip" | "req.hdr_ip" if argument.eq_ignore_ascii_case("x-forwarded-for") => {
            Ok(Key::Address { hops: 1 })
        }
        "hdr" | "req.hdr" | "req.fhdr" => token(|name| Key::Header(name.to_ascii_lowercase())),
        "cook" | "req.cook" | "res.cook" => token(Key::Cookie),
        "url_param" | "urlp" => token(Key::Query),
        "path" | "pathq" | "url" | "base" => {
            let index = match path {
                Ok(None) => 0,
                Ok(Some(Path::Prefix(prefix))) => segments(prefix).min(31),
                Ok(Some(_)) => {
                    return Err(
                        "the path is the same for all, or an expression: name the segment or the parameter"
                            .to_owned(),
                    );
                }
                Err(why) => return Err((*why).to_owned()),
            };
            let note = format!(
                "the key is segment {index} of the path, not all of it: equal paths still share a server, and so do paths that \
                 differ after that segment"
            );
            return Ok((Key::Segment(index), Some(note)));
        }
        _ => Err(format!("{expression} is no source of keys")),
    }?;
    let note = (!converters.is_empty()).then(|| format!("the value as it is, without {converters}"));
    Ok((key, note))
}

fn hash_type(line: &Line, ledger: &mut Ledger) {
    let note = "rendezvous hashing: when a server comes or goes, only the keys that must move do";
    let outcome = if line.word(1) == "consistent" {
        Outcome::Carried
    } else {
        Outcome::Approximated
    };
    ledger.say(line.id, outcome, note);
}

fn factor(line: &Line, rule: &mut Rule, ledger: &mut Ledger) {
    match line.word(1).parse::<u32>() {
        Ok(0) => ledger.say(line.id, Outcome::Carried, "no bound"),
        Ok(percent @ 101..) => {
            let bound = Map::default().with("percent", percent.min(1000));
            rule.policy.map("loadBalancer").set("boundedLoad", bound);
            ledger.say(line.id, Outcome::Carried, "loadBalancer.boundedLoad");
        }
        _ => ledger.say(line.id, Outcome::Cannot, "this is no factor (101 or more)"),
    }
}

/// `stick on EXPRESSION`, `stick store-response EXPRESSION`, …
fn stick(
    line: &Line,
    table: Option<&Line>,
    path: &Result<Option<Path>, &str>,
    sticky: &mut Vec<Key>,
    rule: &mut Rule,
    ledger: &mut Ledger,
) {
    let expression = match line.word(1) {
        "on" | "match" | "store-request" | "store-response" => line.word(2),
        other => {
            return ledger.say(
                line.id,
                Outcome::Cannot,
                format!("stick {other} is not understood"),
            );
        }
    };
    if line.words.iter().any(|word| word == "if" || word == "unless") {
        let note = "the condition is left out: every session has its key";
        rule.policy.remark(format!(
            "DECIDE ({}): `{}`: {note}.",
            ledger.place(line.id),
            line.text()
        ));
    }
    match key(expression, path) {
        Ok((key, note)) => {
            let mut said = format!("sessionKey: {}", key.words());
            rule.keys.retain(|other| *other != key);
            if !sticky.contains(&key) {
                sticky.push(key);
            }
            said += "; the table remembered the first choice, here the key itself says the server, on every proxy and after a \
                     restart";
            if line.word(1) == "store-response" {
                said += "; the server that makes the value is not learned: either it takes any session, or the request that \
                         makes it goes through Clew, too";
                rule.policy.remark(format!(
                    "DECIDE ({}): HAProxy learned which server made this value; here the value itself says which.",
                    ledger.place(line.id)
                ));
            }
            said.extend(note.map(|note| format!("; {note}")));
            ledger.say(line.id, Outcome::Approximated, said);
            if let Some(table) = table {
                ledger.say(
                    table.id,
                    Outcome::Carried,
                    "no table is needed: no size, no expiry, no peers",
                );
            }
        }
        Err(why) => {
            rule.policy.remark(format!(
                "DECIDE ({}): `{}`: {why}.",
                ledger.place(line.id),
                line.text()
            ));
            ledger.say(line.id, Outcome::Cannot, format!("no sessionKey: {why}"));
        }
    }
}

/// `cookie NAME insert|prefix|rewrite …`.
fn cookie(line: &Line, rule: &mut Rule, ledger: &mut Ledger) {
    let name = line.word(1);
    if !is_token(name) {
        return ledger.say(line.id, Outcome::Cannot, "this is no name of a cookie");
    }
    let has = |word: &str| line.words.iter().any(|one| one == word);
    let is_prefix = has("prefix");
    let name = if is_prefix {
        format!("clew-{name}")
    } else {
        name.to_owned()
    };
    let mut outcome = Outcome::Carried;
    let mut said = format!("sessionPersistence by the cookie {name}, signed, bound to the server itself");
    let cookie = Map::default().with("name", name.as_str());
    let lifetime = line.after("maxlife").and_then(|text| millis(text, 1000));
    rule.policy.set("sessionPersistence", by_cookie(cookie, lifetime));
    let mut differs = |why: &str| {
        outcome = Outcome::Approximated;
        said += "; ";
        said += why;
    };
    if is_prefix {
        differs("a cookie of its own beside the application's, which is left as it is");
    }
    if has("rewrite") {
        differs("the application need not send it any more, and what it sends is no valid token");
    }
    for (word, why) in [
        ("domain", "the cookie is the host's alone"),
        ("maxidle", "maxidle is left out: only maxlife is known"),
        ("preserve", "the application cannot set it"),
        ("dynamic", "dynamic is not needed: the token names the server"),
        ("attr", "attributes are set by themselves"),
    ] {
        if has(word) {
            differs(why);
        }
    }
    ledger.say(line.id, outcome, said);
}

/// Of a server, or else of all.
fn parameter<'l>(line: &'l Line, usual: Option<&'l Line>, name: &str) -> Option<&'l str> {
    let of = |line: &'l Line, from: usize| {
        let at = line.words.iter().skip(from).position(|word| word == name)? + from;
        Some(line.words.get(at + 1).map_or("", String::as_str))
    };
    of(line, 3).or_else(|| of(usual?, 1))
}

/// What HAProxy has found dead is passed over. Here handshakes find out, and one that is bound to its server by a token does so each time.
fn checks(all: &Proxies, backend: &Section, rule: &mut Rule) {
    let usual = all.nearest(backend, "default-server");
    let lines: Vec<&Line> = all.own(backend, "server").collect();
    let find = |name| lines.iter().find_map(|line| parameter(line, usual, name));
    if find("check").is_none() {
        return;
    }
    let is_bound = rule.policy.get("sessionPersistence").is_some();
    let resilience = rule.policy.map("resilience");
    if resilience.get("connectRetries").is_none() {
        resilience.set("connectRetries", 1);
    }
    if !is_bound {
        let fall = find("fall").and_then(|text| text.parse().ok()).unwrap_or(3_u32);
        resilience.set(
            "outlierDetection",
            Map::default().with("consecutiveHandshakeFailures", fall.clamp(1, 1000)),
        );
    }
}

fn servers(
    all: &Proxies,
    backend: &Section,
    rule: &mut Rule,
    plan: &mut Plan,
    ledger: &mut Ledger,
) -> Vec<super::super::plan::Backend> {
    let usual = all.nearest(backend, "default-server");
    if let Some(line) = usual {
        ledger.say(line.id, Outcome::Carried, "what it says is said of each server");
    }
    let lines: Vec<&Line> = all.own(backend, "server").collect();
    let parameter = |line, name| parameter(line, usual, name);
    let number = |line, name| parameter(line, name).and_then(|text| text.parse::<u32>().ok());
    let written: Vec<Written> = lines
        .iter()
        .filter(|line| !line.word(2).starts_with(['/', '@']) && !line.word(2).contains("unix@"))
        .map(|line| {
            let weight = number(line, "weight").unwrap_or(1);
            Written {
                id: line.id,
                name: Some(line.word(1).to_owned()),
                address: line
                    .word(2)
                    .trim_start_matches("ipv4@")
                    .trim_start_matches("ipv6@")
                    .to_owned(),
                port: 80,
                weight: weight.clamp(1, 256),
                is_backup: parameter(line, "backup").is_some(),
                is_down: parameter(line, "disabled").is_some() || weight == 0,
            }
        })
        .collect();
    let backends = servers::services(&label(&backend.name), &written, plan, ledger);
    let caps: Option<Vec<u32>> = lines.iter().map(|line| number(line, "maxconn")).collect();
    let cap = caps
        .map(|caps| caps.iter().fold(0_u32, |sum, cap| sum.saturating_add(*cap)))
        .filter(|sum| *sum > 0);
    if let Some(cap) = cap {
        rule.policy
            .map("limits")
            .set("maxConnectionsPerProxy", cap.min(10_000_000));
    }
    for line in lines.into_iter().chain(usual) {
        let from = if line.word(0) == "server" { 3 } else { 1 };
        parameters(line, from, cap.is_some(), ledger);
    }
    for line in all.own(backend, "server-template") {
        let note = "names are not looked up: in a cluster name the Service whose pods these are";
        ledger.say(line.id, Outcome::Cannot, note);
    }
    backends
}

fn parameters(line: &Line, from: usize, is_capped: bool, ledger: &mut Ledger) {
    if line.word(0) == "server" && (line.word(2).starts_with(['/', '@']) || line.word(2).contains("unix@")) {
        ledger.say(line.id, Outcome::Cannot, "a Unix socket is no endpoint");
    }
    let mut words = line.words.iter().skip(from);
    while let Some(word) = words.next() {
        let value = match word.as_str() {
            "weight" | "cookie" | "maxconn" | "maxqueue" | "minconn" | "inter" | "fastinter"
            | "downinter" | "fall" | "rise" | "port" | "addr" | "ca-file" | "crt" | "verify" | "sni"
            | "alpn" | "init-addr" | "resolvers" | "slowstart" | "on-error" | "on-marked-down"
            | "on-marked-up" | "observe" | "error-limit" | "check-sni" | "id" | "proto" | "track" | "ws"
            | "resolve-prefer" | "pool-max-conn" => words.next().map_or("", String::as_str),
            _ => "",
        };
        let (outcome, note) = match word.as_str() {
            "weight" | "cookie" | "backup" | "disabled" | "enabled" | "id" | "proto" | "alpn" | "ws"
            | "pool-max-conn" => continue,
            "verify" if value == "none" => continue,
            "check" | "fall" => (
                Outcome::Approximated,
                "check: resilience.connectRetries where no connection is had, outlierDetection of handshakes that are answered with errors; nothing is asked in between (in a cluster: readiness)",
            ),
            "inter" | "fastinter" | "downinter" | "rise" | "port" | "addr" | "on-error" | "observe"
            | "error-limit" | "on-marked-up" | "check-sni" | "track" => continue,
            "maxconn" if is_capped => (
                Outcome::Approximated,
                "maxconn: its sum over the servers is limits.maxConnectionsPerProxy; nothing waits in a queue",
            ),
            "maxconn" | "maxqueue" | "minconn" => {
                (Outcome::Cannot, "maxconn: a server has no limit of its own")
            }
            "ssl" | "ca-file" | "crt" | "sni" => (
                Outcome::Cannot,
                "ssl: Clew connects plainly to servers, so in a cluster let the mesh encrypt",
            ),
            "send-proxy" | "send-proxy-v2" => (
                Outcome::Cannot,
                "the PROXY protocol is not sent: read X-Forwarded-For",
            ),
            "slowstart" => (
                Outcome::Cannot,
                "slowstart: a server that comes gets its share of keys at once",
            ),
            "resolvers" | "init-addr" | "resolve-prefer" => (
                Outcome::Cannot,
                "names are not looked up: in a cluster use its Service",
            ),
            "on-marked-down" => (
                Outcome::Approximated,
                "on-marked-down: sessions of a server that goes get a Close while it drains",
            ),
            _ => {
                ledger.say(line.id, Outcome::Cannot, format!("{word} is not understood"));
                continue;
            }
        };
        ledger.say(line.id, outcome, note);
    }
}
