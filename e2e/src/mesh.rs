//! A cluster with Istio and a gateway, started once for all sentences of a program.

use anyhow::{Result, anyhow};
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::controller;
use crate::gateway::Gateway;
use crate::istio::{self, Istio};
use crate::manifests::NAMESPACE;

/// A cluster with Istio and a gateway.
#[derive(Debug)]
pub struct Mesh {
    /// The API server.
    pub cluster: Cluster,
    /// The gateway.
    pub gateway: Gateway,
    /// The control plane.
    pub istio: Istio,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        controller::enter_names()?;
        let istio = Istio::start(&cluster).await?;
        let gateway = Gateway::start(&cluster, &istio).await?;
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        Ok(Self {
            cluster,
            gateway,
            istio,
        })
    }
}

/// The one of this program. It ends with the program, whose namespace ends all that is in it.
///
/// # Errors
/// When a part does not start.
pub async fn mesh() -> Result<&'static Mesh> {
    static MESH: OnceCell<Result<Mesh>> = OnceCell::const_new();
    let mesh = MESH.get_or_init(Mesh::start).await;
    mesh.as_ref()
        .map_err(|error| anyhow!("there is no cluster: {error:?}"))
}
