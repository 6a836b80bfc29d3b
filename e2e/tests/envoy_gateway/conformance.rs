//! Gateway API's own test of WebSocket backends, on what a WebSocketRoute becomes.

use anyhow::{Context, Result, ensure};
use clew_e2e::conformance::{self, BACKEND, BACKEND_PORT, Backend, GATEWAY, NAMESPACE};
use clew_e2e::manifests::Folder;
use clew_e2e::{envoy_gateway, istio, standalone};
use serde_json::{Value, json};

/// Of the Gateway, whose Envoy is beside that of the others.
const PORT: u16 = 8085;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateway_apis_own_test_of_websocket_backends_passes() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let gateway = envoy_gateway::gateway_on(NAMESPACE, GATEWAY, PORT);

    let given = [envoy_gateway::class(), gateway, conformance::service()];
    client.apply(&istio::namespace(NAMESPACE)).await?;
    for object in &given {
        client.apply(object).await?;
    }
    let backend = Backend::start(&client).await?;
    let mut gateways = all.envoy_gateway.lock().await;
    let _proxy = gateways.proxy_on(&client, NAMESPACE, GATEWAY, PORT, "").await?;
    gateways.balance(&client, NAMESPACE, GATEWAY).await?;
    drop(gateways);

    let folder = Folder::new()?;
    folder.put_all("manifests", &given)?;
    folder.put_all("route", &[route()])?;
    let path = folder.path().to_string_lossy();
    let rendering = standalone::clew(["render", "-f", &path, "--to", "gateway-api", "-o", "json"]).await?;
    let rendering = rendering.json()?;
    let objects = rendering["objects"].as_array().context("no objects")?;
    // Others take what is no upgrade.
    let takes_upgrades = |object: &&Value| {
        let headers = &object["spec"]["rules"][0]["matches"][0]["headers"];
        object["kind"] == "HTTPRoute" && headers[0]["name"] == "upgrade"
    };
    let handshakes = objects.iter().find(takes_upgrades).context("no route")?;
    let name = handshakes["metadata"]["name"].as_str().context("a name")?;
    let rendered = Folder::new()?;
    rendered.put_all("rendered", objects)?;

    let output = conformance::run(
        &all.cluster,
        envoy_gateway::CLASS,
        name,
        &rendered.path().join("rendered.yaml"),
    )
    .await?;
    let said = format!("{}{}", output.stdout, output.stderr);
    let passed =
        "--- PASS: Conformance/HTTPRouteBackendProtocolWebSocket/websocket_connection_should_reach_backend";
    ensure!(output.code == 0 && said.contains(passed), "{said}");
    // Three in a row are what it asks for.
    ensure!(backend.sessions() >= 3, "{} sessions: {said}", backend.sessions());
    Ok(())
}

/// In the place of the test's own HTTPRoute: all requests to the backend. The test's client comes with a foreign Origin.
fn route() -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1",
        "kind": "WebSocketRoute",
        "metadata": {"name": "backend-protocol-ws", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": GATEWAY}],
            "rules": [{
                "backendRefs": [{"name": BACKEND, "port": BACKEND_PORT}],
                "security": {"origin": {"allowed": ["*"]}},
            }],
        },
    })
}
