use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::ValueEnum;
use clew_core::model::OwnerKind;
use clew_core::render::envoy::{self, Settings};
use clew_core::render::{Object, gateway_api, generated, istio, rules};
use clew_core::status::{Progress, policy_status, status};
use clew_core::validate::RouteReport;
use clew_filter_config::plugin::FailureMode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::{Value, json};

use super::manifests::{Checked, Paths};
use super::output;
use crate::clock;
use crate::failure::{Failure, REFUSED};
use crate::module;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    paths: Paths,
    /// For what
    #[arg(long, value_enum)]
    to: Target,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// Envoy alone: its xDS files, and what its filter is told
    Envoy,
    /// Istio: the objects that a cluster is given, and what the gateways' filters are told
    Istio,
    /// Envoy Gateway, and any other class of Gateway API: the same
    GatewayApi,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

/// Everything that manifests become.
#[derive(Serialize)]
struct Rendering {
    #[serde(flatten)]
    rendered: Rendered,
    /// What the filters of each gateway are told, by its name.
    rules: BTreeMap<String, Value>,
    status: Vec<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Rendered {
    /// The resources of each xDS file, by its path.
    Files(BTreeMap<String, Value>),
    /// In the order in which they are applied.
    Objects(Vec<Object>),
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let checked = args.paths.check();
    checked.report();
    let format = match args.output {
        Format::Yaml => output::Format::Yaml,
        Format::Json => output::Format::Json,
    };
    let rendering = match args.to {
        Target::Envoy => to_envoy(&checked),
        Target::Istio => to_istio(&checked),
        Target::GatewayApi => to_gateway_api(&checked),
    };
    format.print(&rendering, String::new)?;
    Ok(if checked.is_refused() {
        REFUSED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn to_envoy(checked: &Checked) -> Rendering {
    let world = &checked.validated.world;
    let files = envoy::render(world, &settings(), &checked.drains);
    let files = files.files().map(|(path, file)| {
        let mut content: Value = serde_json::from_str(&file.content).unwrap_or_default();
        (
            path.to_owned(),
            if path.starts_with("secrets/") {
                json!("(not printed)")
            } else {
                content["resources"].take()
            },
        )
    });
    let rules = world.gateways.iter().map(|gateway| {
        let rules = rules::render(world, gateway.rules(), &checked.drains);
        (gateway.name.to_string(), told(&rules))
    });
    Rendering {
        rendered: Rendered::Files(files.collect()),
        rules: rules.collect(),
        status: statuses(checked, &[]),
    }
}

fn to_istio(checked: &Checked) -> Rendering {
    let world = &checked.validated.world;
    let objects = istio::render(world);
    let rules = world
        .istio
        .rules_by_proxies()
        .into_iter()
        .map(|(proxies, attached)| {
            let rules = rules::render(world, attached, &checked.drains).behind_the_peer();
            (proxies.to_string(), told(&rules))
        });
    Rendering {
        rules: rules.collect(),
        status: statuses(checked, &objects),
        rendered: Rendered::Objects(objects),
    }
}

fn to_gateway_api(checked: &Checked) -> Rendering {
    let world = &checked.validated.world;
    let objects = gateway_api::render(world);
    let rules = world
        .gateway_api
        .rules_by_proxies()
        .into_iter()
        .map(|(gateway, attached)| {
            let rules = rules::render(world, attached, &checked.drains).behind_the_peer();
            (gateway.to_string(), told(&rules))
        });
    Rendering {
        rules: rules.collect(),
        status: statuses(checked, &objects),
        rendered: Rendered::Objects(objects),
    }
}

fn told(rules: &rules::Rules) -> Value {
    json!({"rules": rules.rules, "backends": rules.backends})
}

/// The status of every route, with the objects that stand for it.
fn statuses(checked: &Checked, objects: &[Object]) -> Vec<Value> {
    let now = Time(clock::timestamp());
    let of = |report: &RouteReport| {
        let mut status = status(report, |_| Progress::Prepared, None, &now);
        status.name_generated(generated(objects, &report.owner()));
        let status = match report.kind {
            OwnerKind::Route => json!(status),
            OwnerKind::Policy => json!(policy_status(status)),
        };
        json!({"kind": report.kind.as_str(), "namespace": report.name.namespace, "name": report.name.name, "status": status})
    };
    checked.validated.routes.iter().map(of).collect()
}

/// What `clew run` decides when it runs; here, words that say so.
pub(super) fn settings() -> Settings {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        folder: "STATE_DIR/envoy/xds".to_owned(),
        module: format!("STATE_DIR/filter-{}.wasm", module::sha256()),
        module_sha256: module::sha256(),
        channel: anywhere,
        token: "TOKEN".to_owned(),
        admin: anywhere,
        node: "clew".to_owned(),
        failure_mode: FailureMode::Closed,
        access_log: None,
    }
}
