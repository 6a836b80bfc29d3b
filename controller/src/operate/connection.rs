//! The way to an API server, as kubectl finds it.

use std::path::Path;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster::Kind;
use crate::failure::{Failure, chain};

/// Whoever does not take a connection within this is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whoever says nothing for so long after that says no more.
const SILENCE: Duration = Duration::from_secs(30);

/// An API server, and whose namespace is meant where none is said.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// The context's.
    pub(crate) namespace: String,
    /// Where it is.
    pub(crate) server: String,
}

impl Connection {
    /// By a kubeconfig, or by the usual rules: `KUBECONFIG`, `~/.kube/config`, the pod's own account.
    ///
    /// # Errors
    /// When there is none, or it has no such context.
    pub(crate) async fn open(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, Failure> {
        let options = KubeConfigOptions {
            context: context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let mut config = match (kubeconfig, context) {
            (Some(path), _) => {
                let read = Kubeconfig::read_from(path).map_err(|error| {
                    Failure::usage(format!("--kubeconfig {}: {}", path.display(), chain(&error)))
                })?;
                let config = Config::from_custom_kubeconfig(read, &options).await;
                config.map_err(|error| Failure::usage(format!("{}: {}", path.display(), chain(&error))))?
            }
            (None, Some(context)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| Failure::usage(format!("--context {context}: {}", chain(&error))))?,
            (None, None) => Config::infer().await.map_err(|error| {
                Failure::unreachable(format!(
                    "no cluster is configured: {}; set KUBECONFIG, or say --kubeconfig; explain and simulate take files by -f, diff by --against",
                    chain(&error)
                ))
            })?,
        };
        config.connect_timeout = Some(PATIENCE);
        config.read_timeout = Some(SILENCE);
        // By itself it asks whoever is not there again for minutes, such as a replica that died: somebody waits, and is told.
        config.default_retry = false;
        let (namespace, server) = (config.default_namespace.clone(), config.cluster_url.to_string());
        let client = Client::try_from(config).map_err(|error| {
            Failure::unreachable(format!(
                "the cluster's configuration cannot be used: {}",
                chain(&error)
            ))
        })?;
        Ok(Self {
            client,
            namespace,
            server,
        })
    }

    /// The objects of a kind, of a namespace or of all.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) async fn list(&self, kind: Kind, namespace: Option<&str>) -> kube::Result<Vec<DynamicObject>> {
        let (client, resource) = (self.client.clone(), kind.resource());
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        Ok(api.list(&ListParams::default()).await?.items)
    }
}
