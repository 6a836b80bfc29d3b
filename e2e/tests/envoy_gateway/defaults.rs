//! What is set for all Gateways, and for those of a class, holds also where the filter is installed.

use anyhow::{Context, Result, ensure};
use clew_e2e::envoy_gateway::{CONTROLLER, FOR_ALL, gateway_on, of_pods};
use clew_e2e::manifests::NAMESPACE;
use serde_json::json;

use crate::shop::install_on;

const CLASS: &str = "with-defaults";
const GATEWAY: &str = "defaults";
const PORT: u16 = 83;
const OF_CLASS: &str = "example.com/of-class";
/// What the pods of a Gateway with the filter know of the controller.
const CHANNEL: &str = "clew.clew-system.svc";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_for_all_gateways_and_for_a_class_holds_beside_the_filter() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let mut proxy = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy",
        "metadata": {"name": CLASS, "namespace": NAMESPACE}, "spec": of_pods(&json!({OF_CLASS: "yes"})),
    });
    proxy["spec"]["mergeType"] = json!("StrategicMerge");
    client.apply(&proxy).await?;
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS},
        "spec": {
            "controllerName": CONTROLLER,
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": CLASS, "namespace": NAMESPACE},
        },
    });
    client.apply(&class).await?;
    let mut gateway = gateway_on(NAMESPACE, GATEWAY, PORT);
    gateway["spec"]["gatewayClassName"] = json!(CLASS);
    client.apply(&gateway).await?;
    let mut envoy_gateway = all.envoy_gateway.lock().await;
    envoy_gateway
        .deployment(&client, NAMESPACE, GATEWAY, OF_CLASS)
        .await?;

    install_on(GATEWAY, &all.cluster, &["--yes"]).await?.success()?;
    let with_filter = envoy_gateway
        .deployment(&client, NAMESPACE, GATEWAY, CHANNEL)
        .await?;
    let template = with_filter.spec.context("a spec")?.template;
    let annotations = template.metadata.and_then(|metadata| metadata.annotations);
    let annotations = annotations.unwrap_or_default();
    for set in [FOR_ALL, OF_CLASS] {
        ensure!(
            annotations.contains_key(set),
            "{set} is not among {annotations:?}"
        );
    }

    // A class that has a bootstrap of its own keeps it.
    proxy["spec"]["bootstrap"] = json!({"type": "Merge", "value": "stats_flush_interval: 10s"});
    client.apply(&proxy).await?;
    let second = format!("{GATEWAY}-2");
    let mut gateway = gateway_on(NAMESPACE, &second, PORT + 1);
    gateway["spec"]["gatewayClassName"] = json!(CLASS);
    client.apply(&gateway).await?;
    let refused = install_on(&second, &all.cluster, &["--yes"]).await?;
    ensure!(
        refused.code == 1
            && refused
                .stderr
                .contains(&format!("GatewayClass {CLASS} names EnvoyProxy")),
        "{refused:?}"
    );
    client.same(&gateway)?.delete().await
}
