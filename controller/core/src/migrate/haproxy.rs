//! haproxy.cfg: every backend that a frontend leads to becomes a rule, every set of hosts a route.

mod backend;
mod condition;
mod surroundings;
mod syntax;

use std::collections::BTreeSet;

use super::Input;
use super::ledger::{Ledger, Outcome};
use super::plan::{Match, Plan, Route, Rule, label, unused};
pub(super) use condition::cookie as cookie_match;
use condition::{Acls, Alternatives};
use syntax::{Line, Section};

/// All sections.
struct Proxies {
    sections: Vec<Section>,
}

impl Proxies {
    /// The lines of a section that begin with this word.
    fn own<'a>(&'a self, section: &'a Section, word: &str) -> impl Iterator<Item = &'a Line> + use<'a> {
        let word = word.to_owned();
        section.lines.iter().filter(move |line| line.word(0) == word)
    }

    /// The same, and where there are none those of its `defaults`.
    fn lines<'a>(&'a self, section: &'a Section, word: &str) -> Vec<&'a Line> {
        let own: Vec<_> = self.own(section, word).collect();
        match section.defaults.and_then(|at| self.sections.get(at)) {
            Some(defaults) if own.is_empty() => self.own(defaults, word).collect(),
            _ => own,
        }
    }

    /// The last of them, which is the one that holds.
    fn nearest<'a>(&'a self, section: &'a Section, word: &str) -> Option<&'a Line> {
        self.lines(section, word).pop()
    }

    /// `timeout NAME`, own or of the defaults.
    fn timeout<'a>(&'a self, section: &'a Section, name: &str) -> Option<&'a Line> {
        let of = |section: &'a Section| section.lines.iter().rfind(|line| line.is(&["timeout", name]));
        of(section).or_else(|| of(self.sections.get(section.defaults?)?))
    }

    fn backend(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| matches!(section.kind.as_str(), "backend" | "listen") && section.name == name)
    }
}

/// Translates files that together are one configuration.
pub(super) fn translate(inputs: &[Input], plan: &mut Plan, ledger: &mut Ledger) {
    let mut sections = Vec::new();
    for input in inputs {
        syntax::read(&input.file, &input.text, &mut sections, ledger);
    }
    let all = Proxies { sections };
    let mut names = BTreeSet::new();
    for section in &all.sections {
        match section.kind.as_str() {
            "frontend" | "listen" if is_http(&all, section) => {
                frontend(&all, section, &mut names, plan, ledger);
            }
            "frontend" | "listen" => {
                let note = "mode tcp: Clew routes WebSocket handshakes, so it must see HTTP";
                ledger.say(section.id, Outcome::Cannot, note);
                section
                    .lines
                    .iter()
                    .for_each(|line| ledger.say(line.id, Outcome::Cannot, note));
            }
            _ => {}
        }
    }
    surroundings::speak_of_the_rest(&all, ledger);
}

/// A page of statistics.
fn leads_nowhere(section: &Section) -> bool {
    !section.lines.iter().any(|line| {
        matches!(
            line.word(0),
            "server" | "server-template" | "use_backend" | "default_backend"
        )
    })
}

fn is_http(all: &Proxies, section: &Section) -> bool {
    // Without a word, HAProxy speaks TCP; who leaves it out here means the usual `defaults` of a file that was not given.
    all.nearest(section, "mode")
        .is_none_or(|line| line.word(1) == "http")
}

fn frontend(
    all: &Proxies,
    section: &Section,
    names: &mut BTreeSet<String>,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    if leads_nowhere(section) {
        return;
    }
    let mut acls = Acls::default();
    all.own(section, "acl").for_each(|line| acls.read(line));
    for line in all.own(section, "acl") {
        match acls.meaning(line.word(1)) {
            Ok(None) => ledger.say(
                line.id,
                Outcome::Carried,
                "in the matches of the rules that use it",
            ),
            Ok(Some(note)) => ledger.say(line.id, Outcome::Approximated, note.to_owned()),
            Err(why) => ledger.say(line.id, Outcome::Cannot, why.to_owned()),
        }
    }
    let mut routes: Vec<(BTreeSet<String>, Vec<Rule>)> = Vec::new();
    let mut any_host = Vec::new();
    let mut remarks = Vec::new();
    let uses: Vec<&Line> = all.own(section, "use_backend").collect();
    let mut is_taken = false;
    for line in &uses {
        if is_taken {
            ledger.say(line.id, Outcome::Irrelevant, "a line above takes every WebSocket");
            continue;
        }
        let alternatives = match acls.condition(line.words.get(2..).unwrap_or_default()) {
            Ok(alternatives) if alternatives.is_empty() => {
                ledger.say(line.id, Outcome::Irrelevant, "no WebSocket handshake has that");
                continue;
            }
            Ok(alternatives) => alternatives,
            Err(why) => {
                remarks.push(format!(
                    "DECIDE ({}): no rule is written for `{}`: {why}.",
                    ledger.place(line.id),
                    line.text()
                ));
                ledger.say(
                    line.id,
                    Outcome::Cannot,
                    format!("no rule is written for it: {why}"),
                );
                continue;
            }
        };
        let Some(backend) = all.backend(line.word(1)) else {
            ledger.say(
                line.id,
                Outcome::Cannot,
                "no backend of this name is in what was read",
            );
            continue;
        };
        let (outcome, note) = if uses.len() > 1 {
            (
                Outcome::Approximated,
                "a rule; HAProxy takes the first that matches, Clew the most specific",
            )
        } else {
            (Outcome::Carried, "a rule")
        };
        ledger.say(line.id, outcome, note);
        is_taken = alternatives
            .iter()
            .any(|(host, one)| host.is_none() && *one == Match::default());
        enter(
            all,
            section,
            backend,
            alternatives,
            &mut routes,
            &mut any_host,
            plan,
            ledger,
        );
    }
    let default = all.nearest(section, "default_backend");
    let default = match default {
        Some(line) if is_taken => {
            ledger.say(line.id, Outcome::Irrelevant, "a line above takes every WebSocket");
            None
        }
        Some(line) => {
            let found = all.backend(line.word(1));
            match found {
                Some(_) => ledger.say(line.id, Outcome::Carried, "a rule without matches"),
                None => ledger.say(
                    line.id,
                    Outcome::Cannot,
                    "no backend of this name is in what was read",
                ),
            }
            found
        }
        None => (section.kind == "listen" && !is_taken).then_some(section),
    };
    if let Some(backend) = default {
        let everything = vec![Default::default()];
        enter(
            all,
            section,
            backend,
            everything,
            &mut routes,
            &mut any_host,
            plan,
            ledger,
        );
    }
    // A route with hosts takes all of their handshakes: what holds for every host holds for these, too.
    for (_, rules) in &mut routes {
        if !rules.iter().any(|rule| rule.matches.is_empty()) {
            rules.extend(any_host.iter().cloned());
        }
    }
    if !any_host.is_empty() {
        routes.push((BTreeSet::new(), any_host));
    }
    let ports = surroundings::bind(all, section, plan, ledger);
    let mut remarks = Some(remarks);
    for (hosts, rules) in routes {
        let name = hosts
            .iter()
            .next()
            .map_or(section.name.as_str(), |host| host.trim_start_matches("*."));
        plan.routes.push(Route {
            name: unused(&label(name), names),
            namespace: None,
            ports: ports.clone(),
            hostnames: hosts.into_iter().collect(),
            rules,
            remarks: remarks.take().unwrap_or_default(),
        });
    }
    for port in ports {
        plan.listeners.entry(port).or_default();
    }
    ledger.say(section.id, Outcome::Carried, "a listener, and its routes");
}

/// Adds the rules of a backend: one for each set of hosts with the same matches.
#[expect(clippy::too_many_arguments, reason = "two lists grow, and two books are kept")]
fn enter(
    all: &Proxies,
    section: &Section,
    backend: &Section,
    alternatives: Alternatives,
    routes: &mut Vec<(BTreeSet<String>, Vec<Rule>)>,
    any_host: &mut Vec<Rule>,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    let mut by_host: Vec<(Option<String>, Vec<Match>)> = Vec::new();
    for (host, one) in alternatives {
        match by_host.iter_mut().find(|(other, _)| *other == host) {
            Some((_, matches)) if !matches.contains(&one) => matches.push(one),
            Some(_) => {}
            None => by_host.push((host, vec![one])),
        }
    }
    let mut by_matches: Vec<(BTreeSet<String>, bool, Vec<Match>)> = Vec::new();
    for (host, matches) in by_host {
        match by_matches
            .iter_mut()
            .find(|(_, is_any, others)| *others == matches && *is_any == host.is_none())
        {
            Some((hosts, ..)) => hosts.extend(host),
            None => by_matches.push((host.iter().cloned().collect(), host.is_none(), matches)),
        }
    }
    for (hosts, is_any, mut matches) in by_matches {
        if matches.contains(&Match::default()) {
            matches.clear();
        }
        let mut rule = Rule {
            name: backend.name.clone(),
            matches,
            ..Rule::default()
        };
        backend::apply(all, backend, &mut rule, plan, ledger);
        surroundings::speak_of_rule(all, section, backend, &mut rule, ledger);
        if is_any {
            any_host.push(rule);
        } else {
            match routes.iter_mut().find(|(others, _)| *others == hosts) {
                Some((_, rules)) => rules.push(rule),
                None => routes.push((hosts, vec![rule])),
            }
        }
    }
}
