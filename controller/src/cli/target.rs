//! What a command is about: a `clew run`, or a cluster.

use std::path::PathBuf;

use clew_core::objects::RootNamespace;

use super::ask::{Api, Standalone};
use super::{ControllerService, IstioRoot};
use crate::cluster::Scope;
use crate::failure::Failure;
use crate::operate::{Connection, Controller};

/// How it is chosen, for the end of each command's help.
pub(crate) const CHOICE: &str = "\
Which clew is asked: with --api or --state-dir that clew run; with one of the options of a cluster the kubeconfig's cluster; \
with neither the clew run of the default state folder if it runs, and else the kubeconfig's cluster.";

/// A `clew run`, or a cluster.
#[derive(clap::Args)]
pub(crate) struct Target {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    kube: Kube,
}

/// Which cluster, as kubectl is told.
#[derive(clap::Args)]
#[command(next_help_heading = "In a cluster")]
pub(crate) struct Kube {
    /// How to reach it [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Whose routes and pods [default: the context's]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Where the controller is
    #[arg(
        long,
        value_name = "NAME",
        env = "CLEW_CONTROLLER_NAMESPACE",
        hide_env_values = true,
        default_value = super::NAMESPACE
    )]
    clew_namespace: String,
    #[command(flatten)]
    service: ControllerService,
    #[command(flatten)]
    istio: IstioRoot,
}

/// What was found.
pub(crate) enum Found {
    Standalone(Standalone),
    Cluster(Box<Cluster>),
}

/// A cluster.
pub(crate) struct Cluster {
    pub(crate) connection: Connection,
    pub(crate) controller: Controller,
    /// As it was said.
    pub(crate) namespace: Option<String>,
    /// Istio's.
    pub(crate) root_namespace: RootNamespace,
}

impl Target {
    /// The state folder of the `clew run` that is meant, where that is known.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.api.folder()
    }

    /// The `clew run` that is meant, where somebody or its state folder says where it has its port.
    pub(crate) fn kept(&self) -> Option<Standalone> {
        self.api.found()
    }

    /// The one that is meant; `cluster`: something else on the command line is for a cluster only.
    ///
    /// # Errors
    /// When both are said, or there is no cluster.
    pub(crate) async fn find(&self, cluster: bool) -> Result<Found, Failure> {
        let cluster = cluster || self.kube.is_said();
        if self.api.is_said() {
            return match cluster {
                true => Err(Failure::usage(
                    "--api and --state-dir are of a clew run, and what else was said is of a cluster",
                )),
                false => Ok(Found::Standalone(self.api.standalone())),
            };
        }
        let in_a_cluster = cluster || (!self.api.is_nearby().await && Kube::is_configured());
        if let Some(address) = self.api.kept()
            && in_a_cluster
            && !cluster
        {
            eprintln!("no clew run answers at {address}, where one was; the kubeconfig's cluster is asked");
        }
        match in_a_cluster {
            true => Ok(Found::Cluster(Box::new(self.kube.open().await?))),
            false => Ok(Found::Standalone(self.api.standalone())),
        }
    }
}

impl Kube {
    fn is_said(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.namespace.is_some()
    }

    /// Whether anything says where a cluster is.
    fn is_configured() -> bool {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let of_home = || Some(PathBuf::from(set("HOME")?).join(".kube/config"));
        set("KUBECONFIG").is_some()
            || set("KUBERNETES_SERVICE_HOST").is_some()
            || of_home().is_some_and(|file| file.is_file())
    }

    /// The cluster.
    ///
    /// # Errors
    /// When nothing says where it is.
    pub(crate) async fn open(&self) -> Result<Cluster, Failure> {
        let (service, port) = self.service.at(&self.clew_namespace);
        Ok(Cluster {
            connection: Connection::open(self.kubeconfig.as_deref(), self.context.as_deref()).await?,
            controller: Controller { service, port },
            namespace: self.namespace.clone(),
            root_namespace: self.istio.namespace(),
        })
    }
}

impl Cluster {
    /// What a controller of all namespaces would look at.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            namespace: self.controller.service.namespace.to_string(),
            watched: None,
            root_namespace: self.root_namespace.clone(),
        }
    }

    /// Whose objects are meant where not all are.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.connection.namespace)
    }
}
