//! What an OpenTelemetry collector is sent of the controller's turns, and what becomes of these when it is away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::collector::{Collector, Span};
use clew_e2e::controller::Controller;
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::pod::service;
use clew_e2e::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{CLEW, ISTIO, SOON, alone, leads, route};

const SHOP: &str = "traced";
const STEPS: [&str; 5] = ["resolve", "validate", "render", "apply", "report"];
/// For an answer the controller waits for 10 s; at its end for 3 s of these.
const END: Duration = Duration::from_secs(8);

/// Spans are sent soon, and logs say nothing of what goes well but what concerns the collector.
fn environment(life: &str, endpoint: Option<String>) -> Vec<(String, String)> {
    let said = [
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", format!("life={life}")),
        ("RUST_LOG", "warn,clew::traces=info".to_owned()),
    ];
    let endpoint = endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint));
    let all = said.into_iter().chain(endpoint);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_a_trace_and_a_collector_that_is_away_holds_nothing_up() -> Result<()> {
    let (mesh, mut controller) = alone().await?;
    let controller = controller.as_mut().context("a controller")?;
    let outcome = traced(&mesh.cluster, controller).await;
    // Others have their own.
    controller.environment.clear();
    controller.signal(Signal::KILL).ok();
    controller.end(SOON).await?;
    controller.start_again(&mesh.cluster).await?;
    outcome
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
async fn traced(cluster: &Cluster, controller: &mut Controller) -> Result<()> {
    let client = cluster.client().await?;
    client.apply(&namespace(SHOP)).await?;
    client.apply(&service(SHOP, "chat")).await?;
    client
        .apply(&istio_gateway(SHOP, "edge", &["traced.example.com"]))
        .await?;
    let mut collector = Collector::start(cluster.folder()).await?;

    lives_on(cluster, controller, environment("untold", None)).await?;
    edited(&client, "1s").await?;
    let before = controller.log().len();
    lives_on(
        cluster,
        controller,
        environment("told", Some(collector.endpoint())),
    )
    .await?;
    edited(&client, "2s").await?;
    let spans = of_turn_about(&collector, "2").await?;
    says_all(&spans)?;
    // Whoever was told of no collector has sent what it had when it ended.
    let lives: BTreeSet<_> = collector
        .spans()?
        .into_iter()
        .filter_map(|span| span.resource.get("life").cloned())
        .collect();
    ensure!(lives == BTreeSet::from(["told".to_owned()]), "{lives:?}");

    collector.signal(Signal::KILL)?;
    edited(&client, "3s").await?;
    wait::until("the controller misses it", SOON, async || {
        controller.log().contains("CLEW0931").then_some(())
    })
    .await?;
    edited(&client, "4s").await?;
    collector.start_again().await?;
    edited(&client, "5s").await?;
    of_turn_about(&collector, "5").await?;
    let log = controller.log().split_off(before);
    ensure!(log.matches("CLEW0931").count() == 1, "{log}");
    ensure!(log.contains("takes traces again"), "{log}");
    ensure!(!log.contains("reconcile"), "spans are in the logs: {log}");

    collector.signal(Signal::STOP)?;
    edited(&client, "6s").await?;
    let began = Instant::now();
    controller.signal(Signal::TERM)?;
    let code = controller.end(END).await?;
    ensure!(code == 0, "it ended with {code}");
    println!(
        "ended in {:?} beside a collector that does not answer",
        began.elapsed()
    );
    client.same(&manifest("6s"))?.delete().await?;
    Ok(())
}

/// Ends it in order, starts it anew with this environment, and waits until it leads, for which it looks at everything.
async fn lives_on(
    cluster: &Cluster,
    controller: &mut Controller,
    environment: Vec<(String, String)>,
) -> Result<()> {
    controller.signal(Signal::TERM)?;
    controller.end(SOON).await?;
    controller.environment = environment;
    controller.start_again(cluster).await?;
    leads(controller).await
}

fn manifest(handshake: &str) -> Value {
    let mut manifest = route(SHOP, "traced.example.com");
    manifest["spec"]["rules"][0]["timeouts"] = json!({"handshake": handshake});
    manifest
}

/// Edits the route, and waits until the mesh has the edit and the status says so.
async fn edited(client: &Client, handshake: &str) -> Result<()> {
    let edited = client.apply(&manifest(handshake)).await?;
    let route = client.object(CLEW, "WebSocketRoute", SHOP, "chat");
    let said = route.until("it is reported", |route| {
        (route["status"]["observedGeneration"] == edited["metadata"]["generation"]).then(|| route.clone())
    });
    let generated = said.await?["status"]["generated"].clone();
    let mut generated = generated.as_array().into_iter().flatten();
    let name = generated.find(|one| one["kind"] == "VirtualService");
    let name = name
        .and_then(|one| one["name"].as_str())
        .context("a VirtualService")?;
    let written = client.object(ISTIO, "VirtualService", SHOP, name);
    let is_written = |live: &Value| (live["spec"]["http"][0]["timeout"] == handshake).then_some(());
    written.until("it is written", is_written).await
}

/// The first turn about this generation of the route, and all that belongs to it.
async fn of_turn_about(collector: &Collector, generation: &str) -> Result<Vec<Span>> {
    let is = |span: &&Span| {
        let says = |name: &str, value: &str| span.attributes.get(name).is_some_and(|said| said == value);
        span.name == "reconcile" && says("clew.route", "traced/chat") && says("clew.generation", generation)
    };
    let what = format!("the collector has a turn about generation {generation}");
    wait::until(&what, SOON, async || {
        let spans = collector.spans().ok()?;
        let trace = spans.iter().find(is)?.trace.clone();
        let of_turn = spans.into_iter().filter(|span| span.trace == trace);
        Some(of_turn.collect())
    })
    .await
}

/// One turn with its five steps, and its writes in those that made them.
fn says_all(spans: &[Span]) -> Result<()> {
    let turn = spans
        .iter()
        .find(|span| span.name == "reconcile")
        .context("a turn")?;
    ensure!(turn.parent.is_empty(), "{turn:#?}");
    ensure!(turn.resource["service.name"] == "clew", "{turn:#?}");
    ensure!(turn.attributes["clew.routes"] == "1", "{turn:#?}");
    ensure!(turn.attributes["clew.everything"] == "false", "{turn:#?}");
    ensure!(
        turn.attributes["clew.result"] == "applied" && !turn.is_error,
        "{turn:#?}"
    );
    let steps: BTreeSet<_> = spans
        .iter()
        .filter(|span| span.parent == turn.id)
        .map(|span| &*span.name)
        .collect();
    ensure!(steps == BTreeSet::from(STEPS), "{steps:?}");
    for (step, name, object) in [
        ("apply", "change VirtualService", "VirtualService"),
        ("report", "report WebSocketRoute", "WebSocketRoute"),
    ] {
        let step = spans.iter().find(|span| span.name == step).context("a step")?;
        let write = spans
            .iter()
            .find(|span| span.parent == step.id && span.name == name)
            .with_context(|| format!("{name} is not among {spans:#?}"))?;
        ensure!(write.attributes["k8s.object.kind"] == object, "{write:#?}");
        ensure!(write.attributes["k8s.namespace.name"] == SHOP, "{write:#?}");
        ensure!(write.attributes.contains_key("k8s.object.name"), "{write:#?}");
        ensure!(
            write.attributes["clew.result"] == "applied" && !write.is_error,
            "{write:#?}"
        );
    }
    Ok(())
}
