//! `clew controller`: what a route becomes in the cluster, what its status says, and what comes back when somebody takes it away.

pub(crate) mod broken;
mod coming;
mod cuts;
mod edits;
mod faults;
mod foreseen;
mod groups;
mod guide;
mod killed;
mod lingering;
mod misses;
mod mistakes;
mod module;
mod mtls;
mod namespaces;
mod neighbours;
mod operate;
mod own_gateway;
mod proxies;
pub(crate) mod reasons;
mod service_parent;
mod sessions;
mod shop;
mod silent;
mod status_page;
mod tools;
mod traces;
mod verified;

use anyhow::{Context, Result, ensure};
use clew_e2e::controller::Controller;
use clew_e2e::istio::namespace;
use clew_e2e::{http, process, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

use crate::{Mesh, mesh};

const SOON: Duration = Duration::from_secs(30);
const ISTIO: &str = "networking.istio.io/v1";
const CLEW: &str = "clew.dev/v1alpha1";

/// The controller and the cluster, for one sentence at a time: its writes are counted.
pub(crate) async fn alone() -> Result<(&'static Mesh, MutexGuard<'static, Option<Controller>>)> {
    static CONTROLLER: Mutex<Option<Controller>> = Mutex::const_new(None);
    let mesh = mesh().await?;
    let mut controller = CONTROLLER.lock().await;
    match &mut *controller {
        None => *controller = Some(Controller::start(&mesh.cluster, "clew-0").await?),
        // A sentence that failed may have left it in another state.
        Some(known) if known.kubeconfig != known.own || !process::lives(known.pid()) => {
            known.signal(Signal::KILL).ok();
            known.end(SOON).await?;
            known.kubeconfig.clone_from(&known.own);
            known.start_again(&mesh.cluster).await?;
        }
        // Asleep, perhaps.
        Some(known) => known.signal(Signal::CONT)?,
    }
    Ok((mesh, controller))
}

fn documents(text: &str) -> Result<Vec<Value>> {
    text.split("\n---\n")
        .map(|one| Ok(serde_saphyr::from_str(one)?))
        .collect()
}

/// The case of the golden folder, and what it becomes.
fn golden() -> Result<(Vec<Value>, Vec<Value>)> {
    let mut input = documents(include_str!(
        "../../../controller/core/tests/golden/istio-gateway/input.yaml"
    ))?;
    for object in &mut input {
        // The API server counts by itself.
        object["metadata"]
            .as_object_mut()
            .context("metadata")?
            .remove("generation");
        if object["kind"] == "EndpointSlice" {
            object["ports"] = json!([{"name": "http", "port": 9000, "protocol": "TCP"}]);
            object["apiVersion"] = json!("discovery.k8s.io/v1");
        }
    }
    let becomes: Value = serde_saphyr::from_str(include_str!(
        "../../../controller/core/tests/golden/istio-gateway/istio.yaml"
    ))?;
    Ok((input, becomes.as_array().context("a list")?.clone()))
}

/// A condition of the route's one parent: its status, reason and message.
fn condition(route: &Value, kind: &str) -> Option<(String, String, String)> {
    let all = route["status"]["parents"][0]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["type"] == kind)?;
    let text = |field: &str| one[field].as_str().map(str::to_owned);
    Some((text("status")?, text("reason")?, text("message")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_becomes_what_the_golden_folder_says_and_is_kept_so_until_it_goes() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    for name in ["infra", "shop"] {
        client.apply(&namespace(name)).await?;
    }
    let (input, becomes) = golden()?;
    for object in &input {
        client.apply(object).await?;
    }
    for object in &becomes {
        let what = format!("{} is written", object["kind"]);
        client
            .same(object)?
            .until(&what, |live| {
                (live["spec"] == object["spec"] && live["metadata"]["ownerReferences"][0]["name"] == "chat")
                    .then_some(())
            })
            .await?;
    }
    let route = client.object(CLEW, "WebSocketRoute", "shop", "chat");
    let (status, reason, message) = route
        .until("the status says what is missing", |route| {
            condition(route, "Programmed").filter(|(_, reason, _)| reason == "FilterNotInstalled")
        })
        .await?;
    ensure!(
        status == "False" && message.contains("clew install --gateway infra/edge"),
        "{reason}: {message}"
    );

    // Nothing to write for one that starts where all is as it should be.
    let controller = controller.as_mut().context("a controller")?;
    ensure!(writes(controller).await? > 0.0, "what was written was counted");
    ensure!(
        metric(controller, "workqueue_adds_total").await? > 0.0,
        "what was queued was counted"
    );
    wait::until("nothing waits", SOON, async || {
        (metric(controller, "workqueue_depth").await.ok()? == 0.0).then_some(())
    })
    .await?;
    controller.signal(Signal::TERM)?;
    ensure!(controller.end(SOON).await? == 0, "{}", controller.log());
    controller.start_again(&mesh.cluster).await?;
    second_life_is_quiet(controller).await?;

    let virtual_service = becomes
        .iter()
        .find(|one| one["kind"] == "VirtualService")
        .context("a VirtualService")?;
    let mut edited = client
        .same(virtual_service)?
        .get()
        .await?
        .context("it is there")?;
    edited["metadata"]
        .as_object_mut()
        .context("metadata")?
        .remove("managedFields");
    edited["spec"]["http"][0]["timeout"] = json!("3s");
    edited["spec"]["tcp"] = json!([{"route": [{"destination": {"host": "nobody"}}]}]);
    client.apply(&edited).await?;
    for object in &becomes {
        client
            .same(object)?
            .until("what was edited by hand is repaired", |live| {
                (live["spec"] == object["spec"]).then_some(())
            })
            .await?;
        let uid = client.same(object)?.get().await?.context("it is there")?["metadata"]["uid"].clone();
        client.same(object)?.delete().await?;
        client
            .same(object)?
            .until("what was deleted comes back", |live| {
                (live["spec"] == object["spec"] && live["metadata"]["uid"] != uid).then_some(())
            })
            .await?;
    }

    route.delete().await?;
    for object in &becomes {
        client.same(object)?.gone().await?;
    }
    route.gone().await
}

/// Once it leads and has turned, it has written nothing.
async fn second_life_is_quiet(controller: &Controller) -> Result<()> {
    wait::until("it has turned as the one who writes", SOON, async || {
        let turns = metric(controller, "clew_controller_reconcile_total").await.ok()?;
        let leads = metric(controller, "clew_controller_leader").await.ok()?;
        (turns >= 2.0 && leads == 1.0).then_some(())
    })
    .await?;
    let writes = writes(controller).await?;
    ensure!(writes == 0.0, "{writes} writes:\n{}", controller.log());
    Ok(())
}

/// Its last turn was one of those who write.
async fn leads(controller: &Controller) -> Result<()> {
    wait::until("it leads", SOON, async || {
        (metric(controller, "clew_controller_leader").await.ok()? == 1.0).then_some(())
    })
    .await
}

/// How many objects and statuses it has written.
async fn writes(controller: &Controller) -> Result<f64> {
    metric(controller, "clew_controller_writes_total").await
}

/// How many routes are good, and not in force everywhere.
async fn unprogrammed(controller: &Controller) -> Result<f64> {
    sum(
        controller,
        "clew_controller_routes",
        "{condition=\"NotProgrammed\"}",
    )
    .await
}

/// The sum of one of its metrics over all series.
async fn metric(controller: &Controller, name: &str) -> Result<f64> {
    sum(controller, name, "").await
}

/// Over those whose labels begin with these.
async fn sum(controller: &Controller, name: &str, labels: &str) -> Result<f64> {
    let text = http::get(controller.address, "/metrics").await?;
    let series = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = series.filter(|rest| rest.starts_with(['{', ' ']) && rest.starts_with(labels));
    Ok(values
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_somebody_elses_is_left_as_it_is_and_the_status_says_so() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    client.apply(&namespace("owned")).await?;
    let theirs = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule",
        "metadata": {"name": "chat-clew", "namespace": "owned"},
        "spec": {"host": "elsewhere.example.com"},
    });
    client.apply(&theirs).await?;
    client.apply(&clew_e2e::pod::service("owned", "chat")).await?;
    client
        .apply(&clew_e2e::gateway::istio_gateway(
            "owned",
            "edge",
            &["owned.example.com"],
        ))
        .await?;
    client.apply(&route("owned", "owned.example.com")).await?;
    let route = client.object(CLEW, "WebSocketRoute", "owned", "chat");
    let (_, _, message) = route
        .until("the status says whose it is", |route| {
            condition(route, "Programmed").filter(|(_, reason, _)| reason == "NotOwned")
        })
        .await?;
    ensure!(message.contains("owned/chat-clew"), "{message}");
    let live = client.same(&theirs)?.get().await?.context("it is there")?;
    ensure!(live["spec"] == theirs["spec"], "{live:#}");
    client.same(&theirs)?.delete().await?;
    client
        .same(&theirs)?
        .until("it is Clew's once it is nobody's", |live| {
            (live["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "clew").then_some(())
        })
        .await?;
    route.delete().await?;
    client.same(&theirs)?.gone().await
}

/// To the Service `chat`, by the key in the query.
fn route(namespace: &str, host: &str) -> Value {
    json!({
        "apiVersion": CLEW, "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
            "hostnames": [host],
            "rules": [{
                "backendRefs": [{"name": "chat", "port": clew_e2e::pod::PORT}],
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            }],
        },
    })
}
