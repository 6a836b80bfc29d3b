//! What `clew render` prints, applied by hand on a gateway without the filter.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::Client;
use crate::envoy::Admin;
use crate::manifests::{Folder, NAMESPACE};
use crate::pod::{PORT, Pod, service};
use crate::ws_client::{Request, Traffic};
use crate::{scene, standalone, wait};

/// The host that the gateway has to serve.
pub const HOST: &str = "rendered.example.com";

const SOON: Duration = Duration::from_secs(60);

/// Applies what a route with this parent becomes for this target, beside what is `given`, and sees that pods are chosen by
/// `x-clew-host` there, and by nobody without it. What was rendered.
///
/// # Errors
/// When something is not taken, or a session is not where the header says.
pub async fn the_header_decides_the_pod(
    client: &Client,
    (gateway, admin): (SocketAddr, &Admin),
    target: &str,
    parent: Value,
    given: Vec<Value>,
) -> Result<Vec<Value>> {
    let mut manifests = given;
    manifests.push(service(NAMESPACE, "rendered"));
    manifests.push(json!({
        "apiVersion": "clew.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "rendered", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [parent],
            "hostnames": [HOST],
            "rules": [{
                "matches": [{"path": {"value": "/ws"}}],
                "backendRefs": [{"name": "rendered", "port": PORT}],
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            }],
        },
    }));
    let folder = Folder::new()?;
    folder.put_all("manifests", &manifests)?;
    let path = folder.path().to_string_lossy();
    let rendering = standalone::clew(["render", "-f", &path, "--to", target, "-o", "json"]).await?;
    let rendering = rendering.json()?;
    let objects = rendering["objects"].as_array().context("no objects")?;
    for object in manifests.iter().chain(objects) {
        client.apply(object).await?;
    }
    let mut pods = Vec::new();
    for index in 0..3 {
        let name = format!("rendered-{index}");
        pods.push(Pod::start(client, NAMESPACE, "rendered", &name).await?);
    }

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
    for (counter, rejected) in admin.stats("update_rejected$").await? {
        ensure!(rejected == 0, "{counter} is {rejected}");
    }
    Ok(objects.clone())
}

/// The kinds of some objects.
pub fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect()
}
