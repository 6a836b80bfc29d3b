//! `clew sessions`.

mod watch;

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::ask::Standalone;
use super::output::{self, Format};
use super::target::{CHOICE, Found, Target};
use crate::channel::sessions::Sessions;
use crate::channel::view::GatewayView;
use crate::failure::Failure;
use crate::operate::Asking;

#[derive(clap::Args)]
#[command(after_help = CHOICE)]
pub(crate) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// Print it again whenever it changes, tables on a terminal in place, JSON a document a line, until Ctrl-C. Who
    /// cannot be asked any more is named once, and asked again
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    target: Target,
    /// The sessions of all namespaces of a cluster
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(sessions(args))
}

async fn sessions(args: &Args) -> Result<ExitCode, Failure> {
    let found = args.target.find(args.all_namespaces).await?;
    let mut asking = match &found {
        Found::Standalone(run) => Asked::Run(run),
        Found::Cluster(cluster) => {
            let controllers = cluster.controller.asking(&cluster.connection.client);
            let namespace = (!args.all_namespaces).then(|| cluster.namespace());
            Asked::Cluster(controllers.into(), namespace)
        }
    };
    if args.watch {
        watch::watch(async || asking.ask(&args.target).await, args.output).await?;
    } else {
        let sessions = asking.ask(&args.target).await?;
        name_silent(&sessions);
        args.output.print(&sessions, || tables(&sessions))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Who says what sessions there are.
enum Asked<'a> {
    Run(&'a Standalone),
    /// All replicas together know; of one namespace, or of all.
    Cluster(Box<Asking<'a>>, Option<&'a str>),
}

impl Asked<'_> {
    async fn ask(&mut self, target: &Target) -> Result<Value, Failure> {
        match self {
            Self::Run(first) => {
                // One that was started again may have another port.
                let again = target.kept();
                let run = again.as_ref().unwrap_or(first);
                run.ask(Method::GET, "/v1/sessions", None).await
            }
            Self::Cluster(controllers, namespace) => {
                let answers = controllers.ask().await?;
                let mut sessions = json!(counted(&answers.gateways(), *namespace));
                sessions["silent"] = json!(answers.silent);
                Ok(sessions)
            }
        }
    }
}

/// Whoever said nothing: its proxies are not counted.
fn name_silent(sessions: &Value) {
    for silent in list(&sessions["silent"]) {
        eprintln!(
            "clew: replica {} says nothing, and sessions that only it knows are not counted: {}",
            text(&silent["replica"]),
            text(&silent["why"])
        );
    }
}

/// The sessions of the routes of a namespace, or of all; with its backends, and those that it has sessions on.
fn counted(gateways: &[GatewayView], namespace: Option<&str>) -> Sessions {
    let is_in = |name: &str| {
        let of = name.split_once('/').map(|(namespace, _)| namespace);
        namespace.is_none() || of == namespace
    };
    let proxies = gateways.iter().flat_map(|gateway| &gateway.proxies);
    let live = proxies.flat_map(|proxy| &proxy.live);
    let live: Vec<_> = live.filter(|one| is_in(&one.rule)).cloned().collect();
    let backends = gateways.iter().flat_map(|gateway| &gateway.backends);
    let known = backends.filter(|(id, _)| is_in(id) || live.iter().any(|one| one.backend == **id));
    let known = known.map(|(id, backend)| (id.clone(), backend.clone()));
    Sessions::new(&live, &known.collect())
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
    let total = sessions["total"].as_u64().unwrap_or(0);
    format!("{rules}\n{pods}\n{}\n", output::plural(total, "session"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{counted, tables};
    use crate::channel::view::{GatewayView, ProxyView};
    use clew_filter_config::channel::Live;
    use clew_filter_config::rule::Backend;
    use serde_json::json;

    #[test]
    fn a_namespace_has_its_own_sessions_and_the_backends_that_they_are_on() {
        let live = |rule: &str, backend: &str| Live {
            rule: rule.into(),
            backend: backend.into(),
            pod: "p".into(),
            sessions: 1,
        };
        let gateway = GatewayView {
            name: "infra/edge".into(),
            proxies: vec![ProxyView {
                id: "0".into(),
                node: String::new(),
                installation: String::new(),
                envoy: String::new(),
                istio: String::new(),
                heard_ms: 0,
                acknowledged: true,
                live: vec![
                    live("shop/chat/a", "attic/old:80"),
                    live("game/play/a", "game/play:80"),
                ],
            }],
            backends: ["attic/old:80", "attic/other:80", "game/play:80", "shop/chat:80"]
                .map(|id| (id.to_owned(), Backend::default()))
                .into(),
        };
        let backends = |namespace| {
            let counted = json!(counted(std::slice::from_ref(&gateway), namespace));
            let named = counted["backends"].as_array().unwrap().iter();
            let named: Vec<_> = named.map(|one| one["backend"].clone()).collect();
            (counted["total"].clone(), named)
        };
        assert_eq!(
            backends(Some("shop")),
            (json!(1), vec![json!("attic/old:80"), json!("shop/chat:80")])
        );
        let (total, all) = backends(None);
        assert_eq!((total, all.len()), (json!(2), 4));
    }

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
