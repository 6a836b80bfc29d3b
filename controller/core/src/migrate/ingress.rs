//! Ingresses of ingress-nginx: every host becomes a WebSocketRoute, every path a rule, annotations its policy.

mod annotations;
mod canary;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::{Id, Ledger, Outcome};
use super::plan::{Backend, Listener, Match, Path, Plan, Route, Rule, Service, label, unused};
use super::policy::{is_hostname, is_name, is_path, whole};
use super::{Input, Refused};
use annotations::Annotations;
use syntax::{HttpPath, Ingress, Objects, ServiceReference};

/// Translates files of manifests.
pub(super) fn translate(
    inputs: &[Input],
    stand_alone: bool,
    plan: &mut Plan,
    ledger: &mut Ledger,
) -> Result<(), Refused> {
    let mut objects = Objects::default();
    for input in inputs {
        syntax::read(input, &mut objects)?;
    }
    for (file, line, kind) in &objects.others {
        let id = ledger.enter(file, *line, format!("kind: {kind}"));
        ledger.say(id, Outcome::Irrelevant, "neither an Ingress nor a Service");
    }
    for (file, ingress) in &objects.ingresses {
        let metadata = &ingress.metadata;
        if !is_name(&metadata.name) || metadata.namespace.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(Refused {
                file: Arc::clone(file),
                line: line(ingress.kind.referenced.line()),
                message: "an Ingress has a name, and its namespace one, in lower case".to_owned(),
            });
        }
    }
    plan.only_routes = !stand_alone;
    let mut names = BTreeSet::new();
    let (canaries, others): (Vec<_>, Vec<_>) = objects
        .ingresses
        .iter()
        .map(|(file, ingress)| (file, ingress, Annotations::read(file, ingress, ledger)))
        .partition(|(.., annotations)| annotations.is("canary", "true"));
    for (file, ingress, annotations) in &others {
        translate_one(file, ingress, annotations, &objects, &mut names, plan, ledger);
    }
    for (file, ingress, annotations) in &canaries {
        canary::add(file, ingress, annotations, &objects, plan, ledger);
    }
    if stand_alone {
        plan.listeners.insert(
            80,
            Listener {
                is_tls: objects
                    .ingresses
                    .iter()
                    .any(|(_, ingress)| !ingress.spec.tls.is_empty()),
                remarks: vec![
                    "DECIDE: the port that clients reach; TLS needs protocol: HTTPS and its Secret."
                        .to_owned(),
                ],
                ..Listener::default()
            },
        );
        let wanted: BTreeSet<_> = plan
            .routes
            .iter()
            .flat_map(|route| {
                let rules = route.rules.iter().flat_map(|rule| &rule.backends);
                rules.map(|backend| (route.namespace.clone(), backend.service.clone(), backend.port))
            })
            .collect();
        for (namespace, name, port) in wanted {
            let service = Service {
                port,
                remarks: vec!["DECIDE: without a cluster, its endpoints; in one it is there already: do not apply this.".to_owned()],
                ..Service::default()
            };
            plan.services.entry((namespace, name)).or_insert(service);
        }
        plan.in_namespace_of_routes();
    }
    Ok(())
}

fn line(line: u64) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX)
}

fn translate_one(
    file: &Arc<str>,
    ingress: &Ingress,
    annotations: &Annotations,
    objects: &Objects,
    names: &mut BTreeSet<String>,
    plan: &mut Plan,
    ledger: &mut Ledger,
) {
    let mut routes: BTreeMap<Option<String>, Vec<Rule>> = BTreeMap::new();
    let id = ledger.enter(
        file,
        line(ingress.kind.referenced.line()),
        format!("Ingress {}", ingress.metadata.name),
    );
    ledger.say(id, Outcome::Carried, "a WebSocketRoute for each host");
    if let Some(class) = &ingress.spec.ingress_class_name {
        let id = ledger.enter(
            file,
            line(class.referenced.line()),
            format!("ingressClassName: {}", class.value),
        );
        ledger.say(id, Outcome::Irrelevant, "a route names its Gateway");
    }
    let mut remarks = Vec::new();
    for tls in &ingress.spec.tls {
        let id = ledger.enter(file, line(tls.referenced.line()), format!("tls: {}", tls.value));
        let note = "TLS belongs to the Gateway's listener: give it this Secret";
        remarks.push(format!("DECIDE ({}): {note}.", ledger.place(id)));
        ledger.say(id, Outcome::Cannot, note);
    }
    for rule in &ingress.spec.rules {
        let host = rule
            .value
            .host
            .as_ref()
            .map(|host| host.to_ascii_lowercase())
            .filter(|host| !host.is_empty());
        let id = ledger.enter(
            file,
            line(rule.referenced.line()),
            format!("host: {}", host.as_deref().unwrap_or("(any)")),
        );
        if let Some(host) = host.as_ref().filter(|host| !is_hostname(host)) {
            ledger.say(id, Outcome::Cannot, format!("{host} is no hostname"));
            continue;
        }
        ledger.say(id, Outcome::Carried, "hostnames");
        for path in rule.value.http.iter().flat_map(|http| &http.paths) {
            let id = ledger.enter(file, line(path.referenced.line()), written(&path.value));
            let Some(taken) = taken(&path.value, annotations, id, ledger) else {
                continue;
            };
            let Some(reference) = path.value.backend.service() else {
                ledger.say(id, Outcome::Cannot, "its backend is no Service with a name");
                continue;
            };
            let mut rule = one(reference, taken, ingress, objects, id, ledger);
            annotations.apply(&mut rule, ledger);
            routes.entry(host.clone()).or_default().push(rule);
        }
    }
    if let Some(backend) = &ingress.spec.default_backend {
        let id = ledger.enter(file, line(backend.referenced.line()), "defaultBackend".to_owned());
        match backend.value.service() {
            Some(reference) => {
                ledger.say(
                    id,
                    Outcome::Carried,
                    "a rule without matches, of a route without hostnames",
                );
                let mut rule = one(reference, None, ingress, objects, id, ledger);
                annotations.apply(&mut rule, ledger);
                routes.entry(None).or_default().push(rule);
            }
            None => ledger.say(id, Outcome::Cannot, "its backend is no Service with a name"),
        }
    }
    annotations.speak_of_the_rest(ledger);
    let count = routes.len();
    for (host, mut rules) in routes {
        if let Some(rule) = rules.first_mut() {
            annotations.remark(&mut rule.policy, ledger);
        }
        let name = match (&host, count) {
            (Some(host), 2..) => format!("{}-{}", ingress.metadata.name, host.trim_start_matches("*.")),
            _ => ingress.metadata.name.clone(),
        };
        let mut taken_here: BTreeSet<String> = names
            .iter()
            .filter_map(|key| within(key, &ingress.metadata.namespace))
            .collect();
        let name = unused(&label(&name), &mut taken_here);
        names.insert(format!(
            "{}/{name}",
            ingress.metadata.namespace.as_deref().unwrap_or_default()
        ));
        plan.routes.push(Route {
            name,
            namespace: ingress.metadata.namespace.clone(),
            ports: BTreeSet::new(),
            hostnames: host.into_iter().collect(),
            rules,
            remarks: std::mem::take(&mut remarks),
        });
    }
}

fn within(key: &str, namespace: &Option<String>) -> Option<String> {
    let name = key.strip_prefix(namespace.as_deref().unwrap_or_default())?;
    name.strip_prefix('/').map(str::to_owned)
}

fn written(path: &HttpPath) -> String {
    format!(
        "path: {} ({})",
        path.path.as_deref().unwrap_or("/"),
        path.path_type.as_deref().unwrap_or("no pathType")
    )
}

/// The path that a rule takes; none where it cannot be one.
fn taken(path: &HttpPath, annotations: &Annotations, id: Id, ledger: &mut Ledger) -> Option<Option<Path>> {
    let text = path.path.as_deref().unwrap_or("/");
    let is_expression = annotations.is("use-regex", "true") || annotations.has("rewrite-target");
    let kind = path.path_type.as_deref().unwrap_or("ImplementationSpecific");
    let (found, outcome, note) = match kind {
        "Exact" if is_path(text) && !is_expression => (
            Some(Some(Path::Exact(text.to_owned()))),
            Outcome::Carried,
            "Exact",
        ),
        _ if is_expression && text != "/" => match whole(&format!("^{text}"), true) {
            Some(path) => (
                Some(Some(path)),
                Outcome::Approximated,
                "RegularExpression of the whole path, in any case, as ingress-nginx takes it",
            ),
            None => (
                None,
                Outcome::Cannot,
                "this is no RE2 expression: no rule is written for it",
            ),
        },
        _ if text == "/" => (Some(None), Outcome::Carried, "every path"),
        "Prefix" if is_path(text) => (
            Some(Some(Path::Prefix(text.to_owned()))),
            Outcome::Carried,
            "PathPrefix",
        ),
        "ImplementationSpecific" if is_path(text) => (
            Some(Some(Path::Prefix(text.to_owned()))),
            Outcome::Approximated,
            "PathPrefix by segments, as pathType: Prefix",
        ),
        _ => (
            None,
            Outcome::Cannot,
            "this is no path: no rule is written for it",
        ),
    };
    ledger.say(id, outcome, note);
    found
}

fn one(
    reference: &ServiceReference,
    path: Option<Path>,
    ingress: &Ingress,
    objects: &Objects,
    id: Id,
    ledger: &mut Ledger,
) -> Rule {
    let mut rule = Rule {
        name: path_name(path.as_ref(), reference),
        matches: path
            .into_iter()
            .map(|path| Match {
                path: Some(path),
                ..Match::default()
            })
            .collect(),
        ..Rule::default()
    };
    let backend = backend(reference, ingress, objects, id, &mut rule, ledger);
    rule.backends = vec![backend];
    rule
}

fn path_name(path: Option<&Path>, reference: &ServiceReference) -> String {
    match path {
        Some(Path::Exact(text) | Path::Prefix(text) | Path::Expression(text)) => match label(text).as_str() {
            "default" => reference.name.clone(),
            name => name.to_owned(),
        },
        None => reference.name.clone(),
    }
}

/// The Service and its port, which must be a number.
fn backend(
    reference: &ServiceReference,
    ingress: &Ingress,
    objects: &Objects,
    id: Id,
    rule: &mut Rule,
    ledger: &mut Ledger,
) -> Backend {
    let named = reference.port.name.as_ref().and_then(|name| {
        let is_it = |service: &&syntax::Service| {
            service.metadata.name == reference.name
                && service.metadata.namespace.as_deref().unwrap_or("default")
                    == ingress.metadata.namespace.as_deref().unwrap_or("default")
        };
        let service = objects.services.iter().find(is_it)?;
        service
            .spec
            .ports
            .iter()
            .find(|port| port.name.as_ref() == Some(name))
    });
    let port = reference
        .port
        .number
        .or(named.map(|port| port.port))
        .filter(|port| *port > 0);
    let port = port.unwrap_or_else(|| {
        let note = format!(
            "port {} of Service {} has a name only: 80 is a guess, give the Service's manifest to clew migrate, too",
            reference.port.name.as_deref().unwrap_or("(none)"),
            reference.name
        );
        rule.policy.remark(format!("DECIDE ({}): {note}.", ledger.place(id)));
        ledger.say(id, Outcome::Cannot, note);
        80
    });
    Backend {
        service: reference.name.clone(),
        port,
        weight: 1,
    }
}
