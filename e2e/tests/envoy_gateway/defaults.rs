//! What is set for all Gateways holds also where the filter is installed, and what is set for those of a class is not lost unsaid.

use anyhow::{Context, Result, ensure};
use clew_e2e::envoy_gateway::{CONTROLLER, FOR_ALL, gateway_on};
use clew_e2e::manifests::NAMESPACE;
use serde_json::json;

use crate::shop::install_on;

const API: &str = "gateway.envoyproxy.io/v1alpha1";
const CLASS: &str = "with-defaults";
const GATEWAY: &str = "defaults";
const PORT: u16 = 83;
/// What the pods of a Gateway with the filter know of the controller.
const CHANNEL: &str = "clew.clew-system.svc";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_for_all_gateways_holds_beside_the_filter() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let (annotation, level) = FOR_ALL;
    let gateway = gateway_on(NAMESPACE, GATEWAY, PORT);
    client.apply(&gateway).await?;
    let mut envoy_gateway = all.envoy_gateway.lock().await;
    envoy_gateway
        .deployment(&client, NAMESPACE, GATEWAY, annotation)
        .await?;
    install_on(GATEWAY, &all.cluster, &["--yes"]).await?.success()?;
    let with_filter = envoy_gateway
        .deployment(&client, NAMESPACE, GATEWAY, CHANNEL)
        .await?;
    let template = json!(with_filter.spec.context("a spec")?.template);
    ensure!(
        template["metadata"]["annotations"][annotation] == "yes",
        "{:#}",
        template["metadata"]
    );
    let arguments = template["spec"]["containers"].to_string();
    let is_told = arguments.contains(&format!(r#""--log-level","{level}""#));
    ensure!(is_told, "{arguments}");
    client.same(&gateway)?.delete().await?;
    // Others look at all installations.
    let ours = format!("{GATEWAY}-clew");
    client
        .object(API, "EnvoyExtensionPolicy", NAMESPACE, &ours)
        .delete()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_for_a_class_is_in_the_way_until_it_knows_the_controller() -> Result<()> {
    let (all, client) = crate::scene().await?;
    let proxy = json!({
        "apiVersion": API, "kind": "EnvoyProxy",
        "metadata": {"name": CLASS, "namespace": NAMESPACE}, "spec": {"logging": {"level": {"default": "info"}}},
    });
    client.apply(&proxy).await?;
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS},
        "spec": {
            "controllerName": CONTROLLER,
            "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": CLASS, "namespace": NAMESPACE},
        },
    });
    client.apply(&class).await?;
    let mut gateway = gateway_on(NAMESPACE, CLASS, PORT + 1);
    gateway["spec"]["gatewayClassName"] = json!(CLASS);
    client.apply(&gateway).await?;
    let refused = install_on(CLASS, &all.cluster, &["--yes"]).await?;
    ensure!(
        refused.code == 1
            && refused
                .stderr
                .contains(&format!("GatewayClass {CLASS} names EnvoyProxy")),
        "{refused:?}"
    );
    client.same(&gateway)?.delete().await
}
