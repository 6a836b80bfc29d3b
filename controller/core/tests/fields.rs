//! The tables of what is honoured where are what the status of a route, and of a policy, with every field says there. `make golden`
//! rewrites them.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use clew_core::objects::{Objects, Source, Sourced};
use clew_core::validate::{RouteReport, Target, Validated, validate};
use clew_crds::{WebSocketPolicy, WebSocketRoute, crd_yaml};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The kinds of parents of a route, with the name of one of each.
const PARENTS: [(&str, &str); 6] = [
    ("stand-alone Envoy", "standalone"),
    ("Istio's Gateway (VirtualService)", "edge"),
    ("a Gateway of Istio's class (HTTPRoute)", "istio"),
    ("a Service on Istio's mesh", "chat"),
    ("a Gateway of Envoy Gateway", "envoy-gateway"),
    ("a Gateway of any other class", "other"),
];

/// The kinds of Gateways of a policy's HTTPRoute, with the name of one of each.
const GATEWAYS: [(&str, &str); 2] = [
    ("a Gateway of Envoy Gateway", "envoy-gateway"),
    ("a Gateway of Istio's class", "istio"),
];

/// What there would be no route without: what is said of it is never all of it.
const MAKE_A_ROUTE: [&str; 2] = ["rules[].backendRefs", "rules[].matches"];

/// The policy with every field, and the one without what that is refused for.
const EVERY: &str = "every";
const TAKEN: &str = "taken";

/// One of the tables.
struct Table<'v> {
    /// The kind of what has the fields.
    kind: &'static str,
    columns: &'static [(&'static str, &'static str)],
    fields: BTreeSet<String>,
    /// Who says what is refused.
    refused: &'v RouteReport,
    /// Who says what is ignored.
    ignored: &'v RouteReport,
}

/// Why something is not honoured, each once, for all tables.
#[derive(Default)]
struct Notes(Vec<String>);

/// What a cell says.
enum Cell {
    Honoured,
    /// Why.
    Ignored(String),
    /// Some of it is not; why.
    InPart(String),
    /// The route is refused; why.
    Refused(String),
}

#[test]
fn the_tables_of_fields_are_what_a_route_and_a_policy_with_every_field_are_told() {
    let validated = validate(&objects(), Target::Every);
    let (route, every, taken) = (
        report(&validated, "chat"),
        report(&validated, EVERY),
        report(&validated, TAKEN),
    );
    assert!(taken.refusals.is_empty(), "{:?}", taken.refusals);
    let tables = [
        Table {
            kind: "WebSocketRoute",
            columns: &PARENTS,
            fields: fields_of_a_route(),
            refused: route,
            ignored: route,
        },
        // A policy that is refused is nowhere in force, so that nobody says what else of it would be ignored.
        Table {
            kind: "WebSocketPolicy",
            columns: &GATEWAYS,
            fields: fields_of_a_policy(),
            refused: every,
            ignored: taken,
        },
    ];
    let mut notes = Notes::default();
    let mut text = "# Which parent honours which field\n\nGenerated from what the status of a route, and of a policy, with every field says (`make golden`). \
                    `no`: the field is named in the `PartiallySupported` condition; `in part`: so is what the note says of it; \
                    `refused`: the parent does not take the route, or the policy. Which kind a parent is, [the guide](../guide/gateway-api.md) says; \
                    the parents of a policy are the Gateways of [the HTTPRoutes](../guide/own-routes.md) that it is for.\n"
        .to_owned();
    for table in &tables {
        text += &format!("\n## {}\n\n{}", table.kind, table.print(&mut notes));
    }
    text += &format!("\n## Notes\n\n{}", notes.print());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fields.md");
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

/// What became of the one of a name.
fn report<'v>(validated: &'v Validated, name: &str) -> &'v RouteReport {
    let mut all = validated.routes.iter();
    all.find(|report| report.name.name == name).unwrap()
}

impl Table<'_> {
    fn print(&self, notes: &mut Notes) -> String {
        let mut rows = String::new();
        let (mut honoured, mut others) = (0, 0);
        for field in &self.fields {
            rows += &format!("| `{field}` |");
            for column in 0..self.columns.len() {
                let cell = self.cell(column, field);
                match cell {
                    Cell::Honoured => honoured += 1,
                    _ => others += 1,
                }
                rows += &format!(" {} |", notes.text(cell));
            }
            rows += "\n";
        }
        let cells = self.fields.len() * self.columns.len();
        assert!(
            honoured > cells / 2 && others > cells / 7,
            "{}: {honoured} and {others} of {cells}",
            self.kind
        );
        let titles: String = self
            .columns
            .iter()
            .map(|(title, _)| format!(" {title} |"))
            .collect();
        format!(
            "| field |{titles}\n|---|{}\n{rows}",
            "---|".repeat(self.columns.len())
        )
    }

    /// What the status at a parent says of a field, or of what it is a part of.
    fn cell(&self, column: usize, field: &str) -> Cell {
        let concerns = |path: &str| {
            let path = path.trim_start_matches("spec.");
            let general = without_indices(path);
            let listed = general.strip_suffix("[]").unwrap_or(&general);
            (listed == field || field.starts_with(&format!("{listed}.")))
                .then(|| general.ends_with("[]") || MAKE_A_ROUTE.contains(&field))
        };
        let refused = self.refused.refusals.iter().find(|refusal| {
            refusal.parent.is_none_or(|only| only == column) && concerns(&refusal.field).is_some()
        });
        if let Some(refusal) = refused {
            return Cell::Refused(refusal.message.clone());
        }
        let ignored = self.ignored.parents[column]
            .unsupported
            .iter()
            .find_map(|one| Some((concerns(&one.field)?, &one.why)));
        match ignored {
            None => Cell::Honoured,
            Some((true, why)) => Cell::InPart(why.clone()),
            Some((false, why)) => Cell::Ignored(why.clone()),
        }
    }
}

impl Notes {
    /// A cell, as the table has it.
    fn text(&mut self, cell: Cell) -> String {
        let (word, why) = match cell {
            Cell::Honoured => return "yes".to_owned(),
            Cell::Ignored(why) => ("no", why),
            Cell::InPart(why) => ("in part", why),
            Cell::Refused(why) => ("refused", why),
        };
        let at = self.0.iter().position(|note| *note == why).unwrap_or_else(|| {
            self.0.push(why);
            self.0.len() - 1
        });
        format!("{word} [{0}](#note-{0})", at + 1)
    }

    fn print(&self) -> String {
        let note = |(i, note)| format!("{0}. <a id=\"note-{0}\"></a>{note}\n", i + 1);
        self.0.iter().enumerate().map(note).collect()
    }
}

/// The fields of a route, those of its rules two levels deep.
fn fields_of_a_route() -> BTreeSet<String> {
    let spec = spec(&crd_yaml::<WebSocketRoute>());
    let mut fields = two_levels("rules[].", &spec["properties"]["rules"]["items"]);
    fields.insert("hostnames".to_owned());
    fields
}

/// The fields of a policy, two levels deep.
fn fields_of_a_policy() -> BTreeSet<String> {
    two_levels("", &spec(&crd_yaml::<WebSocketPolicy>()))
}

/// The schema of what a kind says.
fn spec(crd: &str) -> Value {
    let crd: Value = serde_saphyr::from_str(crd).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

fn two_levels(before: &str, schema: &Value) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for (name, schema) in schema["properties"].as_object().unwrap() {
        match schema["properties"].as_object() {
            Some(inner) => fields.extend(inner.keys().map(|inner| format!("{before}{name}.{inner}"))),
            None => drop(fields.insert(format!("{before}{name}"))),
        }
    }
    assert!(fields.len() > 25, "{fields:?}");
    fields
}

fn without_indices(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |general, part| {
        let rest = part.split_once(']').map_or("", |(_, rest)| rest);
        format!("{general}[]{rest}")
    })
}

/// The one with every field.
fn every_field() -> Value {
    serde_saphyr::from_str(include_str!("../../../crds/tests/every_field.yaml")).unwrap()
}

/// A route with every field, at each kind of parent.
fn route() -> Value {
    let mut route = every_field();
    route["spec"]["parentRefs"] = PARENTS
        .map(|(_, name)| match name {
            "edge" => json!({"group": "networking.istio.io", "kind": "Gateway", "name": name}),
            "chat" => json!({"group": "", "kind": "Service", "name": name}),
            _ => json!({"name": name}),
        })
        .into_iter()
        .collect();
    // Only beside a prefix is an expression tried out of its turn somewhere.
    let matches = route["spec"]["rules"][0]["matches"].as_array_mut().unwrap();
    matches.push(json!({"path": {"type": "RegularExpression", "value": "/a+"}}));
    route
}

/// A policy with what the first rule of the route says, for an HTTPRoute of its own name; nothing is the default, of which nobody says anything.
fn policy(name: &str) -> Value {
    let mut spec = every_field()["spec"]["rules"][0].take();
    for of_a_route in ["name", "matches", "backendRefs"] {
        assert!(spec.as_object_mut().unwrap().remove(of_a_route).is_some());
    }
    spec["timeouts"]["handshake"] = json!("7s");
    spec["targetRefs"] = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}]);
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

/// The same, without what no Gateway takes.
fn taken_policy() -> Value {
    let mut policy = policy(TAKEN);
    let security = policy["spec"]["security"].as_object_mut().unwrap();
    assert!(security.remove("jwt").is_some());
    let sources = policy["spec"]["sessionKey"]["sources"].as_array_mut().unwrap();
    for claim in sources.iter_mut().filter_map(|source| source.get_mut("jwtClaim")) {
        claim["verification"] = json!("None");
    }
    policy
}

/// An HTTPRoute at each kind of Gateway.
fn http_route(name: &str) -> Value {
    let parents: Value = GATEWAYS
        .map(|(_, name)| json!({"name": name}))
        .into_iter()
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "parentRefs": parents,
            "hostnames": [format!("{name}.example.com")],
            "rules": [{"name": name, "backendRefs": [{"name": "chat", "port": 8080}]}],
        },
    })
}

fn objects() -> Objects {
    let gateway = |name: &str, class: &str| {
        json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "gatewayClassName": class,
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
            },
        })
    };
    let class = |name: &str, controller: &str| json!({"metadata": {"name": name}, "spec": {"controllerName": controller}});
    let service = |name: &str, namespace: &str| {
        json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 8080}]},
        })
    };
    Objects {
        routes: vec![typed(route())],
        policies: vec![typed(policy(EVERY)), typed(taken_policy())],
        http_routes: [EVERY, TAKEN].map(|name| typed(http_route(name))).into(),
        gateways: vec![
            typed(gateway("standalone", "clew")),
            typed(gateway("istio", "istio")),
            typed(gateway("envoy-gateway", "eg")),
            typed(gateway("other", "traefik")),
        ],
        gateway_classes: vec![
            typed(class("eg", "gateway.envoyproxy.io/gatewayclass-controller")),
            typed(class("traefik", "traefik.io/gateway-controller")),
        ],
        istio_gateways: vec![typed(json!({
            "metadata": {"name": "edge", "namespace": "shop"},
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}],
            },
        }))],
        services: vec![
            typed(service("chat", "shop")),
            typed(service("chat-canary", "canary")),
        ],
        grants: vec![typed(json!({
            "metadata": {"name": "shop", "namespace": "canary"},
            "spec": {
                "from": [{"group": "clew.dev", "kind": "WebSocketRoute", "namespace": "shop"}],
                "to": [{"group": "", "kind": "Service"}],
            },
        }))],
        ..Objects::default()
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Sourced<T> {
    Sourced {
        object: serde_json::from_value::<T>(value).unwrap().into(),
        source: Source::default(),
    }
}
