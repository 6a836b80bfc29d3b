//! What `clew render --to gateway-api` prints, applied by hand, on a gateway without the filter.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clew_e2e::manifests::{Folder, NAMESPACE};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::ws_client::{Request, Traffic};
use clew_e2e::{envoy_gateway, scene, standalone, wait};
use serde_json::json;

use crate::{GATEWAY, SOON};

const HOST: &str = "rendered.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rendered_is_accepted_and_the_header_decides_the_pod() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let manifests = [
        service(NAMESPACE, "rendered"),
        json!({
            "apiVersion": "clew.dev/v1alpha1",
            "kind": "WebSocketRoute",
            "metadata": {"name": "rendered", "namespace": NAMESPACE},
            "spec": {
                "parentRefs": [{"name": GATEWAY}],
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
    let gateway = [envoy_gateway::gateway(NAMESPACE, GATEWAY), envoy_gateway::class()];
    folder.put_all("manifests", &manifests)?;
    folder.put_all("gateway", &gateway)?;
    let path = folder.path().to_string_lossy();
    let rendering = standalone::clew(["render", "-f", &path, "--to", "gateway-api", "-o", "json"]).await?;
    let rendering = rendering.json()?;
    let objects = rendering["objects"].as_array().context("no objects")?;
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    ensure!(
        kinds == BTreeSet::from(["BackendTrafficPolicy", "HTTPRoute"]),
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

    let gateway = all.proxy.address;
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
        .session(Traffic::every(std::time::Duration::from_millis(10), 512));
    session.check().await?;
    for (counter, rejected) in all.proxy.admin.stats("update_rejected$").await? {
        ensure!(rejected == 0, "{counter} is {rejected}");
    }
    Ok(())
}
