//! What `clew render --to gateway-api` prints, applied by hand, on a gateway without the filter.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clew_e2e::envoy_gateway;
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::rendered::{kinds, the_header_decides_the_pod};
use serde_json::json;

use crate::GATEWAY;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rendered_is_accepted_and_the_header_decides_the_pod() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let given = vec![envoy_gateway::class(), envoy_gateway::gateway(NAMESPACE, GATEWAY)];
    let gateway = (all.proxy.address, &all.proxy.admin);
    let parent = json!({"name": GATEWAY});
    let objects = the_header_decides_the_pod(&client, gateway, "gateway-api", parent, given).await?;
    let kinds = kinds(&objects);
    ensure!(
        kinds == BTreeSet::from(["BackendTrafficPolicy", "HTTPRoute"]),
        "{kinds:?}"
    );
    Ok(())
}
