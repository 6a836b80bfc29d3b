use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::ValueEnum;
use clew_core::render::envoy::{self, Settings};
use clew_core::render::rules;
use clew_core::status::{Progress, status};
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
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

/// Everything that manifests become.
#[derive(Serialize)]
struct Rendering {
    /// The resources of each xDS file, by its path.
    files: BTreeMap<String, Value>,
    /// What the filters of each gateway are told, by its name.
    rules: BTreeMap<String, Value>,
    status: Vec<Value>,
}

pub(super) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let Target::Envoy = args.to;
    let checked = args.paths.check();
    checked.report();
    let format = match args.output {
        Format::Yaml => output::Format::Yaml,
        Format::Json => output::Format::Json,
    };
    format.print(&to_envoy(&checked), String::new)?;
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
        (
            gateway.name.to_string(),
            json!({"rules": rules.rules, "backends": rules.backends}),
        )
    });
    let now = Time(clock::timestamp());
    let status = checked.validated.routes.iter().map(|report| {
        let status = status(report, |_| Progress::Prepared, None, &now);
        json!({"namespace": report.name.namespace, "name": report.name.name, "status": status})
    });
    Rendering {
        files: files.collect(),
        rules: rules.collect(),
        status: status.collect(),
    }
}

/// What `clew run` decides when it runs; here, words that say so.
fn settings() -> Settings {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Settings {
        folder: "STATE_DIR/envoy/xds".to_owned(),
        module: format!("STATE_DIR/filter-{}.wasm", module::sha256()),
        module_sha256: module::sha256(),
        channel: anywhere,
        token: "TOKEN".to_owned(),
        admin: anywhere,
        node: "clew".to_owned(),
    }
}
