//! Routes of the namespaces that a listener takes by their labels, and what is named of other people's objects.

use anyhow::{Context, Result, ensure};
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, service};
use clew_e2e::wait;
use serde_json::json;

use super::{CLEW, SOON, alone, condition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_takes_the_routes_of_namespaces_with_its_labels_as_soon_as_they_have_them() -> Result<()> {
    let (mesh, controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    for name in ["labelled", "labelling"] {
        client.apply(&namespace(name)).await?;
    }
    let taken = json!({"from": "Selector", "selector": {"matchLabels": {"team": "red"}}});
    let listener =
        json!({"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": taken}});
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "labelling"},
        "spec": {"gatewayClassName": "istio", "listeners": [listener]},
    });
    client.apply(&gateway).await?;
    client.apply(&service("labelled", "chat")).await?;
    let route = json!({
        "apiVersion": CLEW, "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": "labelled"},
        "spec": {
            "parentRefs": [{"name": "edge", "namespace": "labelling"}],
            "rules": [{"backendRefs": [{"name": "chat", "port": PORT}]}],
        },
    });
    client.apply(&route).await?;
    let route = client.same(&route)?;
    let reason = |wanted: &'static str| {
        move |route: &serde_json::Value| {
            condition(route, "Accepted")
                .filter(|(_, reason, _)| reason == wanted)
                .map(drop)
        }
    };
    route
        .until(
            "a namespace without the label is not taken",
            reason("NotAllowedByListeners"),
        )
        .await?;
    let mut labelled = namespace("labelled");
    labelled["metadata"]["labels"] = json!({"team": "red"});
    client.apply(&labelled).await?;
    route.until("one with it is", reason("Accepted")).await?;

    let target = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"});
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "beside", "namespace": "labelling"},
        "spec": {"targetRefs": [target], "action": "AUDIT", "rules": [{}]},
    });
    let patch = json!({"applyTo": "HTTP_ROUTE", "match": {"context": "GATEWAY"}, "patch": {"operation": "MERGE", "value": {}}});
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "beside", "namespace": "labelling"},
        "spec": {"configPatches": [patch]},
    });
    let controller = controller.as_ref().context("a controller")?;
    for (object, named) in [
        (&policy, "CLEW0302 AuthorizationPolicy labelling/beside"),
        (&filter, "CLEW0303 EnvoyFilter labelling/beside"),
    ] {
        client.apply(object).await?;
        wait::until(named, SOON, async || {
            controller.log().contains(named).then_some(())
        })
        .await?;
        ensure!(controller.log().matches(named).count() == 1, "once");
        client.same(object)?.delete().await?;
    }

    client.apply(&namespace("labelled")).await?;
    route
        .until("nor is it when it has lost it", reason("NotAllowedByListeners"))
        .await?;
    route.delete().await?;
    route.gone().await?;
    client.same(&gateway)?.delete().await
}
