//! In a cluster, with every part real: the API server, Envoy Gateway, and the Envoy of one of its Gateways. `e2e/run.sh envoy-gateway` runs this in
//! a network namespace; the parts are started once, and every sentence has names and hosts of its own.

mod buffers;
mod conformance;
mod controller;
mod defaults;
mod one_key;
mod policy;
mod rendered;
mod shop;
mod tools;

use anyhow::{Result, anyhow};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::controller::{self as of_controller, Controller};
use clew_e2e::envoy_gateway::{self, EnvoyGateway, Proxy};
use clew_e2e::istio;
use clew_e2e::manifests::NAMESPACE;
use tokio::sync::{Mutex, OnceCell, oneshot};

/// The Gateway without the filter.
const GATEWAY: &str = "edge";
/// The Gateway with it, and its port.
const FILTERED: (&str, u16) = ("filtered", 81);

/// Of the controller: Envoy Gateway has 8080 on every address.
const CONTROLLER_PORT: u16 = 8090;

/// One at a time on the Gateway with the filter: what its listeners are changed by is counted, and an installation lets everybody leave.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The full sizes, which take long.
fn full() -> bool {
    std::env::var_os("CLEW_E2E_FULL").is_some()
}

/// A cluster with Envoy Gateway, and the Envoy of a Gateway of its.
struct Scene {
    cluster: Cluster,
    proxy: Proxy,
    filtered: Proxy,
    _controller: Controller,
    envoy_gateway: Mutex<EnvoyGateway>,
}

impl Scene {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start().await?;
        of_controller::enter_names()?;
        let mut envoy_gateway = EnvoyGateway::start(&cluster).await?;
        let client = cluster.client().await?;
        client.apply(&istio::namespace(NAMESPACE)).await?;
        client.apply(&envoy_gateway::gateway(NAMESPACE, GATEWAY)).await?;
        let proxy = envoy_gateway.proxy(&client, NAMESPACE, GATEWAY).await?;
        let controller = Controller::start_on(&cluster, "clew-0", CONTROLLER_PORT).await?;
        let (name, port) = FILTERED;
        client
            .apply(&envoy_gateway::gateway_on(NAMESPACE, name, port))
            .await?;
        shop::install(&cluster, &["--yes"]).await?.success()?;
        let filtered = envoy_gateway
            .proxy_on(&client, NAMESPACE, name, port, "clew.clew-system.svc")
            .await?;
        Ok(Self {
            cluster,
            proxy,
            filtered,
            _controller: controller,
            envoy_gateway: Mutex::new(envoy_gateway),
        })
    }
}

/// Starts it by a thread that never ends: an Envoy gets SIGTERM when the thread that started it does.
async fn start() -> Result<Scene> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error.into()))),
        };
        runtime.block_on(async {
            tell.send(Scene::start().await).ok();
            std::future::pending::<()>().await;
        });
    });
    told.await?
}

/// The one of this program. It ends with the program, whose namespace ends all that is in it.
async fn scene() -> Result<(&'static Scene, Client)> {
    static SCENE: OnceCell<Result<Scene>> = OnceCell::const_new();
    let scene = SCENE.get_or_init(start).await;
    let scene = scene
        .as_ref()
        .map_err(|error| anyhow!("there is no cluster: {error:?}"))?;
    Ok((scene, scene.cluster.client().await?))
}
