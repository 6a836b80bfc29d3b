//! What `clew render --to istio` prints, applied by hand, on a gateway without the filter. `e2e/run.sh istio` runs it in a network
//! namespace, with parts of its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clew_e2e::gateway::{PORT, istio_gateway};
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::mesh::mesh;
use clew_e2e::rendered::{HOST, kinds, the_header_decides_the_pod};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rendered_is_accepted_and_the_header_decides_the_pod() -> Result<()> {
    let mesh = mesh().await?;
    let client = mesh.cluster.client().await?;
    let admin = &mesh.gateway.admin;
    let given = vec![istio_gateway(NAMESPACE, "rendered", &[HOST])];
    let parent = json!({"group": "networking.istio.io", "kind": "Gateway", "name": "rendered", "port": PORT});
    let gateway = (mesh.gateway.address, admin);
    let objects = the_header_decides_the_pod(&client, gateway, "istio", parent, given).await?;
    let kinds = kinds(&objects);
    ensure!(
        kinds == BTreeSet::from(["DestinationRule", "VirtualService"]),
        "{kinds:?}"
    );
    let name = objects
        .iter()
        .find_map(|object| object.pointer("/spec/http/0/name")?.as_str());
    let name = name.context("the rendered route has no name")?;
    let routes = admin.get("/config_dump?resource=dynamic_route_configs").await?;
    ensure!(
        routes.contains(&format!("\"name\": \"{name}\"")),
        "no route {name} in {routes}"
    );
    Ok(())
}
