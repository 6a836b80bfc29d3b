//! Golden folders: what is rendered, and what the status says, for one input each. `make golden` rewrites them, and the
//! diff is read in review.

mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use clew_core::in_force::InForce;
use clew_core::model::OwnerKind;
use clew_core::objects::{Objects, ParentKind, Source};
use clew_core::refusal::{Code, Condition, Refusal};
use clew_core::render::envoy::{self, Settings};
use clew_core::render::rules::{self, Drains};
use clew_core::render::{gateway_api, generated, istio};
use clew_core::status::{Applied, Progress, policy_status, status};
use clew_core::validate::{Notice, Target, Validated, validate};
use clew_filter_config::plugin::FailureMode;
use inputs::{read, read_as, typed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// The golden folders, in order.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let cases = fs::read_dir(folder).unwrap();
    let mut cases: Vec<_> = cases.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

#[test]
fn every_golden_folder_is_as_it_was() {
    let rewrite = env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite");
    let cases = cases();
    let (mut refused, mut different) = (0, Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy();
        let objects = read(&name, &fs::read_to_string(case.join("input.yaml")).unwrap());
        let validated = validate(&objects, Target::Every);
        refused += usize::from(validated.refusals().next().is_some());
        for (file, value) in rendered(&validated, &objects) {
            let path = case.join(file);
            // What concerns no parent of the case is not there at all.
            let text = value
                .map(|value| serde_saphyr::to_string(&value).unwrap())
                .unwrap_or_default();
            if rewrite && text.is_empty() {
                drop(fs::remove_file(&path));
            } else if rewrite {
                fs::write(&path, text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                different.push(path);
            }
        }
    }
    assert!(cases.len() >= 25, "{} cases", cases.len());
    assert!(
        refused * 3 >= cases.len(),
        "{refused} of {} cases are refusals",
        cases.len()
    );
    assert!(
        different.is_empty(),
        "not as it was (make golden, and read the diff): {different:#?}"
    );
}

/// The bootstrap belongs to no case.
#[test]
fn the_bootstrap_is_as_it_was() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bootstrap.yaml");
    let text = serde_saphyr::to_string(&envoy::bootstrap(&settings())).unwrap();
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text);
}

#[test]
fn the_reference_of_refusals_names_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/refusals.md");
    let mut text = "# What a manifest can be refused for\n\nGenerated from `controller/core/src/refusal.rs` (`make golden`). A code never \
                    changes its meaning. `Accepted`, `ResolvedRefs` and `Programmed` are the conditions of the route's status that \
                    turn False; a route whose references are not resolved is in force without them.\n\n\
                    | code | name | status | meaning |\n|---|---|---|---|\n"
        .to_owned();
    for code in Code::ALL {
        let status = match code.condition() {
            Condition::Accepted(reason) => format!("Accepted: {reason}"),
            Condition::ResolvedRefs(reason) => format!("ResolvedRefs: {reason}"),
            Condition::Programmed(reason) => format!("Programmed: {reason}"),
            Condition::Elsewhere => "–".to_owned(),
        };
        text += &format!(
            "| [`{code}`](#{}) | {} | {status} | {} |\n",
            code.to_string().to_lowercase(),
            code.name(),
            code.meaning()
        );
    }
    let examples = examples();
    for code in Code::ALL {
        // A message says what to do.
        let (object, field, message) = examples
            .get(code)
            .unwrap_or_else(|| panic!("no example of {code}"));
        text += &format!(
            "\n## {code}\n\n**{}.** {}\n\nFor example, of `{field}` of {object}:\n\n> {}\n",
            code.name(),
            code.meaning(),
            message.replace('*', "\\*")
        );
    }
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

/// What is said of the first case that is refused for a code: the object, the field and the message.
fn examples() -> BTreeMap<Code, (String, String, String)> {
    let said = |refusal: &Refusal| {
        (
            refusal.object.to_string(),
            refusal.field.clone(),
            refusal.message.clone(),
        )
    };
    let mut examples = BTreeMap::new();
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let objects = read(&name, &fs::read_to_string(case.join("input.yaml")).unwrap());
        for refusal in validate(&objects, Target::Every).refusals() {
            examples.entry(refusal.code).or_insert_with(|| said(refusal));
        }
    }
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/one-route/input.yaml");
    let good = fs::read_to_string(case).unwrap();
    for (code, changes) in CHANGES {
        let mut in_force = InForce::default();
        in_force.validate(&read("one-route", &good), Target::Every);
        let changed = changes.iter().fold(good.clone(), |text, (old, new)| {
            assert!(text.contains(old), "{old}");
            text.replacen(old, new, 1)
        });
        let mut objects = read_as("one-route", &changed, typed);
        objects.unknown_parents.insert(ParentKind::IstioGateway);
        let (new, edited) = (
            validate(&objects, Target::Every),
            in_force.validate(&objects, Target::Every),
        );
        let mut refusals = new.refusals().chain(edited.refusals());
        let found = refusals.find(|refusal| refusal.code == *code);
        let found = found.unwrap_or_else(|| panic!("not refused for {code}"));
        examples.entry(*code).or_insert_with(|| said(found));
    }
    examples
}

/// What no folder shows, because no API server takes it, because it is wrong only as an edit, or because a kind is not installed: changes
/// of the case `one-route`.
const CHANGES: &[(Code, &[(&str, &str)])] = &[
    (
        Code::RuleIdTaken,
        &[
            ("name: rooms", "name: r855736"),
            (
                "---\n",
                "---\napiVersion: clew.dev/v1alpha1\nkind: WebSocketRoute\nmetadata: {name: chat2, namespace: shop}\nspec:\n  parentRefs: [{name: edge}]\n  rules: [{name: r213793, backendRefs: [{name: chat, port: 8080}]}]\n---\n",
            ),
        ],
    ),
    (Code::PathInvalid, &[("value: /ws", "value: /a/../b")]),
    (
        Code::KeySourceIncomplete,
        &[("cookie: {name: sid}", "header: {name: x-room}")],
    ),
    (
        Code::GenerateIncomplete,
        &[("sources: ", "onMissing: Generate, sources: ")],
    ),
    (
        Code::DrainInvalid,
        &[("    sessionKey:", "    drain: {closeCode: 1006}\n    sessionKey:")],
    ),
    (
        Code::HostnameInvalid,
        &[("[chat.example.com]", "[\"chat.example.com:8080\"]")],
    ),
    (
        Code::RuleNameInvalid,
        &[(
            "  - name: rooms\n",
            "  - name: rooms\n    matches: [{path: {value: /old}}]\n    backendRefs: [{name: chat, port: 8080}]\n  - name: rooms\n",
        )],
    ),
    (Code::KeysWouldMove, &[("name: sid", "name: user")]),
    (
        Code::ParentKindMissing,
        &[(
            "{name: edge}]",
            "{group: networking.istio.io, kind: Gateway, name: edge}]",
        )],
    ),
    (
        Code::GatewayAddressInvalid,
        &[(
            "  listeners:",
            "  addresses: [{type: Hostname, value: edge.example.com}]\n  listeners:",
        )],
    ),
    (
        Code::CertificateForeign,
        &[(
            "protocol: HTTP}",
            "protocol: HTTPS, tls: {certificateRefs: [{name: tls, namespace: other}]}}",
        )],
    ),
    (
        Code::GatewayFieldUnsupported,
        &[(
            "  listeners:",
            "  infrastructure: {labels: {team: chat}}\n  listeners:",
        )],
    ),
];

/// What a guide shows is a case, with what becomes of it beside it.
#[test]
fn the_guides_show_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (guide, case) in [
        ("istio", "istio-guide"),
        ("gateway-api", "gateway-api-guide"),
        ("own-routes", "own-routes-guide"),
    ] {
        let guide = fs::read_to_string(root.join(format!("../../docs/guide/{guide}.md"))).unwrap();
        let case = fs::read_to_string(root.join(format!("tests/golden/{case}/input.yaml"))).unwrap();
        let mut blocks = guide
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .filter(|block| block.starts_with("apiVersion: "));
        assert_eq!(blocks.next(), Some(case.as_str()));
        assert_eq!(blocks.next(), None);
    }
}

fn settings() -> Settings {
    Settings {
        folder: "/clew/xds".to_owned(),
        module: "/clew/clew.wasm".to_owned(),
        module_sha256: "0".repeat(64),
        channel: "127.0.0.1:9900".parse().unwrap(),
        token: "token".to_owned(),
        admin: "127.0.0.1:9901".parse().unwrap(),
        node: "clew".to_owned(),
        failure_mode: FailureMode::Closed,
        access_log: None,
    }
}

fn rendered(validated: &Validated, objects: &Objects) -> [(&'static str, Option<Value>); 5] {
    let world = &validated.world;
    let mut drains = Drains::default();
    drains.observe(world, 1_700_000_000_000);
    let files: BTreeMap<String, Value> = envoy::render(world, &settings(), &drains)
        .files()
        .map(|(path, file)| {
            let content: Value = serde_json::from_str(&file.content).unwrap();
            assert_eq!(content["version_info"], file.version.as_str());
            (path.to_owned(), content["resources"].clone())
        })
        .collect();
    let of_istio = istio::render(world);
    let own = gateway_api::render(world);
    let all = [of_istio.clone(), own.clone()].concat();
    let of_gateway_api = match of_istio.is_empty() || !own.is_empty() {
        true => own,
        false => gateway_api::render(&validate(&moved_to_envoy_gateway(objects), Target::Every).world),
    };
    let told = |rules: rules::Rules| json!({"rules": rules.rules, "backends": rules.backends});
    let standalone = world.gateways.iter().map(|gateway| {
        (
            gateway.name.to_string(),
            told(rules::render(world, gateway.rules(), &drains)),
        )
    });
    let meshed = world
        .istio
        .rules_by_proxies()
        .into_iter()
        .map(|(proxies, attached)| (proxies.to_string(), told(rules::render(world, attached, &drains))));
    let envoy_gateway = world
        .gateway_api
        .rules_by_proxies()
        .into_iter()
        .map(|(gateway, attached)| (gateway.to_string(), told(rules::render(world, attached, &drains))));
    let rules: BTreeMap<String, Value> = standalone.chain(meshed).chain(envoy_gateway).collect();
    let statuses: Vec<_> = validated
        .routes
        .iter()
        .map(|report| {
            let applied = Progress::Applied(Applied {
                acknowledged: 1,
                connected: 1,
            });
            let mut status = status(report, |_| applied.clone(), None, &Time(Default::default()));
            status.name_generated(generated(&all, &report.owner()));
            let (called, mut status) = match report.kind {
                OwnerKind::Route => ("route", json!(status)),
                OwnerKind::Policy => ("policy", json!(policy_status(status))),
            };
            without_times(&mut status);
            json!({called: report.name.to_string(), "status": status})
        })
        .collect();
    // A Gateway of class clew has listeners even where no route attaches.
    let only_others = world.gateways.is_empty()
        && validated
            .routes
            .iter()
            .flat_map(|report| &report.parents)
            .any(|parent| parent.parent.is_some());
    let refusals: Vec<_> = validated.refusals().map(ToString::to_string).collect();
    let mut said = json!({"routes": statuses, "refusals": refusals});
    if !validated.notices.is_empty() {
        let notice = |one: &Notice| format!("{} {}: {}", one.concern.code(), one.object, one.message);
        said["notices"] = validated.notices.iter().map(notice).collect();
    }
    [
        ("envoy.yaml", (!only_others).then(|| json!(files))),
        ("istio.yaml", (!of_istio.is_empty()).then(|| json!(of_istio))),
        (
            "gateway-api.yaml",
            (!of_gateway_api.is_empty()).then(|| json!(of_gateway_api)),
        ),
        ("rules.yaml", Some(json!(rules))),
        ("status.yaml", Some(said)),
    ]
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("lastTransitionTime");
            object.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// The same routes at Gateways of Envoy Gateway's class, one of the name of each parent: what Istio carries out in a case has
/// its other rendering beside it.
fn moved_to_envoy_gateway(objects: &Objects) -> Objects {
    let mut moved = objects.clone();
    let class = json!({
        "metadata": {"name": "eg"},
        "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    });
    moved.gateway_classes = vec![typed("eg", class, Source::default())];
    moved.gateways.clear();
    let mut gateways = BTreeSet::new();
    for route in &mut moved.routes {
        let route = Arc::make_mut(&mut route.object);
        let own = route.metadata.namespace.clone();
        let mut seen = BTreeSet::new();
        for parent in &mut route.spec.parent_refs {
            parent.group = "gateway.networking.k8s.io".to_owned();
            parent.kind = "Gateway".to_owned();
            (parent.section_name, parent.port) = (None, None);
            gateways.insert((parent.namespace.clone().or(own.clone()), parent.name.clone()));
        }
        let parents = &mut route.spec.parent_refs;
        parents.retain(|parent| seen.insert((parent.namespace.clone(), parent.name.clone())));
    }
    for (namespace, name) in gateways {
        let gateway = json!({
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "gatewayClassName": "eg",
                "listeners": [{
                    "name": "http", "port": 80, "protocol": "HTTP",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }],
            },
        });
        moved.gateways.push(typed("eg", gateway, Source::default()));
    }
    moved
}
