//! The table of what each kind of parent honours is what the status of a route with every field says there. `make golden`
//! rewrites it.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use clew_core::objects::{Objects, Source, Sourced};
use clew_core::validate::{Target, Validated, validate};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The kinds of parents, with the name of one of each.
const PARENTS: [(&str, &str); 6] = [
    ("stand-alone Envoy", "standalone"),
    ("Istio's Gateway (VirtualService)", "edge"),
    ("a Gateway of Istio's class (HTTPRoute)", "istio"),
    ("a Service on Istio's mesh", "chat"),
    ("a Gateway of Envoy Gateway", "envoy-gateway"),
    ("a Gateway of any other class", "other"),
];

/// What there would be no route without: what is said of it is never all of it.
const MAKE_A_ROUTE: [&str; 2] = ["rules[].backendRefs", "rules[].matches"];

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
fn the_table_of_fields_is_what_a_route_with_every_field_is_told() {
    let validated = validate(&objects(), Target::Every);
    let mut notes: Vec<String> = Vec::new();
    let mut rows = String::new();
    let (mut honoured, mut others) = (0, 0);
    for field in fields() {
        rows += &format!("| `{field}` |");
        for parent in 0..PARENTS.len() {
            let cell = cell(&validated, parent, &field);
            let mut noted = |word: &str, why: String| {
                others += 1;
                let at = notes.iter().position(|note| *note == why).unwrap_or_else(|| {
                    notes.push(why);
                    notes.len() - 1
                });
                format!("{word} [{0}](#note-{0})", at + 1)
            };
            let text = match cell {
                Cell::Honoured => {
                    honoured += 1;
                    "yes".to_owned()
                }
                Cell::Ignored(why) => noted("no", why),
                Cell::InPart(why) => noted("in part", why),
                Cell::Refused(why) => noted("refused", why),
            };
            rows += &format!(" {text} |");
        }
        rows += "\n";
    }
    assert!(honoured > 100 && others > 30, "{honoured} and {others}");
    let mut text = "# Which parent honours which field\n\nGenerated from what the status of a route with every field says (`make golden`). \
                    `no`: the field is named in the route's `PartiallySupported` condition; `in part`: so is what the note says of it; \
                    `refused`: the parent does not take the route. Which kind a parent is, [the guide](../guide/gateway-api.md) says.\n\n| field |"
        .to_owned();
    text += &PARENTS.map(|(title, _)| format!(" {title} |")).concat();
    text += &format!("\n|---|{}\n{rows}\n", "---|".repeat(PARENTS.len()));
    for (i, note) in notes.iter().enumerate() {
        text += &format!("{}. <a id=\"note-{0}\"></a>{note}\n", i + 1);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fields.md");
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

/// The fields of a rule, two levels deep, as the schema has them.
fn fields() -> BTreeSet<String> {
    let crd: Value = serde_saphyr::from_str(&clew_crds::crd_yaml::<clew_crds::WebSocketRoute>()).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut fields: BTreeSet<_> = ["hostnames".to_owned()].into();
    let rules = &spec["properties"]["rules"]["items"];
    for (name, schema) in rules["properties"].as_object().unwrap() {
        match schema["properties"].as_object() {
            Some(inner) => fields.extend(inner.keys().map(|inner| format!("rules[].{name}.{inner}"))),
            None => drop(fields.insert(format!("rules[].{name}"))),
        }
    }
    assert!(fields.len() > 25, "{fields:?}");
    fields
}

/// What the status at a parent says of a field, or of what it is a part of.
fn cell(validated: &Validated, parent: usize, field: &str) -> Cell {
    let report = &validated.routes[0];
    let concerns = |path: &str| {
        let path = path.trim_start_matches("spec.");
        let general = without_indices(path);
        let listed = general.strip_suffix("[]").unwrap_or(&general);
        (listed == field || field.starts_with(&format!("{listed}.")))
            .then(|| general.ends_with("[]") || MAKE_A_ROUTE.contains(&field))
    };
    let refused = report
        .refusals
        .iter()
        .find(|refusal| refusal.parent == Some(parent) && concerns(&refusal.field).is_some());
    if let Some(refusal) = refused {
        return Cell::Refused(refusal.message.clone());
    }
    let ignored = report.parents[parent]
        .unsupported
        .iter()
        .find_map(|one| Some((concerns(&one.field)?, &one.why)));
    match ignored {
        None => Cell::Honoured,
        Some((true, why)) => Cell::InPart(why.clone()),
        Some((false, why)) => Cell::Ignored(why.clone()),
    }
}

fn without_indices(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |general, part| {
        let rest = part.split_once(']').map_or("", |(_, rest)| rest);
        format!("{general}[]{rest}")
    })
}

/// A route with every field, at each kind of parent.
fn objects() -> Objects {
    let text = include_str!("../../../crds/tests/every_field.yaml");
    let mut route: Value = serde_saphyr::from_str(text).unwrap();
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
        routes: vec![typed(route)],
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
