//! What a question is about: manifests in files, or a cluster.

use std::path::PathBuf;

use clap::Args;
use clew_core::explain::Secrets;
use clew_core::render::rules::Drains;
use clew_core::validate::Validated;

use super::manifests::{Paths, StateDir};
use super::target::{Cluster, Kube};
use crate::cluster::Once;
use crate::failure::{Failure, refused};
use crate::operate::routes::UNKNOWN_KIND;

/// Which.
#[derive(Args)]
pub(crate) struct Subject {
    /// File or folder of manifests; may be given several times [default: the kubeconfig's cluster is asked about]
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    state: StateDir,
    #[command(flatten)]
    kube: Kube,
}

/// What is known of it.
pub(crate) struct Known {
    pub(crate) validated: Validated,
    pub(crate) drains: Drains,
    pub(crate) secrets: Secrets,
}

impl Subject {
    /// Looks at it; says on stderr what is wrong in files.
    ///
    /// # Errors
    /// When a cluster, or what places its keys, cannot be looked at.
    pub(crate) fn look(&self) -> Result<Known, Failure> {
        if self.filename.is_empty() {
            return super::runtime()?.block_on(async { self.kube.open().await?.known().await });
        }
        let checked = Paths::of(&self.filename).check();
        checked.report();
        let secrets = Secrets {
            seed: self.state.seed()?,
            ring: self.state.ring(&checked.validated.world.signing_keys)?,
        };
        Ok(Known {
            validated: checked.validated,
            drains: checked.drains,
            secrets,
        })
    }
}

impl Cluster {
    /// All that its controller works on.
    ///
    /// # Errors
    /// When something of it cannot be listed.
    pub(crate) async fn once(&self) -> Result<Once, Failure> {
        let looked = Once::look(&self.connection.client, &self.scope()).await;
        let looked =
            looked.map_err(|unseen| refused(&format!("{} cannot be listed", unseen.kind), &unseen.error))?;
        looked.ok_or_else(|| Failure::refused(UNKNOWN_KIND))
    }

    async fn known(&self) -> Result<Known, Failure> {
        let mut once = self.once().await?;
        let validated = once.validate();
        let namespace = &self.controller.service.namespace;
        let client = &self.connection.client;
        Ok(Known {
            drains: once.drains(&validated.world),
            secrets: once.secrets(client, namespace, &validated.world).await?,
            validated,
        })
    }
}
