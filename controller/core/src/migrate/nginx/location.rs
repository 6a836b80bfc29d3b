//! A `location`: which handshakes it takes, and what holds for them.

use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Match, Path, Plan, Rule, label};
use super::super::policy::{duration, is_path, millis, whole};
use super::super::servers::{self, Written};
use super::syntax::Directive;
use super::{Http, surroundings, upstream};

/// One that has a `proxy_pass` and passes the Upgrade header on.
pub(super) struct Location<'a> {
    pub(super) http: &'a Http<'a>,
    pub(super) directive: &'a Directive,
    pass: &'a Directive,
    /// From the outermost block to this one.
    pub(super) levels: Vec<Vec<&'a Directive>>,
}

impl<'a> Location<'a> {
    /// Those of a server, and what is to be said of the others.
    pub(super) fn collect(
        http: &'a Http<'a>,
        block: &'a Directive,
        outer: &[Vec<&'a Directive>],
        found: &mut Vec<Self>,
        ledger: &mut Ledger,
    ) {
        let mut levels = outer.to_vec();
        if levels.is_empty() {
            levels.push(http.level.clone());
        }
        levels.push(block.children().iter().collect());
        for directive in block.children().iter().filter(|one| one.name == "location") {
            let pass = directive.children().iter().find(|one| one.name == "proxy_pass");
            let mut own = levels.clone();
            own.push(directive.children().iter().collect());
            let location = pass.map(|pass| Self {
                http,
                directive,
                pass,
                levels: own,
            });
            match location.filter(Self::upgrades) {
                Some(location) => found.push(location),
                None => {
                    let why = if pass.is_some() {
                        "passes no Upgrade header on, so no WebSocket: keep it in an HTTPRoute"
                    } else {
                        "passes nothing on: no WebSocket"
                    };
                    let mut silent = |one: &Directive| match &*one.name {
                        // What passes it on may be in there.
                        "include" => surroundings::speak_of_include(one, ledger),
                        _ => ledger.say(one.id, Outcome::Irrelevant, why),
                    };
                    silent(directive);
                    directive
                        .children()
                        .iter()
                        .filter(|child| child.name != "location")
                        .for_each(|child| child.walk(&mut silent));
                }
            }
            Self::collect(http, directive, &levels, found, ledger);
        }
    }

    /// The nearest block that has this directive: an inner one replaces all of an outer one's.
    pub(super) fn nearest(&self, name: &str) -> Vec<&'a Directive> {
        let of = |level: &Vec<&'a Directive>| -> Vec<&'a Directive> {
            level.iter().copied().filter(|one| one.name == name).collect()
        };
        self.levels
            .iter()
            .rev()
            .map(of)
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    fn upgrades(&self) -> bool {
        self.nearest("proxy_set_header").iter().any(|one| {
            one.first().eq_ignore_ascii_case("upgrade")
                && one.arguments.get(1).is_some_and(|value| !value.is_empty())
        })
    }

    pub(super) fn is_expression(&self) -> bool {
        matches!(self.directive.first(), "~" | "~*")
    }

    /// The path that it takes; none where Gateway API has no such match.
    fn path(&self, has_expressions: bool, ledger: &mut Ledger) -> Option<Option<Path>> {
        let id = self.directive.id;
        let (kind, text) = match self.directive.arguments.as_slice() {
            [text] => ("", text.as_str()),
            [kind, text] => (kind.as_str(), text.as_str()),
            _ => ("?", ""),
        };
        if matches!(kind, "~" | "~*") {
            return match whole(text, kind == "~*") {
                Some(path) => {
                    let note = "RegularExpression of the whole path; NGINX takes the first that matches, Clew the longest";
                    ledger.say(id, Outcome::Approximated, note);
                    Some(Some(path))
                }
                None => {
                    ledger.say(
                        id,
                        Outcome::Cannot,
                        format!("{text} is no RE2 expression: no rule is written for it"),
                    );
                    None
                }
            };
        }
        if kind == "?" || text.starts_with('@') || !is_path(text) {
            let note = format!("{text:?} is no path that a client asks for: no rule is written for it");
            ledger.say(id, Outcome::Cannot, note);
            return None;
        }
        match kind {
            "=" => {
                ledger.say(id, Outcome::Carried, "Exact");
                Some(Some(Path::Exact(text.to_owned())))
            }
            "" | "^~" => {
                let (outcome, note) = if has_expressions && kind.is_empty() {
                    let note = "PathPrefix; NGINX tries expressions first, Clew the longest";
                    (Outcome::Approximated, note.to_owned())
                } else if text.ends_with('/') {
                    (Outcome::Carried, "PathPrefix".to_owned())
                } else {
                    let note = format!(
                        "PathPrefix by segments: it takes {text} and {text}/a, not {text}x as NGINX did"
                    );
                    (Outcome::Approximated, note)
                };
                ledger.say(id, outcome, note);
                Some((text != "/").then(|| Path::Prefix(text.to_owned())))
            }
            _ => {
                ledger.say(id, Outcome::Cannot, format!("{kind} is no kind of location"));
                None
            }
        }
    }

    /// The rule that it becomes.
    pub(super) fn rule(&self, has_expressions: bool, plan: &mut Plan, ledger: &mut Ledger) -> Option<Rule> {
        let Some(path) = self.path(has_expressions, ledger) else {
            let why = "no rule is written for this location";
            self.directive.children().iter().for_each(|child| {
                if child.name != "location" {
                    child.walk(&mut |one| ledger.say(one.id, Outcome::Cannot, why));
                }
            });
            return None;
        };
        let text = self.directive.arguments.last().map_or("", String::as_str);
        let mut rule = Rule {
            name: match label(text).as_str() {
                "default" => "all".to_owned(),
                name => name.to_owned(),
            },
            matches: path
                .iter()
                .map(|path| Match {
                    path: Some(path.clone()),
                    ..Match::default()
                })
                .collect(),
            ..Rule::default()
        };
        self.backends(path.as_ref(), &mut rule, plan, ledger);
        self.timeouts(&mut rule, ledger);
        surroundings::speak_of_location(self, &mut rule, ledger);
        Some(rule)
    }

    fn backends(&self, path: Option<&Path>, rule: &mut Rule, plan: &mut Plan, ledger: &mut Ledger) {
        let target = self.pass.first();
        let (scheme, rest) = target.split_once("://").unwrap_or(("http", target));
        let (host, uri) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let mut outcome = (Outcome::Carried, "backendRefs".to_owned());
        let mut decide = |ledger: &Ledger, rule: &mut Rule, note: String| {
            rule.policy
                .remark(format!("DECIDE ({}): {note}.", ledger.place(self.pass.id)));
            outcome = (Outcome::Cannot, note);
        };
        if scheme == "https" {
            let note = "the servers were reached by TLS; Clew connects plainly, so in a cluster let the mesh encrypt";
            decide(ledger, rule, note.to_owned());
        }
        if !uri.is_empty() && self.directive.arguments != [uri.to_owned()] {
            let note = format!(
                "{target} replaced the location's path by {uri}; Clew leaves the path as it is, so the servers must know {}",
                self.directive.arguments.last().map_or("/", String::as_str)
            );
            decide(ledger, rule, note);
        }
        let hops = surroundings::trusted_hops(self, ledger);
        match self.http.upstreams.get(host) {
            Some(upstream) => upstream::apply(self.http, upstream, path, hops, rule, plan, ledger),
            None if host.contains('$') || host.starts_with("unix:") => {
                decide(
                    ledger,
                    rule,
                    format!("{host} says only at run time which servers these are"),
                );
                rule.backends = servers::services(&label(&rule.name), &[], plan, ledger);
            }
            None => {
                let server = Written {
                    id: self.pass.id,
                    name: None,
                    address: host.to_owned(),
                    port: if scheme == "https" { 443 } else { 80 },
                    weight: 1,
                    is_backup: false,
                    is_down: false,
                };
                rule.backends = servers::services(&label(host), &[server], plan, ledger);
            }
        }
        ledger.say(self.pass.id, outcome.0, outcome.1);
    }

    fn timeouts(&self, rule: &mut Rule, ledger: &mut Ledger) {
        for directive in self.nearest("proxy_read_timeout") {
            match millis(directive.first(), 1000) {
                Some(ms) => {
                    rule.policy.map("timeouts").set("idle", duration(ms));
                    let note =
                        "timeouts.idle: without a byte in either direction; NGINX counted the server's only";
                    ledger.say(directive.id, Outcome::Approximated, note);
                }
                None => ledger.say(directive.id, Outcome::Cannot, "this is no duration"),
            }
        }
        let read = self
            .nearest("proxy_read_timeout")
            .first()
            .map(|one| one.first().to_owned());
        for directive in self.nearest("proxy_send_timeout") {
            let (outcome, note) = if read.as_deref() == Some(directive.first()) {
                (Outcome::Carried, "timeouts.idle, as proxy_read_timeout")
            } else {
                (
                    Outcome::Approximated,
                    "timeouts.idle is that of proxy_read_timeout: one for both directions",
                )
            };
            ledger.say(directive.id, outcome, note);
        }
        for directive in self.nearest("proxy_connect_timeout") {
            match millis(directive.first(), 1000).filter(|ms| *ms > 0) {
                Some(ms) => {
                    rule.policy.map("timeouts").set("handshake", duration(ms));
                    let note = "timeouts.handshake: to the server's 101, not only to its TCP";
                    ledger.say(directive.id, Outcome::Approximated, note);
                }
                None => ledger.say(directive.id, Outcome::Cannot, "this is no duration"),
            }
        }
    }
}
