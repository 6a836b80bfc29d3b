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
    args.output.print(&sessions, || tables(&sessions))?;
    Ok(ExitCode::SUCCESS)
}

/// By route and rule, and by backend and pod.
fn tables(sessions: &Value) -> String {
    let rules = list(&sessions["rules"]).map(|rule| {
        let name = text(&rule["rule"]);
        let (route, rule_name) = name.rsplit_once('/').unwrap_or((&name, ""));
        [
            route.to_owned(),
            rule_name.to_owned(),
            text(&rule["backend"]),
            rule["sessions"].to_string(),
        ]
    });
    let pods = list(&sessions["backends"]).flat_map(|backend| {
        let imbalance = format!("{:.2}", backend["imbalance"].as_f64().unwrap_or(1.0));
        list(&backend["pods"]).map(move |pod| {
            let state = match (&pod["draining"], text(&pod["address"]).is_empty()) {
                (Value::Object(_), _) => "draining",
                (_, true) => "gone",
                _ => "",
            };
            [
                text(&backend["backend"]),
                text(&pod["pod"]),
                pod["sessions"].to_string(),
                imbalance.clone(),
                state.to_owned(),
            ]
        })
    });
    let rules = output::table(["ROUTE", "RULE", "BACKEND", "SESSIONS"], rules);
    let pods = output::table(["BACKEND", "POD", "SESSIONS", "MAX/MEAN", "STATE"], pods);
    format!("{rules}\n{pods}\n{} sessions\n", sessions["total"])
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::tables;
    use serde_json::json;

    #[test]
    fn one_table_is_by_route_and_one_by_backend() {
        let pod = |name: &str, sessions: u64| json!({"pod": name, "address": format!("{name}:1"), "sessions": sessions});
        let mut leaving = pod("chat-1", 2);
        leaving["draining"] = json!({"sinceMs": 1, "timeoutMs": 2});
        let said = tables(&json!({
            "total": 8,
            "rules": [{"rule": "shop/chat/rooms", "backend": "shop/chat:80", "sessions": 8, "imbalance": 9.0, "pods": []}],
            "backends": [{
                "backend": "shop/chat:80",
                "sessions": 8,
                "imbalance": 1.5,
                "pods": [pod("chat-0", 6), leaving, {"pod": "chat-9", "address": "", "sessions": 0}],
            }],
        }));
        let rows: Vec<Vec<_>> = said
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [
            "ROUTE RULE BACKEND SESSIONS",
            "shop/chat rooms shop/chat:80 8",
            "",
            "BACKEND POD SESSIONS MAX/MEAN STATE",
            "shop/chat:80 chat-0 6 1.50",
            "shop/chat:80 chat-1 2 1.50 draining",
            "shop/chat:80 chat-9 0 1.50 gone",
            "",
            "8 sessions",
        ];
        let expected: Vec<Vec<_>> = expected
            .iter()
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(rows, expected);
    }
}
