//! `clew status`.

mod cluster;

use std::process::ExitCode;

use hyper::Method;
use serde_json::Value;

use super::output::{self, Format};
use super::target::{CHOICE, Found, Target};
use crate::failure::{Failure, REFUSED};

#[derive(clap::Args)]
#[command(after_help = CHOICE)]
pub(crate) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    #[command(flatten)]
    target: Target,
    /// The routes and policies of all namespaces of a cluster
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(status(args))
}

async fn status(args: &Args) -> Result<ExitCode, Failure> {
    let standalone = match args.target.find(args.all_namespaces).await? {
        Found::Cluster(cluster) => return cluster::status(&cluster, args).await,
        Found::Standalone(standalone) => standalone,
    };
    let status = standalone.ask(Method::GET, "/v1/status", None).await?;
    args.output.print(&status, || table(&status))?;
    let refused = items(&status, "findings").any(|finding| finding["severity"] == "error");
    Ok(if refused {
        REFUSED.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn table(status: &Value) -> String {
    let routes = items(status, "routes").map(|route| {
        let ready = condition(&route["status"]["conditions"], "Ready");
        [
            text(&route["namespace"]),
            text(&route["name"]),
            text(&ready["status"]),
            text(&ready["reason"]),
            text(&ready["message"]),
        ]
    });
    let gateways = items(status, "gateways").map(|gateway| {
        [
            text(&gateway["name"]),
            format!("{} of {}", gateway["acknowledged"], gateway["proxies"]),
        ]
    });
    let findings = items(status, "findings").map(|finding| {
        let place = match (text(&finding["file"]), &finding["line"]) {
            (file, Value::Number(line)) => format!("{file}:{line}"),
            (file, _) => file,
        };
        [
            text(&finding["code"]),
            place,
            text(&finding["object"]),
            text(&finding["field"]),
            text(&finding["message"]),
        ]
    });
    let listeners: Vec<_> = items(status, "listeners").map(text).collect();
    let envoy = &status["envoy"];
    let envoy = match envoy {
        Value::Null => "Envoy is not running".to_owned(),
        envoy => format!(
            "Envoy {}, pid {}, started again {} times",
            text(&envoy["version"]),
            envoy["pid"],
            envoy["restarts"]
        ),
    };
    let mut parts = vec![
        format!(
            "{envoy}; listens on {}\n",
            if listeners.is_empty() {
                "nothing".to_owned()
            } else {
                listeners.join(", ")
            }
        ),
        output::table(["GATEWAY", "PROXIES UP TO DATE"], gateways),
        output::table(["NAMESPACE", "ROUTE", "READY", "REASON", "MESSAGE"], routes),
    ];
    if items(status, "findings").next().is_some() {
        parts.push(output::table(
            ["CODE", "WHERE", "OBJECT", "FIELD", "WHAT"],
            findings,
        ));
    }
    parts.join("\n")
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn condition<'a>(conditions: &'a Value, name: &str) -> &'a Value {
    conditions
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == name)
        .unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(
        || {
            if value.is_null() {
                String::new()
            } else {
                value.to_string()
            }
        },
        str::to_owned,
    )
}
