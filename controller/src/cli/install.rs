//! `clew install`.

mod leave;
mod module;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use clew_core::model::ObjectName;
use clew_filter_config::plugin::FailureMode;

use super::output::{Format, plural};
use super::{ControllerService, IstioRoot};
use crate::cluster::install::{Installation, Standing, Wish};
use crate::failure::Failure;
use crate::operate::{Connection, Controller};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Gateway: Istio's own, or one of Istio's or Envoy Gateway's class
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = gateway)]
    gateway: ObjectName,
    /// Print the objects, and install nothing. The first one holds the gateway's token
    #[arg(long)]
    print: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How to reach the cluster [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where the controller is
    #[arg(
        long,
        visible_alias = "clew-namespace",
        value_name = "NAME",
        env = "CLEW_CONTROLLER_NAMESPACE",
        hide_env_values = true,
        default_value = super::NAMESPACE
    )]
    namespace: String,
    #[command(flatten)]
    service: ControllerService,
    /// What a proxy does with handshakes before it has heard of the controller
    #[arg(long, value_enum, default_value = "closed", ignore_case = true)]
    failure_mode: Mode,
    #[command(flatten)]
    istio: IstioRoot,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// 503
    Closed,
    /// They pass as if there were no filter
    Open,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    super::runtime()?.block_on(install(args))
}

async fn install(args: &Args) -> Result<ExitCode, Failure> {
    let (service, port) = args.service.at(&args.namespace);
    let wish = Wish {
        gateway: args.gateway.clone(),
        service,
        port,
        failure_mode: match args.failure_mode {
            Mode::Closed => FailureMode::Closed,
            Mode::Open => FailureMode::Open,
        },
        root_namespace: args.istio.namespace(),
    };
    let connection = Connection::open(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let installation = Installation::prepare(connection.client.clone(), &wish).await?;
    let controller = Controller {
        service: wish.service.clone(),
        port: wish.port,
    };
    let served = module::is_served(&crate::module::sha256(), controller.ask(&connection.client).await);
    if args.print {
        // What is printed may be written when the controller is another.
        if let Err(why) = served {
            eprintln!("{why}");
        }
        let objects: Vec<_> = installation
            .objects
            .iter()
            .map(|(_, object)| object.clone())
            .collect();
        Format::Yaml.print(&List::of(&objects), String::new)?;
        return Ok(ExitCode::SUCCESS);
    }
    served?;
    if let Some(warning) = installation.nobody() {
        eprintln!("warning: {warning}");
    }
    eprintln!("{}", announcement(&installation));
    if installation.standing == Standing::Same {
        return Ok(ExitCode::SUCCESS);
    }
    installation.rehearse().await?;
    let drains = installation.cuts_when_changed() && installation.standing == Standing::Older;
    if (drains || installation.standing == Standing::Absent) && !args.yes {
        ask()?;
    }
    if drains {
        leave::change(&connection, &controller, &installation).await?;
    } else {
        installation.make().await?;
    }
    eprintln!("{} {} are written", installation.kinds(), installation.name);
    Ok(ExitCode::SUCCESS)
}

/// As `kubectl apply` takes several.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [serde_json::Value],
}

impl<'a> List<'a> {
    fn of(items: &'a [serde_json::Value]) -> Self {
        Self {
            api_version: "v1",
            kind: "List",
            items,
        }
    }
}

/// What will happen.
fn announcement(installation: &Installation) -> String {
    let Installation {
        name, proxies, pods, ..
    } = installation;
    let who = format!("{} ({proxies})", plural(*pods as u64, "pod"));
    let what = match installation.cuts_when_changed() {
        true => "EnvoyExtensionPolicy",
        false => "WasmPlugin",
    };
    let again = match installation.cuts_when_changed() {
        true => "; pods that do not know the controller are started anew",
        false => "",
    };
    let untold = match installation.cuts_when_changed() {
        true => "",
        // What Istio's proxies count of themselves is on a list.
        false => {
            ", unless downstream_cx_upgrades_active is among the proxyStatsMatcher's inclusionSuffixes of their ProxyConfig"
        }
    };
    match (installation.standing, installation.sessions) {
        (Standing::Same, _) => format!("{what} {name} is installed already, and as it should be"),
        (Standing::Older, sessions) if installation.cuts_when_changed() => {
            let sessions = sessions.map_or_else(String::new, |n| format!(", {n} now,"));
            format!(
                "{what} {name} gets a new module or configuration on {who}: their listeners change, so all sessions{sessions} leave first, as their rules' drain says, and new ones are refused until then{again}"
            )
        }
        (Standing::Older, _) => {
            format!("{what} {name} gets a new module or configuration on {who}; no session ends")
        }
        (Standing::Absent, Some(sessions)) => format!(
            "the filter is new to {who}: their listeners change once, which cuts every WebSocket that is open there, {sessions} now{again}"
        ),
        (Standing::Absent, None) => format!(
            "the filter is new to {who}: their listeners change once, which cuts every WebSocket that is open there; how many there are they do not say{untold}{again}"
        ),
    }
}

fn ask() -> Result<(), Failure> {
    let mut stdin = io::stdin().lock();
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to ask; say --yes"));
    }
    eprint!("install it? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let _ = stdin.read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was installed")),
    }
}

fn gateway(text: &str) -> Result<ObjectName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(ObjectName::new(namespace, name))
        }
        _ => Err("say NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::gateway;
    use crate::cli::service;

    #[test]
    fn names_are_read_or_refused() {
        assert_eq!(gateway("infra/edge").unwrap().to_string(), "infra/edge");
        assert_eq!(service("clew:8080"), Ok(("clew".to_owned(), 8080)));
        assert!(gateway("edge").is_err() && gateway("/edge").is_err());
        assert!(service("clew").is_err() && service("clew:x").is_err());
    }
}
