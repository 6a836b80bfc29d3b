//! ingress-nginx's annotations as a rule's policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::document::Map;
use super::super::ledger::{Id, Ledger, Outcome};
use super::super::nginx::{Maps, keys};
use super::super::plan::Rule;
use super::super::policy::{Key, by_cookie, duration, is_cookie_path, is_token, millis};
use super::syntax::Ingress;

/// What the API takes.
const MAX_ORIGINS: usize = 64;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// They say nothing about a session.
const IRRELEVANT: [&str; 26] = [
    "proxy-body-size",
    "client-body-buffer-size",
    "proxy-buffering",
    "proxy-buffer-size",
    "proxy-buffers-number",
    "proxy-request-buffering",
    "proxy-http-version",
    "proxy-max-temp-file-size",
    "enable-access-log",
    "enable-rewrite-log",
    "custom-http-errors",
    "default-backend",
    "websocket-services",
    "service-upstream",
    "http2-push-preload",
    "enable-opentelemetry",
    "enable-opentracing",
    "proxy-busy-buffers-size",
    "connection-proxy-header",
    "x-forwarded-prefix",
    "preserve-trailing-slash",
    "from-to-www-redirect",
    "session-cookie-secure",
    "session-cookie-samesite",
    "session-cookie-conditional-samesite-none",
    "session-cookie-hash",
];

/// Whom ingress-nginx let in.
const GUARDS: [&str; 17] = [
    "whitelist-source-range",
    "allowlist-source-range",
    "denylist-source-range",
    "auth-type",
    "auth-secret",
    "auth-url",
    "auth-signin",
    "auth-tls-secret",
    "auth-tls-verify-client",
    "auth-tls-verify-depth",
    "auth-realm",
    "auth-response-headers",
    "auth-snippet",
    "enable-modsecurity",
    "enable-owasp-core-rules",
    "modsecurity-snippet",
    "auth-method",
];

/// Those of one Ingress, without their prefix.
pub(super) struct Annotations {
    by_name: BTreeMap<String, (Id, String)>,
}

impl Annotations {
    pub(super) fn read(file: &Arc<str>, ingress: &Ingress, ledger: &mut Ledger) -> Self {
        let mut by_name = BTreeMap::new();
        for (name, value) in ingress.metadata.annotations.iter().flatten() {
            let text = value.value.clone().unwrap_or_default();
            let shown = text.lines().next().unwrap_or_default();
            let line = super::line(value.referenced.line());
            let id = ledger.enter(file, line, format!("{name}: {shown}"));
            match name.strip_prefix(PREFIX) {
                Some(name) => {
                    by_name.insert(name.to_owned(), (id, text));
                }
                None => ledger.say(id, Outcome::Irrelevant, "not ingress-nginx's"),
            }
        }
        Self { by_name }
    }

    pub(super) fn get(&self, name: &str) -> Option<(Id, &str)> {
        self.by_name.get(name).map(|(id, text)| (*id, text.trim()))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|(_, text)| text == value)
    }

    /// What they say of the sessions of a rule.
    pub(super) fn apply(&self, rule: &mut Rule, ledger: &mut Ledger) {
        self.key(rule, ledger);
        self.affinity(rule, ledger);
        self.timeouts(rule, ledger);
        self.limits(rule, ledger);
        self.origins(rule, ledger);
        if let Some((id, text)) = self.get("load-balance") {
            let note = format!("LeastSessions: of two pods the one with fewer sessions, instead of {text}");
            ledger.say(id, Outcome::Approximated, note);
        }
        if rule.keys.is_empty() {
            rule.policy.map("loadBalancer").set("type", "LeastSessions");
        }
        if let Some((id, text)) = self.get("proxy-next-upstream-tries") {
            if let Ok(tries @ 1..) = text.parse::<u32>() {
                let retries = (tries - 1).min(10);
                rule.policy.map("resilience").set("connectRetries", retries);
            }
            ledger.say(
                id,
                Outcome::Approximated,
                "resilience.connectRetries: before the 101 only",
            );
        }
    }

    fn key(&self, rule: &mut Rule, ledger: &mut Ledger) {
        let Some((id, text)) = self.get("upstream-hash-by") else {
            return;
        };
        let path = rule.matches.first().and_then(|one| one.path.clone());
        match keys(text, path.as_ref(), &Maps::new(), 0) {
            Ok((keys, note)) => {
                let words: Vec<_> = keys.iter().map(Key::words).collect();
                let said = format!("sessionKey: {}", words.join(", then "));
                rule.keys = keys;
                match note {
                    None => ledger.say(id, Outcome::Carried, said),
                    Some(note) => {
                        rule.policy
                            .remark(format!("DECIDE ({}): {note}.", ledger.place(id)));
                        ledger.say(id, Outcome::Approximated, format!("{said}; {note}"));
                    }
                }
                if let Some((id, "true")) = self.get("upstream-hash-by-subset") {
                    ledger.say(id, Outcome::Cannot, "a key has one pod, not a subset of them");
                }
            }
            Err(why) => {
                rule.policy.remark(format!(
                    "DECIDE ({}): upstream-hash-by {text}: {why}. Without a sessionKey a session goes to a pod with few sessions.",
                    ledger.place(id)
                ));
                ledger.say(id, Outcome::Cannot, format!("no sessionKey: {why}"));
            }
        }
    }

    fn affinity(&self, rule: &mut Rule, ledger: &mut Ledger) {
        let Some((id, text)) = self.get("affinity") else {
            return;
        };
        if text != "cookie" {
            return ledger.say(id, Outcome::Cannot, format!("affinity {text} is not known"));
        }
        let given = self.get("session-cookie-name");
        let name = given.map_or("INGRESSCOOKIE", |(_, name)| name);
        if !is_token(name) {
            return ledger.say(id, Outcome::Cannot, format!("{name:?} is no name of a cookie"));
        }
        ledger.say(
            id,
            Outcome::Carried,
            format!("sessionPersistence by the cookie {name}, signed, HttpOnly"),
        );
        let mut cookie = Map::default().with("name", name);
        if let Some((id, path)) = self.get("session-cookie-path") {
            if is_cookie_path(path) {
                cookie.set("path", path);
                ledger.say(id, Outcome::Carried, "sessionPersistence.cookie.path");
            } else {
                ledger.say(id, Outcome::Cannot, "this is no path of a cookie");
            }
        }
        let ages = [
            self.get("session-cookie-max-age"),
            self.get("session-cookie-expires"),
        ];
        let age = ages
            .iter()
            .flatten()
            .find_map(|(_, text)| millis(text, 1000))
            .filter(|ms| *ms > 0);
        for (id, _) in ages.into_iter().flatten() {
            let note = "sessionPersistence.absoluteTimeout, and a Permanent cookie";
            ledger.say(
                id,
                if age.is_some() {
                    Outcome::Carried
                } else {
                    Outcome::Cannot
                },
                note,
            );
        }
        rule.policy.set("sessionPersistence", by_cookie(cookie, age));
        if let Some((id, _)) = given {
            ledger.say(id, Outcome::Carried, "sessionPersistence.cookie.name");
        }
        if let Some((id, text)) = self.get("affinity-mode") {
            let (outcome, note) = match text {
                "persistent" => (Outcome::Carried, "a session stays with its pod while that lives"),
                _ => (
                    Outcome::Approximated,
                    "a session stays with its pod while that lives; balanced moved some when pods came",
                ),
            };
            ledger.say(id, outcome, note);
        }
        if let Some((id, _)) = self.get("session-cookie-change-on-failure") {
            ledger.say(
                id,
                Outcome::Approximated,
                "onBackendGone: Reassign: when its pod is gone, not when it fails",
            );
        }
        if let Some((id, _)) = self.get("session-cookie-domain") {
            ledger.say(id, Outcome::Cannot, "the cookie is the host's alone");
        }
        if let Some((id, text)) = self.get("affinity-canary-behavior") {
            let (outcome, note) = if text == "legacy" {
                (Outcome::Cannot, "a session stays with its pod, canary or not")
            } else {
                (Outcome::Carried, "a session stays with its pod, canary or not")
            };
            ledger.say(id, outcome, note);
        }
    }

    fn timeouts(&self, rule: &mut Rule, ledger: &mut Ledger) {
        let read = self.get("proxy-read-timeout");
        if let Some((id, text)) = read {
            match millis(text, 1000) {
                Some(ms) => {
                    rule.policy.map("timeouts").set("idle", duration(ms));
                    let note =
                        "timeouts.idle: without a byte in either direction; NGINX counted the pod's only";
                    ledger.say(id, Outcome::Approximated, note);
                }
                None => ledger.say(id, Outcome::Cannot, "this is no duration"),
            }
        }
        if let Some((id, text)) = self.get("proxy-send-timeout") {
            let (outcome, note) = if read.is_some_and(|(_, read)| read == text) {
                (Outcome::Carried, "timeouts.idle, as proxy-read-timeout")
            } else {
                (
                    Outcome::Approximated,
                    "timeouts.idle is that of proxy-read-timeout: one for both directions",
                )
            };
            ledger.say(id, outcome, note);
        }
        if let Some((id, text)) = self.get("proxy-connect-timeout") {
            match millis(text, 1000).filter(|ms| *ms > 0) {
                Some(ms) => {
                    rule.policy.map("timeouts").set("handshake", duration(ms));
                    ledger.say(
                        id,
                        Outcome::Approximated,
                        "timeouts.handshake: to the pod's 101, not only to its TCP",
                    );
                }
                None => ledger.say(id, Outcome::Cannot, "this is no duration"),
            }
        }
    }

    fn limits(&self, rule: &mut Rule, ledger: &mut Ledger) {
        if let Some((id, text)) = self.get("limit-connections") {
            let is_address = matches!(rule.keys.as_slice(), [Key::Address { .. }]);
            match text.parse::<u32>() {
                Ok(most @ 1..) if is_address => {
                    rule.policy
                        .map("limits")
                        .set("maxConnectionsPerKeyPerProxy", most.min(1_000_000));
                    ledger.say(id, Outcome::Carried, "limits.maxConnectionsPerKeyPerProxy");
                }
                _ => {
                    let note = "sessions are counted by session key, and the client's address is none here";
                    rule.policy.remark(format!(
                        "DECIDE ({}): limit-connections {text} for each client: {note}.",
                        ledger.place(id)
                    ));
                    ledger.say(id, Outcome::Cannot, note);
                }
            }
        }
        for name in ["limit-rps", "limit-rpm"] {
            if let Some((id, text)) = self.get(name) {
                let note = "handshakes are counted for the whole rule, not for each client";
                rule.policy.remark(format!(
                    "DECIDE ({}): {name} {text} for each client: {note}. limits.handshakeRatePerProxy, or the mesh's own rate limits.",
                    ledger.place(id)
                ));
                ledger.say(id, Outcome::Cannot, note);
            }
        }
    }

    fn origins(&self, rule: &mut Rule, ledger: &mut Ledger) {
        let Some((id, text)) = self.get("cors-allow-origin") else {
            return;
        };
        let origins: BTreeSet<String> = text
            .split(',')
            .map(|origin| origin.trim().to_ascii_lowercase())
            .collect();
        let is_origin = |origin: &String| {
            origin == "*"
                || origin.split_once("://").is_some_and(|(scheme, host)| {
                    let (host, port) = host.split_once(':').unwrap_or((host, "443"));
                    let is_port = port.parse::<u16>().is_ok() && !port.starts_with('+');
                    matches!(scheme, "http" | "https") && is_port && super::is_hostname(host)
                })
        };
        let (mut good, mut bad): (Vec<_>, Vec<_>) = origins.into_iter().partition(is_origin);
        bad.extend(good.drain(good.len().min(MAX_ORIGINS)..));
        let is_any = good.iter().any(|origin| origin == "*");
        if is_any || good.is_empty() {
            return ledger.say(
                id,
                Outcome::Approximated,
                "security.origin is in mode Report: nobody is refused",
            );
        }
        rule.policy
            .map("security")
            .map("origin")
            .set("allowed", good.iter().map(String::as_str).collect::<Vec<_>>());
        if bad.is_empty() {
            ledger.say(id, Outcome::Carried, "security.origin.allowed, in mode Report");
        } else {
            ledger.say(
                id,
                Outcome::Cannot,
                format!("these are no origins, or too many: {}", bad.join(", ")),
            );
        }
    }

    /// What somebody has to decide, above the first rule.
    pub(super) fn remark(&self, policy: &mut Map, ledger: &Ledger) {
        for name in GUARDS.iter().chain(&[
            "configuration-snippet",
            "server-snippet",
            "rewrite-target",
            "backend-protocol",
        ]) {
            if let Some((id, text)) = self.get(name)
                && !(*name == "backend-protocol" && text == "HTTP")
            {
                let what = if GUARDS.contains(name) {
                    "kept clients out; nothing here does. A mesh has AuthorizationPolicy for it; tokens are checked with security.jwt"
                } else if *name == "rewrite-target" {
                    "changed the path; Clew leaves it as it is, so the pods must know what clients ask for"
                } else if *name == "backend-protocol" {
                    "said how pods are reached; Clew speaks plain HTTP/1.1 to them"
                } else {
                    "was NGINX's own language; nothing here does what it did"
                };
                let shown = text.lines().next().unwrap_or_default();
                policy.remark(format!("DECIDE ({}): {name} {shown} {what}.", ledger.place(id)));
            }
        }
    }

    /// Those that nobody spoke of.
    pub(super) fn speak_of_the_rest(&self, ledger: &mut Ledger) {
        for (name, (id, text)) in &self.by_name {
            if ledger.is_said(*id) {
                continue;
            }
            let name = name.as_str();
            let (outcome, note) = match name {
                "backend-protocol" if text == "HTTP" => (Outcome::Carried, "plain HTTP/1.1"),
                "canary" if text != "true" => (Outcome::Irrelevant, "no canary"),
                "use-regex" => (Outcome::Carried, "in the matches"),
                "rewrite-target" | "app-root" => (Outcome::Cannot, "Clew leaves the path as it is"),
                "limit-whitelist" | "limit-allowlist" | "limit-burst-multiplier" => {
                    (Outcome::Cannot, "there is no limit for each client")
                }
                "ssl-redirect" | "force-ssl-redirect" | "permanent-redirect" | "temporal-redirect" => (
                    Outcome::Cannot,
                    "handshakes are not redirected: browsers would not follow",
                ),
                "backend-protocol" | "proxy-ssl-secret" | "proxy-ssl-verify" | "proxy-ssl-name" => (
                    Outcome::Cannot,
                    "Clew connects plainly to pods: let the mesh encrypt",
                ),
                "configuration-snippet" | "server-snippet" | "stream-snippet" => (
                    Outcome::Cannot,
                    "NGINX's own language: nothing here does what it did",
                ),
                "session-cookie-samesite"
                | "session-cookie-secure"
                | "session-cookie-conditional-samesite-none" => (
                    Outcome::Approximated,
                    "SameSite=Strict, or None with Secure where the route allows other sites; Secure where the listener is TLS",
                ),
                "session-cookie-name"
                | "session-cookie-path"
                | "session-cookie-max-age"
                | "session-cookie-expires"
                | "affinity-mode"
                | "affinity-canary-behavior"
                | "session-cookie-change-on-failure"
                | "session-cookie-domain" => {
                    (Outcome::Irrelevant, "without affinity: cookie it does nothing")
                }
                "enable-cors" => (
                    Outcome::Approximated,
                    "Origin checks of handshakes are security.origin, in mode Report",
                ),
                "upstream-hash-by-subset" | "upstream-hash-by-subset-size" => {
                    (Outcome::Irrelevant, "without a subset it does nothing")
                }
                "upstream-vhost" => (Outcome::Cannot, "pods see the client's Host"),
                _ if GUARDS.contains(&name) => (Outcome::Cannot, "it kept clients out: nothing here does"),
                _ if name.starts_with("cors-") => (Outcome::Irrelevant, "a handshake asks for no CORS"),
                _ if IRRELEVANT.contains(&name) => {
                    (Outcome::Irrelevant, "it says nothing about WebSocket sessions")
                }
                _ => continue,
            };
            ledger.say(*id, outcome, note);
        }
    }
}

impl Annotations {
    /// There is nothing that it is a canary of.
    pub(super) fn lost_canary(&self, ledger: &mut Ledger) {
        for (_, (id, _)) in self.by_name.iter().filter(|(name, _)| name.starts_with("canary")) {
            ledger.say(*id, Outcome::Cannot, "no rule was found that it is a canary of");
        }
    }

    /// A canary takes its policy from the Ingress that it is a canary of.
    pub(super) fn speak_of_the_rest_of_canary(&self, ledger: &mut Ledger) {
        for (name, (id, _)) in &self.by_name {
            let is_known = GUARDS.contains(&name.as_str()) || IRRELEVANT.contains(&name.as_str()) || {
                let own = [
                    "affinity",
                    "affinity-mode",
                    "session-cookie-name",
                    "session-cookie-path",
                    "session-cookie-max-age",
                    "session-cookie-expires",
                    "upstream-hash-by",
                    "proxy-read-timeout",
                    "proxy-send-timeout",
                    "proxy-connect-timeout",
                ];
                own.contains(&name.as_str())
            };
            if !ledger.is_said(*id) && is_known {
                let note = "a canary has the policy of the Ingress that it is a canary of";
                ledger.say(*id, Outcome::Irrelevant, note);
            }
        }
        self.speak_of_the_rest(ledger);
    }
}
