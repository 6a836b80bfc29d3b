//! In a cluster, with every part real: the API server, istiod, and an Istio gateway's agent with its Envoy. `e2e/run.sh istio` runs this in
//! a network namespace; the parts are started once, and every sentence has names and hosts of its own.

mod admission;
mod controller;
mod pods;
mod rendered;

use anyhow::{Result, anyhow};
use clew_e2e::cluster::Cluster;
use clew_e2e::gateway::Gateway;
use clew_e2e::istio::{self, Istio};
use clew_e2e::manifests::NAMESPACE;
use tokio::sync::OnceCell;

/// A cluster with Istio and a gateway.
struct Mesh {
    cluster: Cluster,
    gateway: Gateway,
    _istio: Istio,
}

impl Mesh {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let istio = Istio::start(&cluster).await?;
        let gateway = Gateway::start(&cluster, &istio).await?;
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        Ok(Self {
            cluster,
            gateway,
            _istio: istio,
        })
    }
}

/// The one of this program. It ends with the program, whose namespace ends all that is in it.
async fn mesh() -> Result<&'static Mesh> {
    static MESH: OnceCell<Result<Mesh>> = OnceCell::const_new();
    let mesh = MESH.get_or_init(Mesh::start).await;
    mesh.as_ref()
        .map_err(|error| anyhow!("there is no cluster: {error:?}"))
}
