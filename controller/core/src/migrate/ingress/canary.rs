//! A canary Ingress: a share of the sessions of another one, by weight, header or cookie.

use std::sync::Arc;

use super::super::haproxy::cookie_match;
use super::super::ledger::{Ledger, Outcome};
use super::super::plan::{Match, Path, Plan, Rule, Text};
use super::super::policy::is_token;
use super::annotations::Annotations;
use super::syntax::{Ingress, Objects};
use super::{backend, line, taken, written};

/// Adds a canary to the rules of the same host and path.
pub(super) fn add(
    file: &Arc<str>,
    ingress: &Ingress,
    annotations: &Annotations,
    objects: &Objects,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    let id = ledger.enter(
        file,
        line(ingress.kind.referenced.line()),
        format!("Ingress {}", ingress.metadata.name),
    );
    ledger.say(
        id,
        Outcome::Carried,
        "a canary, in the routes of the Ingress with the same host and path",
    );
    let mut is_found = false;
    for host_rule in &ingress.spec.rules {
        for path in host_rule.value.http.iter().flat_map(|http| &http.paths) {
            let id = ledger.enter(file, line(path.referenced.line()), written(&path.value));
            let Some(wanted) = taken(&path.value, annotations, id, ledger) else {
                continue;
            };
            let host = host_rule
                .value
                .host
                .as_ref()
                .map(|host| host.to_ascii_lowercase());
            let is_it = |rule: &Rule| {
                let first = rule.matches.first();
                first.and_then(|one| one.path.clone()) == wanted
                    && first.is_none_or(|one| one.headers.is_empty())
            };
            let route = plan.routes.iter_mut().find(|route| {
                route.namespace == ingress.metadata.namespace
                    && route.hostnames.first() == host.as_ref()
                    && route.rules.iter().any(is_it)
            });
            let (Some(route), Some(reference)) = (route, path.value.backend.service()) else {
                ledger.say(
                    id,
                    Outcome::Cannot,
                    "no other Ingress in what was read has this host and path",
                );
                continue;
            };
            is_found = true;
            let Some(at) = route.rules.iter().position(is_it) else {
                continue;
            };
            let Some(main) = route.rules.get_mut(at) else {
                continue;
            };
            let canary = backend(reference, ingress, objects, id, main, ledger);
            let unweighted = main.clone();
            let weight = weight(annotations, ledger);
            if let Some((weight, total)) = weight {
                for backend in &mut main.backends {
                    backend.weight = total.saturating_sub(weight);
                }
                main.backends.push(super::Backend {
                    weight,
                    ..canary.clone()
                });
            }
            let mut more = Vec::new();
            for (suffix, text, is_canary) in asked(annotations, ledger) {
                let mut rule = unweighted.clone();
                rule.name = format!("{}-{suffix}", rule.name);
                if is_canary {
                    rule.backends = vec![super::Backend {
                        weight: 1,
                        ..canary.clone()
                    }];
                }
                if rule.matches.is_empty() {
                    let path = Some(Path::Prefix("/".to_owned()));
                    rule.matches.push(Match {
                        path,
                        ..Match::default()
                    });
                }
                rule.matches
                    .iter_mut()
                    .for_each(|one| one.headers.push(text.clone()));
                more.push(rule);
            }
            // `never` changes nothing where no weight sends anybody to the canary.
            more.retain(|rule| weight.is_some() || !rule.name.ends_with("-never"));
            route.rules.splice(at..at, more);
        }
    }
    for name in ["canary", "canary-weight-total"] {
        if let Some((id, _)) = annotations.get(name) {
            ledger.say(id, Outcome::Carried, "backendRefs, or rules of their own");
        }
    }
    if !is_found {
        annotations.lost_canary(ledger);
    }
    annotations.speak_of_the_rest_of_canary(ledger);
}

/// The canary's share, and of how many.
fn weight(annotations: &Annotations, ledger: &mut Ledger) -> Option<(u32, u32)> {
    let total = annotations
        .get("canary-weight-total")
        .and_then(|(_, text)| text.parse::<u32>().ok())
        .filter(|total| (1..=1_000_000).contains(total))
        .unwrap_or(100);
    let (id, text) = annotations.get("canary-weight")?;
    match text.parse::<u32>() {
        Ok(weight) if weight <= total => {
            let note = "weights of backendRefs: a share of the keys, so a session stays on its side while the weights stay";
            ledger.say(id, Outcome::Carried, note);
            (weight > 0).then_some((weight, total))
        }
        _ => {
            ledger.say(id, Outcome::Cannot, "this is no share of canary-weight-total");
            None
        }
    }
}

/// What sends a session to the canary, or keeps it away: the end of the rule's name, the header, and which of both.
fn asked(annotations: &Annotations, ledger: &mut Ledger) -> Vec<(&'static str, Text, bool)> {
    let mut found = Vec::new();
    let text = |name: &str, value: &str, is_expression| Text {
        name: name.to_owned(),
        value: value.to_owned(),
        is_expression,
    };
    if let Some((id, name)) = annotations
        .get("canary-by-header")
        .filter(|(_, name)| is_token(name))
    {
        let value = annotations
            .get("canary-by-header-value")
            .filter(|(_, value)| !value.is_empty());
        let pattern = annotations.get("canary-by-header-pattern");
        match (value, pattern) {
            (Some((of, value)), _) => {
                found.push(("canary", text(name, value, false), true));
                ledger.say(of, Outcome::Carried, "a rule of its own");
            }
            (None, Some((of, pattern))) => match super::whole(pattern, false) {
                Some(Path::Expression(whole)) => {
                    found.push(("canary", text(name, &whole, true), true));
                    ledger.say(of, Outcome::Carried, "a rule of its own");
                }
                _ => ledger.say(of, Outcome::Cannot, "this is no RE2 expression"),
            },
            (None, None) => {
                found.push(("canary", text(name, "always", false), true));
                found.push(("never", text(name, "never", false), false));
            }
        }
        ledger.say(
            id,
            Outcome::Carried,
            "rules of their own, before that of the weights",
        );
    }
    if let Some((id, name)) = annotations
        .get("canary-by-cookie")
        .filter(|(_, name)| is_token(name))
    {
        for (suffix, value, is_canary) in [
            ("cookie-canary", "always", true),
            ("cookie-never", "never", false),
        ] {
            found.push((suffix, cookie_match(&text(name, value, false)), is_canary));
        }
        let note = "rules of their own, by an expression for the header that carries all cookies";
        ledger.say(id, Outcome::Approximated, note);
    }
    found
}
