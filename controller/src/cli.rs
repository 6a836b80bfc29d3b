//! The command line: one file for each command. Data goes to stdout, progress and logs to stderr.

mod ask;
mod bug_report;
mod check;
mod completion;
mod controller;
mod crd;
mod diff;
mod drain;
mod explain;
mod install;
mod man;
mod manifests;
mod migrate;
mod output;
#[cfg(test)]
mod reference;
mod render;
mod run;
mod sessions;
mod simulate;
mod status;
mod subject;
mod target;
mod validate;
mod version;
mod wasm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clew_core::model::ObjectName;
use clew_core::objects::RootNamespace;

use crate::failure::Failure;

/// WebSocket routing that keeps hold of the thread.
///
/// Exit codes: 0 ok, 1 findings, refused input or no permission, 2 usage, 3 Envoy, `clew run` or the cluster cannot be reached.
#[derive(Parser)]
#[command(
    name = "clew",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// How logs are written to standard error; RUST_LOG says which
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "CLEW_LOG",
        hide_env_values = true,
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Stand-alone: follow folders of manifests and drive a local Envoy
    Run(run::Args),
    /// In the cluster: follow WebSocketRoutes, and drive Istio and the gateways' filters
    Controller(controller::Args),
    /// In the cluster: put the filter on a gateway
    Install(install::Args),
    /// Print what would be applied, and the status
    Render(render::Args),
    /// Check manifests offline: schema, CEL rules, and what only all of them together can tell
    Validate(validate::Args),
    /// Say which rule, which key and which pod a request gets, and why
    Explain(explain::Args),
    /// Say what a change will do to open sessions and to keys, before it is made
    Diff(diff::Args),
    /// Count how keys lie on pods, and what would move
    Simulate(simulate::Args),
    /// Translate nginx.conf, haproxy.cfg or Ingresses into WebSocketRoutes, and say what became of each line
    Migrate(migrate::Args),
    /// Show routes, their conditions, and what was refused
    Status(status::Args),
    /// Show who is connected where
    Sessions(sessions::Args),
    /// Let the sessions of pods leave, and no new ones come
    Drain(drain::Args),
    /// In the cluster: look whether all is as it must be
    Check(check::Args),
    /// Collect what somebody who helps has to see, without secrets
    BugReport(bug_report::Args),
    /// Print the CustomResourceDefinitions
    Crd(crd::Args),
    /// Write the filter's module, or say which it is
    Wasm(wasm::Args),
    /// Write a shell's completion script
    Completion(completion::Args),
    /// Write the manual pages, one for each command
    Man(man::Args),
    /// Say which clew this is
    Version(version::Args),
}

/// The controller's namespace where nothing else is said.
const NAMESPACE: &str = "clew-system";

impl Cli {
    /// Whether it turns for as long as it lives.
    pub(crate) fn turns(&self) -> bool {
        matches!(self.command, Command::Run(_) | Command::Controller(_))
    }

    /// Runs the command.
    ///
    /// # Errors
    /// When it did not do what it was asked, with the message and the exit code.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Run(args) => run::main(args),
            Command::Controller(args) => controller::main(args),
            Command::Install(args) => install::main(&args),
            Command::Status(args) => status::main(&args),
            Command::Sessions(args) => sessions::main(&args),
            Command::Drain(args) => drain::main(&args),
            Command::Check(args) => check::main(&args),
            Command::Render(args) => render::main(&args),
            Command::Validate(args) => validate::main(&args),
            Command::Explain(args) => explain::main(&args),
            Command::Diff(args) => diff::main(&args),
            Command::Simulate(args) => simulate::main(&args),
            Command::Migrate(args) => migrate::main(&args),
            Command::BugReport(args) => bug_report::main(&args),
            Command::Crd(args) => crd::main(&args),
            Command::Wasm(args) => wasm::main(&args),
            Command::Completion(args) => completion::main(&args),
            Command::Man(args) => man::main(&args),
            Command::Version(args) => version::main(&args),
        }
    }
}

/// Istio's root namespace.
#[derive(clap::Args)]
struct IstioRoot {
    /// The rootNamespace of Istio's mesh configuration, where its policies, rules and plugins are for the whole mesh
    #[arg(
        long,
        value_name = "NAME",
        env = "CLEW_ISTIO_ROOT_NAMESPACE",
        hide_env_values = true,
        default_value = "istio-system"
    )]
    istio_root_namespace: String,
}

impl IstioRoot {
    fn namespace(&self) -> RootNamespace {
        RootNamespace::new(&self.istio_root_namespace)
    }
}

/// The controller's Service.
#[derive(clap::Args)]
struct ControllerService {
    /// The Service by which proxies reach the controller, and its port
    #[arg(
        long,
        value_name = "NAME:PORT",
        env = "CLEW_SERVICE",
        hide_env_values = true,
        default_value = "clew:8080",
        value_parser = service
    )]
    service: (String, u16),
}

impl ControllerService {
    /// Its name in this namespace, and the port.
    fn at(&self, namespace: &str) -> (ObjectName, u16) {
        let (name, port) = &self.service;
        (ObjectName::new(namespace, name), *port)
    }
}

/// A Service and its port, as they are said.
fn service(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text.rsplit_once(':').ok_or("say NAME:PORT")?;
    let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    Ok((name.to_owned(), port))
}

/// What the commands that wait for something run on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::unreachable(format!("no threads to run on: {error}")))
}
