//! What stands around: headers, limits, whom NGINX let in, and what says nothing about WebSockets.

use super::super::document::Map;
use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Route, Rule};
use super::super::policy::{Key, duration};
use super::location::Location;
use super::syntax::Directive;
use super::{Http, keys};

const NOTHING: &str = "it says nothing about WebSocket sessions";

/// They say nothing about a session: how NGINX itself runs, plain answers, files, caches, logs.
const IRRELEVANT: [&str; 68] = [
    "user",
    "worker_processes",
    "worker_rlimit_nofile",
    "worker_connections",
    "worker_cpu_affinity",
    "worker_shutdown_timeout",
    "events",
    "multi_accept",
    "use",
    "pid",
    "daemon",
    "master_process",
    "error_log",
    "load_module",
    "env",
    "pcre_jit",
    "access_log",
    "log_format",
    "log_not_found",
    "sendfile",
    "tcp_nopush",
    "tcp_nodelay",
    "types",
    "default_type",
    "charset",
    "gzip",
    "root",
    "index",
    "try_files",
    "expires",
    "etag",
    "autoindex",
    "keepalive_timeout",
    "keepalive_requests",
    "keepalive",
    "zone",
    "server_tokens",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "types_hash_max_size",
    "map_hash_bucket_size",
    "map_hash_max_size",
    "variables_hash_bucket_size",
    "variables_hash_max_size",
    "client_max_body_size",
    "client_body_buffer_size",
    "client_body_timeout",
    "client_header_buffer_size",
    "large_client_header_buffers",
    "client_header_timeout",
    "send_timeout",
    "reset_timedout_connection",
    "open_file_cache",
    "proxy_http_version",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_buffer_size",
    "proxy_busy_buffers_size",
    "proxy_request_buffering",
    "proxy_cache",
    "proxy_cache_bypass",
    "proxy_no_cache",
    "proxy_redirect",
    "proxy_cache_path",
    "resolver_timeout",
    "error_page",
    "stub_status",
    "proxy_max_temp_file_size",
];

/// Whom NGINX let in: what is lost here opens a door.
const GUARDS: [&str; 12] = [
    "allow",
    "deny",
    "satisfy",
    "auth_basic",
    "auth_basic_user_file",
    "auth_request",
    "auth_request_set",
    "auth_jwt",
    "auth_jwt_key_file",
    "ssl_verify_client",
    "ssl_client_certificate",
    "limit_except",
];

/// How many proxies in front are believed, by the realip module.
pub(super) fn trusted_hops(location: &Location<'_>, ledger: &mut Ledger) -> u32 {
    let mut hops = 0;
    for directive in location.nearest("real_ip_header") {
        if directive.first().eq_ignore_ascii_case("x-forwarded-for") {
            hops = 1;
            let note =
                "SourceIP keys have trustedHops: 1, the last address in X-Forwarded-For, whoever sent it";
            ledger.say(directive.id, Outcome::Approximated, note);
        } else {
            ledger.say(
                directive.id,
                Outcome::Cannot,
                "a client's address comes from X-Forwarded-For or from TCP",
            );
        }
    }
    for name in ["set_real_ip_from", "real_ip_recursive"] {
        for directive in location.nearest(name) {
            let note = "trustedHops counts proxies, and asks not for their addresses";
            ledger.say(directive.id, Outcome::Approximated, note);
        }
    }
    hops
}

/// What the surroundings of a location say of its sessions.
pub(super) fn speak_of_location(location: &Location<'_>, rule: &mut Rule, ledger: &mut Ledger) {
    for directive in location.nearest("proxy_set_header") {
        header(location.http, directive, ledger);
    }
    for directive in location.nearest("limit_conn") {
        limit_conn(location.http, directive, rule, ledger);
    }
    for directive in location.nearest("limit_req") {
        limit_req(location.http, directive, rule, ledger);
    }
    let mut is_next_asked = true;
    for directive in location.nearest("proxy_next_upstream") {
        let resilience = rule.policy.map("resilience");
        // Only these two are of a server that cannot be connected to.
        is_next_asked = directive.has("error") || directive.has("timeout");
        if !is_next_asked {
            resilience.set("connectRetries", 0);
        } else if resilience.get("connectRetries").is_none() {
            resilience.set("connectRetries", 1);
        }
        let note = "resilience.connectRetries: before the 101 only";
        ledger.say(directive.id, Outcome::Approximated, note);
    }
    for directive in location.nearest("proxy_next_upstream_tries") {
        let tries = directive.first().parse::<u32>().unwrap_or(0);
        if tries > 0 && is_next_asked {
            rule.policy
                .map("resilience")
                .set("connectRetries", (tries - 1).min(10));
        }
        ledger.say(
            directive.id,
            Outcome::Approximated,
            "resilience.connectRetries: before the 101 only",
        );
    }
    for name in GUARDS {
        for directive in location.nearest(name) {
            guard(directive, &mut rule.policy, ledger);
        }
    }
    for directive in location.directive.children() {
        said(directive, &mut rule.policy, ledger);
    }
}

/// What a server says for all its locations.
pub(super) fn speak_of_server(server: &Directive, route: &mut Route, ledger: &mut Ledger) {
    let mut remarks = Map::default();
    for directive in server.children() {
        said(directive, &mut remarks, ledger);
    }
    if let Some(rule) = route.rules.first_mut() {
        rule.policy.append(remarks);
    }
}

/// What nobody spoke of yet.
pub(super) fn speak_of_the_rest(http: &Http<'_>, ledger: &mut Ledger) {
    for directive in &http.level {
        if directive.name == "server" {
            continue;
        }
        let unused = match directive.name.as_str() {
            "upstream" => Some("no location that passes WebSockets on names it"),
            "map" => Some("Upgrade and Connection are handled by Envoy; no sessionKey uses it"),
            "limit_conn_zone" | "limit_req_zone" => Some("its limits say what became of it"),
            "proxy_set_header"
            | "proxy_read_timeout"
            | "proxy_send_timeout"
            | "proxy_connect_timeout"
            | "limit_req"
            | "limit_conn"
            | "proxy_next_upstream" => Some("every location that passes WebSockets on has its own"),
            "geo" | "split_clients" => None,
            _ => {
                said(directive, &mut Map::default(), ledger);
                None
            }
        };
        let is_said = ledger.is_said(directive.id);
        if let Some(unused) = unused {
            directive.walk(&mut |one| {
                if !ledger.is_said(one.id) {
                    let is_used = is_said && directive.name == "upstream";
                    if !is_used {
                        ledger.say(one.id, Outcome::Irrelevant, unused);
                    } else if IRRELEVANT.contains(&one.name.as_str()) {
                        ledger.say(one.id, Outcome::Irrelevant, NOTHING);
                    }
                }
            });
        }
    }
}

/// Whether what it names was read.
pub(super) fn speak_of_include(include: &Directive, ledger: &mut Ledger) {
    const OWN: [&str; 4] = ["mime.types", "fastcgi_params", "proxy_params", "modules-enabled"];
    let (outcome, note) = match include.first() {
        file if ledger.has_read(include.id, file) => (
            Outcome::Approximated,
            "read, as far as clew migrate was given its files",
        ),
        file if OWN.iter().any(|own| file.contains(own)) => (Outcome::Irrelevant, NOTHING),
        _ => (Outcome::Cannot, "not read: give that file to clew migrate, too"),
    };
    ledger.say(include.id, outcome, note);
}

fn said(directive: &Directive, remarks: &mut Map, ledger: &mut Ledger) {
    let name = directive.name.as_str();
    if ledger.is_said(directive.id) || matches!(name, "location" | "server") {
        return;
    }
    if GUARDS.contains(&name) {
        guard(directive, remarks, ledger);
    }
    let is_irrelevant = IRRELEVANT.contains(&name)
        || [
            "gzip_",
            "proxy_cache_",
            "open_file_cache_",
            "fastcgi_",
            "uwsgi_",
            "proxy_temp_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if is_irrelevant {
        directive.walk(&mut |one| ledger.say(one.id, Outcome::Irrelevant, NOTHING));
        return;
    }
    let note = match name {
        "include" => return speak_of_include(directive, ledger),
        "proxy_set_header"
        | "proxy_read_timeout"
        | "proxy_send_timeout"
        | "proxy_connect_timeout"
        | "limit_req"
        | "limit_conn" => {
            return ledger.say(
                directive.id,
                Outcome::Irrelevant,
                "an inner block has its own, or it is not for a location that passes WebSockets on",
            );
        }
        "add_header" | "proxy_hide_header" | "proxy_pass_header" | "more_set_headers" => {
            "answers pass as the server gave them"
        }
        "return" | "rewrite" | "if" | "set" => {
            let words = directive.arguments.join(" ");
            let instead = if words.contains("$http_origin") {
                ": list good Origins in security.origin.allowed"
            } else {
                ""
            };
            remarks.remark(format!(
                "DECIDE ({}): `{name} {words}` decided before the server was asked; nothing here does{instead}.",
                ledger.place(directive.id)
            ));
            "decided before the server was asked; nothing here does"
        }
        "resolver" => "names are not looked up: endpoints have addresses",
        _ if name.starts_with("proxy_ssl_") => {
            "Clew connects plainly to servers: in a cluster let the mesh encrypt"
        }
        _ if name.starts_with("ssl_") || name == "ssl" || name == "http2" => {
            "TLS belongs to the Gateway's listener: see the comment there"
        }
        _ => return,
    };
    directive.walk(&mut |one| ledger.say(one.id, Outcome::Cannot, note));
}

fn guard(directive: &Directive, remarks: &mut Map, ledger: &mut Ledger) {
    if directive.name == "auth_basic" && directive.first() == "off"
        || directive.name == "ssl_verify_client" && directive.first() == "off"
    {
        return ledger.say(directive.id, Outcome::Carried, "nothing is asked here either");
    }
    let words = format!("{} {}", directive.name, directive.arguments.join(" "));
    let words = words.trim_end();
    remarks.remark(format!(
        "DECIDE ({}): `{words}` kept clients out; nothing here does. A mesh has AuthorizationPolicy for it; tokens are \
         checked with security.jwt.",
        ledger.place(directive.id)
    ));
    directive.walk(&mut |one| {
        ledger.say(one.id, Outcome::Cannot, "it kept clients out: nothing here does");
    });
}

fn header(http: &Http<'_>, directive: &Directive, ledger: &mut Ledger) {
    let name = directive.first().to_ascii_lowercase();
    let value = directive.arguments.get(1).map_or("", String::as_str);
    let (outcome, note) = match name.as_str() {
        "upgrade" | "connection" => {
            for variable in super::variable::variables(value) {
                if let Some(map) = http.maps.get(variable.as_str()) {
                    map.walk(&mut |one| ledger.say(one.id, Outcome::Carried, "Envoy passes the upgrade on"));
                }
            }
            (Outcome::Carried, "Envoy passes the upgrade on")
        }
        "host" if matches!(value, "$host" | "$http_host") => {
            (Outcome::Carried, "the server sees the client's Host")
        }
        "host" => (Outcome::Cannot, "the server sees the client's Host"),
        "x-forwarded-proto" if value == "$scheme" => (Outcome::Carried, "Envoy sets it"),
        "x-forwarded-for" => (Outcome::Carried, "Envoy sets it: the client's address"),
        "x-real-ip" => (Outcome::Cannot, "not set: read X-Forwarded-For"),
        _ if value.is_empty() => (Outcome::Cannot, "the header is not removed"),
        _ => (Outcome::Cannot, "not set: headers pass as the client sent them"),
    };
    ledger.say(directive.id, outcome, note);
}

/// The keys that a zone counts by; none: it counts everything together.
fn counted(http: &Http<'_>, zone: &Directive, rule: &Rule) -> Option<Vec<Key>> {
    let written = zone.first();
    if matches!(written, "$server_name" | "$host" | "$http_host") || !written.contains('$') {
        return None;
    }
    let path = rule.matches.first().and_then(|one| one.path.as_ref());
    let hops = match rule.keys.first() {
        Some(Key::Address { hops }) => *hops,
        _ => 0,
    };
    Some(keys(written, path, &http.maps, hops).map_or_else(|_| Vec::new(), |(keys, _)| keys))
}

fn limit_conn(http: &Http<'_>, directive: &Directive, rule: &mut Rule, ledger: &mut Ledger) {
    let most = directive
        .arguments
        .get(1)
        .and_then(|text| text.parse::<u32>().ok())
        .filter(|most| *most > 0);
    let (Some(most), Some(zone)) = (most, http.zones.get(directive.first())) else {
        return ledger.say(
            directive.id,
            Outcome::Cannot,
            "no limit_conn_zone of this name is in what was read",
        );
    };
    match counted(http, zone, rule) {
        None => {
            rule.policy
                .map("limits")
                .set("maxConnectionsPerProxy", most.min(10_000_000));
            ledger.say(directive.id, Outcome::Carried, "limits.maxConnectionsPerProxy");
            ledger.say(zone.id, Outcome::Carried, "counted by Clew");
        }
        Some(keys) if !keys.is_empty() && keys == rule.keys => {
            rule.policy
                .map("limits")
                .set("maxConnectionsPerKeyPerProxy", most.min(1_000_000));
            ledger.say(
                directive.id,
                Outcome::Carried,
                "limits.maxConnectionsPerKeyPerProxy",
            );
            ledger.say(zone.id, Outcome::Carried, "counted by Clew, by the session key");
        }
        Some(_) => {
            let note = format!(
                "{} is not the session key, by which alone sessions are counted",
                zone.first()
            );
            rule.policy.remark(format!(
                "DECIDE ({}): {most} sessions for each {}: {note}.",
                ledger.place(directive.id),
                zone.first()
            ));
            ledger.say(directive.id, Outcome::Cannot, note.clone());
            ledger.say(zone.id, Outcome::Cannot, note);
        }
    }
}

fn limit_req(http: &Http<'_>, directive: &Directive, rule: &mut Rule, ledger: &mut Ledger) {
    let named = directive.option("zone").unwrap_or_default();
    let Some(zone) = http.zones.get(named) else {
        return ledger.say(
            directive.id,
            Outcome::Cannot,
            "no limit_req_zone of this name is in what was read",
        );
    };
    let rate = zone.option("rate").unwrap_or_default();
    let (count, interval) = match rate.split_once("r/") {
        Some((count, "s")) => (count.parse::<u32>().ok(), 1000),
        Some((count, "m")) => (count.parse::<u32>().ok(), 60_000),
        _ => (None, 0),
    };
    let burst = directive
        .option("burst")
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(0);
    match (count.filter(|count| *count > 0), counted(http, zone, rule)) {
        (Some(count), None) => {
            let rate = Map::default()
                .with("requests", count.min(1_000_000))
                .with("interval", duration(interval))
                .with("burst", burst.saturating_add(1).min(1_000_000));
            rule.policy.map("limits").set("handshakeRatePerProxy", rate);
            let note = "limits.handshakeRatePerProxy: 429 and Retry-After beyond it; nothing waits";
            ledger.say(directive.id, Outcome::Approximated, note);
            ledger.say(zone.id, Outcome::Carried, "counted by Clew");
        }
        (Some(_), Some(_)) => {
            let note = format!(
                "handshakes are counted for the whole rule, not for each {}",
                zone.first()
            );
            rule.policy.remark(format!(
                "DECIDE ({}): {rate} for each {}: {note}. limits.handshakeRatePerProxy, or the mesh's own rate limits.",
                ledger.place(directive.id),
                zone.first()
            ));
            ledger.say(directive.id, Outcome::Cannot, note.clone());
            ledger.say(zone.id, Outcome::Cannot, note);
        }
        (None, _) => ledger.say(directive.id, Outcome::Cannot, format!("{rate:?} is no rate")),
    }
}
