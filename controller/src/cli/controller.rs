//! `clew controller`.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use super::IstioRoot;
use crate::cluster::{self, Scope, Settings};
use crate::failure::Failure;
use crate::standalone::state::random_hex;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the controller's own Secrets and its Lease are [default: the pod's, else clew-system]
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", hide_env_values = true)]
    namespace: Option<String>,
    /// Look at the objects of one namespace only [default: of all]
    #[arg(
        long,
        value_name = "NAME",
        env = "CLEW_WATCH_NAMESPACE",
        hide_env_values = true
    )]
    watch_namespace: Option<String>,
    /// Where proxies and probes come in: /v1/channel, /module, /healthz, /readyz, /metrics
    #[arg(
        long,
        value_name = "ADDR",
        env = "CLEW_LISTEN",
        hide_env_values = true,
        default_value = "0.0.0.0:8080"
    )]
    listen: SocketAddr,
    /// Where other replicas come in, which pass what proxies say on to the one that leads [default: --listen's, if it names one address]
    #[arg(long, value_name = "IP", env = "POD_IP", hide_env_values = true)]
    pod_ip: Option<IpAddr>,
    /// Serve a page for people there, too, at /; it asks for a token of the account clew-reader
    #[arg(long, env = "CLEW_STATUS_PAGE", hide_env_values = true)]
    status_page: bool,
    #[command(flatten)]
    istio: IstioRoot,
}

/// Huge pages, where the system gives them unasked, are cleared whole, and stay whole for the little that a burst leaves in each. Children would
/// inherit that there are none: a controller has no children.
#[cfg(target_os = "linux")]
fn prefer_small_pages() {
    if let Err(why) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!("memory comes in huge pages: {why}");
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_small_pages() {}

pub(crate) fn main(args: Args) -> Result<ExitCode, Failure> {
    prefer_small_pages();
    // A pod's name says more than digits, and the digits tell its lives apart.
    let name = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    let life = random_hex()?;
    let settings = Settings {
        scope: Scope {
            namespace: args.namespace.unwrap_or_else(|| super::NAMESPACE.to_owned()),
            watched: args.watch_namespace,
            root_namespace: args.istio.namespace(),
        },
        listen: args.listen,
        reached: args
            .pod_ip
            .or_else(|| Some(args.listen.ip()).filter(|ip| !ip.is_unspecified()))
            .map(|ip| SocketAddr::new(ip, args.listen.port())),
        status_page: args.status_page,
        identity: format!("{}_{}", name.unwrap_or_else(|_| "clew".to_owned()), &life[..8]),
    };
    super::runtime()?.block_on(cluster::run(settings))
}
