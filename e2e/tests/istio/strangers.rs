//! A cluster that lacks what the controller works with: its own kind, Istio's, a permission. It says which, changes nothing
//! meanwhile, and goes on by itself.

mod bundles;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Cluster, part};
use clew_e2e::controller::{ACCOUNT, Controller, NAMESPACE};
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, service};
use clew_e2e::workstation::clew;
use clew_e2e::{chart, http, wait};
use hyper::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::controller::{broken, reasons};

const SOON: Duration = Duration::from_secs(60);
const CLEW: &str = "clew.dev/v1alpha1";
const SHOP: &str = "shop";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_and_permissions_that_come_later_are_found_and_said_until_then() -> Result<()> {
    let cluster = Cluster::start_bare().await?;
    before_anything_is_installed(&cluster, false).await?;
    let client = cluster.client().await?;
    for name in [NAMESPACE, SHOP, reasons::HOME] {
        client.apply(&namespace(name)).await?;
    }
    for name in [SHOP, reasons::HOME] {
        client.apply(&service(name, "chat")).await?;
    }
    let mut controller = Controller::launch(&cluster, NAMESPACE, "clew-alone", None)?;
    controller.ready().await?;
    says(&controller, "the API server knows no WebSocketRoute").await?;
    broken::a_missing_kind(&cluster).await?;

    cluster.install_clew().await?;
    cluster.install(&[part(bundles::OLDEST)?]).await?;
    for name in [SHOP, reasons::HOME] {
        client.apply(&gateway(name)).await?;
    }
    client.apply(&route("chat")).await?;
    let reason =
        |wanted: &'static str| move |live: &Value| programmed(live).filter(|(reason, _)| reason == wanted);
    let live = client.same(&route("chat"))?;
    let (_, message) = live.until("Istio is missed", reason("TargetMissing")).await?;
    ensure!(
        message.contains("DestinationRule") && message.contains("install"),
        "{message}"
    );
    ensure!(
        reasons::without_istio(&client).await? == 2,
        "reasons without Istio"
    );
    let istio = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes";
    let routes: Value = serde_json::from_str(&client.text(istio).await?)?;
    ensure!(
        routes["items"].as_array().is_some_and(Vec::is_empty),
        "handshakes would be sent to what is not there: {routes:#}"
    );

    cluster.install(&[part("istio.yaml")?]).await?;
    before_anything_is_installed(&cluster, true).await?;
    live.until("Istio is found", reason("FilterNotInstalled")).await?;
    let rule = client.object(
        "networking.istio.io/v1",
        "DestinationRule",
        SHOP,
        "chat-clew-second",
    );
    rule.until("a rule", |_| Some(())).await?;
    let taken = bundles::each_takes_what_is_rendered(&cluster, &client).await?;
    ensure!(taken > 50, "{taken} objects of Gateway API's kinds are rendered");

    controller.signal(Signal::TERM)?;
    ensure!(controller.end(SOON).await? == 0, "{}", controller.log());
    a_kind_that_may_not_be_listed_is_named(&cluster, &client, controller).await
}

/// What `clew check --pre` says of a cluster, where nobody looks for Clew's own parts yet.
async fn before_anything_is_installed(cluster: &Cluster, has_istio: bool) -> Result<()> {
    let checked = clew(&cluster.kubeconfig(), &["check", "--pre", "-o", "json"]).await?;
    let lines: Value = serde_json::from_str(&checked.stdout)?;
    let of = |verdict: &str, what: &str| {
        let mut all = lines.as_array().into_iter().flatten();
        all.any(|line| {
            line["verdict"] == verdict && line["what"].as_str().is_some_and(|said| said.contains(what))
        })
    };
    let as_it_is = match has_istio {
        true => of("ok", "Istio's kinds are installed") && of("ok", "Gateway API's kinds are installed"),
        false => {
            of(
                "failed",
                "neither Istio's kinds are installed nor Envoy Gateway's",
            ) && of("warning", "Gateway API's kinds are not installed")
        }
    };
    let of_ours = [
        "replica",
        "websocketroutes.clew.dev is",
        "no gateway has the filter",
    ];
    let asks_too_much = of_ours.iter().any(|what| checked.stdout.contains(what));
    let code = i32::from(!has_istio);
    ensure!(as_it_is && !asks_too_much && checked.code == code, "{checked:?}");
    Ok(())
}

/// With what the chart gives a controller it can do all that it does; with a kind less it says which.
async fn a_kind_that_may_not_be_listed_is_named(
    cluster: &Cluster,
    client: &Client,
    mut controller: Controller,
) -> Result<()> {
    let mut objects = chart::rights()?;
    let role = objects
        .iter_mut()
        .find(|object| object["kind"] == "ClusterRole")
        .context("a ClusterRole")?;
    let whole = role.clone();
    let is_of_slices = |rule: &Value| rule["resources"] == json!(["endpointslices"]);
    let rules = role["rules"].as_array_mut().context("rules")?;
    let before = rules.len();
    rules.retain(|rule| !is_of_slices(rule));
    ensure!(
        rules.len() + 1 == before,
        "the chart has no rule for EndpointSlices"
    );
    for object in &objects {
        client.apply(object).await?;
    }
    controller.kubeconfig = cluster.kubeconfig_of(NAMESPACE, ACCOUNT).await?;
    let said_before = controller.log().len();
    controller.launch_again(cluster)?;
    let named = wait::until("/readyz names what is missing", SOON, async || {
        let answer = http::send(Method::GET, controller.address, "/readyz", "").await;
        let (status, body) = answer.ok()?;
        (status == 503 && body.contains("endpointslices") && body.contains("forbidden")).then_some(body)
    });
    named.await.with_context(|| controller.log())?;
    ensure!(
        controller.log()[said_before..].contains("CLEW0920: no permission for EndpointSlice"),
        "{}",
        controller.log()
    );
    client.apply(&whole).await?;
    controller.ready().await?;
    // Everything that it writes: objects, a status, an Event, the Lease; and takes away.
    client.apply(&service(SHOP, "other")).await?;
    let mut other = route("other");
    other["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("other");
    client.apply(&other).await?;
    let written = client.same(&other)?;
    written
        .until("it may write", |live| {
            programmed(live).filter(|(reason, _)| reason == "FilterNotInstalled")
        })
        .await?;
    wait::until("an Event", SOON, async || {
        let events = client
            .text("/apis/events.k8s.io/v1/namespaces/shop/events")
            .await
            .ok()?;
        events.contains("\"name\":\"other\"").then_some(())
    })
    .await?;
    let rule = client.object(
        "networking.istio.io/v1",
        "DestinationRule",
        SHOP,
        "other-clew-second",
    );
    written.delete().await?;
    rule.gone().await?;
    let log = controller.log();
    let last = log[said_before..].rsplit("serving on").next().unwrap_or_default();
    let refused: Vec<_> = last
        .lines()
        .filter(|line| line.contains("forbidden") && !line.contains("endpointslices"))
        .collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

async fn says(controller: &Controller, what: &str) -> Result<()> {
    wait::until_true(what, SOON, || controller.log().contains(what))
        .await
        .with_context(|| controller.log())
}

/// Reason and message.
fn programmed(route: &Value) -> Option<(String, String)> {
    let all = route["status"]["parents"][0]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["type"] == "Programmed")?;
    Some((
        one["reason"].as_str()?.to_owned(),
        one["message"].as_str()?.to_owned(),
    ))
}

fn gateway(namespace: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": namespace},
        "spec": {
            "gatewayClassName": "istio",
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        },
    })
}

fn route(name: &str) -> Value {
    json!({
        "apiVersion": CLEW, "kind": "WebSocketRoute",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "parentRefs": [{"name": "edge"}],
            "hostnames": [format!("{name}.example.com")],
            "rules": [{"backendRefs": [{"name": "chat", "port": PORT}]}],
        },
    })
}
