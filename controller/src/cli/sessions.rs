//! `clew sessions`.

use std::process::ExitCode;

use hyper::Method;
use serde_json::Value;

use super::ask::Api;
use super::output::{self, Format};
use crate::failure::Failure;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    api: Api,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let sessions = super::runtime()?.block_on(args.api.ask(Method::GET, "/v1/sessions", None))?;
    args.output.print(&sessions, || table(&sessions))?;
    Ok(ExitCode::SUCCESS)
}

fn table(sessions: &Value) -> String {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = array(&sessions["rules"]).into_iter().flat_map(|rule| {
        let imbalance = format!("{:.2}", rule["imbalance"].as_f64().unwrap_or(1.0));
        array(&rule["pods"]).into_iter().map(move |pod| {
            let state = match (&pod["draining"], text(&pod["address"]).is_empty()) {
                (Value::Object(_), _) => "draining",
                (_, true) => "gone",
                _ => "",
            };
            [
                text(&rule["rule"]),
                text(&rule["backend"]),
                text(&pod["pod"]),
                pod["sessions"].to_string(),
                imbalance.clone(),
                state.to_owned(),
            ]
        })
    });
    let table = output::table(["RULE", "BACKEND", "POD", "SESSIONS", "MAX/MEAN", "STATE"], rows);
    format!("{table}\n{} sessions\n", sessions["total"])
}
