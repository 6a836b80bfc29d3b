//! What `clew render --to istio` prints, applied by hand, on a gateway without the filter. `e2e/run.sh istio` runs it in a network
//! namespace, with parts of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::gateway::{PORT as GATEWAY_PORT, istio_gateway};
use clew_e2e::manifests::{Folder, NAMESPACE};
use clew_e2e::mesh::mesh;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::ws_client::{Request, Traffic};
use clew_e2e::{scene, standalone, wait};
use serde_json::json;

const HOST: &str = "rendered.example.com";
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rendered_is_accepted_and_the_header_decides_the_pod() -> Result<()> {
    let mesh = mesh().await?;
    let client = mesh.cluster.client().await?;
    let manifests = [
        istio_gateway(NAMESPACE, "rendered", &[HOST]),
        service(NAMESPACE, "rendered"),
        json!({
            "apiVersion": "clew.dev/v1alpha1",
            "kind": "WebSocketRoute",
            "metadata": {"name": "rendered", "namespace": NAMESPACE},
            "spec": {
                "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "rendered", "port": GATEWAY_PORT}],
                "hostnames": [HOST],
                "rules": [{
                    "matches": [{"path": {"value": "/ws"}}],
                    "backendRefs": [{"name": "rendered", "port": PORT}],
                    "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
                }],
            },
        }),
    ];
    let folder = Folder::new()?;
    folder.put_all("manifests", &manifests)?;
    let path = folder.path().to_string_lossy();
    let rendering = standalone::clew(["render", "-f", &path, "--to", "istio", "-o", "json"]).await?;
    let rendering = rendering.json()?;
    let objects = rendering["objects"].as_array().context("no objects")?;
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    ensure!(
        kinds == BTreeSet::from(["DestinationRule", "VirtualService"]),
        "{kinds:?}"
    );
    for object in manifests.iter().chain(objects) {
        client.apply(object).await?;
    }
    let mut pods = Vec::new();
    for index in 0..3 {
        let name = format!("rendered-{index}");
        pods.push(Pod::start(&client, NAMESPACE, "rendered", &name).await?);
    }

    let gateway = mesh.gateway.address;
    let on = |pod: &Pod| {
        let address = pod.address().to_string();
        Request::new("/ws?room=7")
            .host(HOST)
            .header("x-clew-host", address)
    };
    // Many, because Envoy's workers learn of pods one after the other.
    let reached = async |pod: &Pod, times| {
        let placed = scene::place(gateway, &vec![on(pod); times]).await.ok()?;
        placed.iter().all(|name| name == pod.name()).then_some(())
    };
    wait::until("every pod is reached by its address", SOON, async || {
        for pod in &pods {
            reached(pod, 16).await?;
        }
        Some(())
    })
    .await?;
    for pod in &pods {
        let strays = || format!("not all sessions for {} were there", pod.name());
        reached(pod, 100).await.with_context(strays)?;
    }
    // The control: without the header nobody decides.
    let placed = scene::place(gateway, &vec![Request::new("/ws?room=7").host(HOST); 40]).await?;
    ensure!(placed.iter().collect::<BTreeSet<_>>().len() > 1, "{placed:?}");

    let session = on(&pods[1])
        .open(gateway)
        .await?
        .session(Traffic::every(Duration::from_millis(10), 512));
    session.check().await?;
    let name = objects
        .iter()
        .find_map(|object| object.pointer("/spec/http/0/name")?.as_str());
    let name = name.context("the rendered route has no name")?;
    let routes = mesh
        .gateway
        .admin
        .get("/config_dump?resource=dynamic_route_configs")
        .await?;
    ensure!(
        routes.contains(&format!("\"name\": \"{name}\"")),
        "no route {name} in {routes}"
    );
    for (counter, rejected) in mesh.gateway.admin.stats("update_rejected$").await? {
        ensure!(rejected == 0, "{counter} is {rejected}");
    }
    Ok(())
}
