//! In a cluster, with every part real: the API server, Envoy Gateway, and the Envoy of one of its Gateways. `e2e/run.sh envoy-gateway` runs this in
//! a network namespace; the parts are started once, and every sentence has names and hosts of its own.

mod rendered;

use anyhow::{Result, anyhow};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::envoy_gateway::{self, EnvoyGateway, Proxy};
use clew_e2e::istio;
use clew_e2e::manifests::NAMESPACE;
use tokio::sync::OnceCell;

/// The Gateway that all routes are on.
const GATEWAY: &str = "edge";

/// A cluster with Envoy Gateway, and the Envoy of a Gateway of its.
struct Scene {
    cluster: Cluster,
    proxy: Proxy,
    _envoy_gateway: EnvoyGateway,
}

impl Scene {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        let mut envoy_gateway = EnvoyGateway::start(&cluster).await?;
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        client.apply(&envoy_gateway::gateway(NAMESPACE, GATEWAY)).await?;
        let proxy = envoy_gateway.proxy(&client, NAMESPACE, GATEWAY).await?;
        Ok(Self {
            cluster,
            proxy,
            _envoy_gateway: envoy_gateway,
        })
    }
}

/// The one of this program. It ends with the program, whose namespace ends all that is in it.
async fn scene() -> Result<(&'static Scene, Client)> {
    static SCENE: OnceCell<Result<Scene>> = OnceCell::const_new();
    let scene = SCENE.get_or_init(Scene::start).await;
    let scene = scene
        .as_ref()
        .map_err(|error| anyhow!("there is no cluster: {error:?}"))?;
    Ok((scene, scene.cluster.client().await?))
}
