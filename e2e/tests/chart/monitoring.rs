//! What the chart has Prometheus ask, record and say, while sessions are open, leave a pod that drains, and are refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clew_e2e::chart;
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::prometheus::Prometheus;
use clew_e2e::prometheus::picture::{self, Span};
use clew_e2e::ws_client::{Answer, Request, Session, Traffic};
use clew_e2e::{standalone, wait};
use serde_json::{Value, json};

use crate::life::{HOST, IMAGE, SESSIONS, SHOP, Scene};

const SOON: Duration = Duration::from_secs(60);
/// What is drawn of what came before, in seconds.
const BEFORE: f64 = 4.0;
const TOLD: [&str; 4] = [
    IMAGE,
    "--api-versions=monitoring.coreos.com/v1/ServiceMonitor",
    "--api-versions=monitoring.coreos.com/v1/PodMonitor",
    "--api-versions=monitoring.coreos.com/v1/PrometheusRule",
];

/// What the names of the controller's metrics and of the filter's begin with.
const OURS: [&str; 5] = [
    "clew_",
    "controller_runtime_",
    "workqueue_",
    "rest_client_",
    "leader_election_",
];
/// Labels that are no metric's own.
const OF_TARGETS: [&str; 9] = [
    "__name__",
    "le",
    "job",
    "instance",
    "namespace",
    "pod",
    "service",
    "container",
    "endpoint",
];

/// A Prometheus for the release, as soon as it has had an answer of all that it is to ask.
pub(crate) async fn begins(scene: &Scene) -> Result<Prometheus> {
    let objects = chart::objects(&chart::rendered(TOLD).await?)?;
    let prometheus = Prometheus::start(&scene.cluster, &scene.client, &objects).await?;
    let mut last = Value::Null;
    let answered = wait::until("two controllers and a gateway answer", SOON, async || {
        last = prometheus.asked("targets?state=active").await.ok()?["activeTargets"].take();
        let targets = last.as_array()?;
        let up = |job: &str| {
            let is = |one: &&Value| one["labels"]["job"] == job && one["health"] == "up";
            targets.iter().filter(is).count()
        };
        (up("clew") == 2 && up("clew-system/clew-gateways") == 1).then_some(())
    });
    let answered = answered.await;
    answered.with_context(|| format!("{last:#}\n{}", prometheus.log()))?;
    // Before the first answers there was no controller, and nobody led.
    let mut said = Value::Null;
    let calm = wait::until("no alert has anything to say", SOON, async || {
        said = prometheus.asked("alerts").await.ok()?["alerts"].take();
        said.as_array()?.is_empty().then_some(())
    });
    let calm = calm.await;
    calm.with_context(|| format!("{said:#}"))?;
    Ok(prometheus)
}

/// Every query of every dashboard returns data, no alert has anything to say, and the reference knows every metric.
#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
pub(crate) async fn sees(scene: &Scene, prometheus: &Prometheus) -> Result<()> {
    let began = Instant::now();
    let (mut leaver, mut leaving) = leaves(scene).await?;
    leaver.terminate().await?;
    let url = format!("http://{}", prometheus.address());
    let mut last = String::new();
    let mut room = 0;
    let told = wait::until("every query of every dashboard returns data", SOON, async || {
        for _ in 0..8 {
            room += 1;
            let request = Request::new(format!("/ws?room=visitor-{room}")).host(HOST);
            request.place(scene.gateway()).await.ok()?;
        }
        let stranger = Request::new("/ws?room=0").host(HOST);
        let stranger = stranger.header("origin", "https://elsewhere.example.com");
        let Answer::Refused(..) = stranger.send(scene.gateway()).await.ok()? else {
            return None;
        };
        let script = chart::folder("tests/dashboards.py");
        let mut command = tokio::process::Command::new("python3");
        command.arg(script).arg(&url);
        let output = standalone::output(command).await.ok()?;
        last = format!("{}{}", output.stdout, output.stderr);
        (output.code == 0).then(|| output.stdout.trim().to_owned())
    });
    let told = told.await;
    let told = told.with_context(|| last)?;
    for session in &mut leaving {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1012), "{record:?}");
    }
    are_on_their_pods(prometheus).await?;
    let alerts = alerts(prometheus).await?;
    ensure!(
        alerts.iter().all(|(_, state)| state == "inactive"),
        "in a healthy cluster: {alerts:?}"
    );
    // An answer that came late once is no alert.
    let ever = format!(
        "count_over_time(ALERTS[{}s]) > 2",
        began.elapsed().as_secs().max(1)
    );
    let ever = prometheus.query(&ever).await?;
    ensure!(ever.is_empty(), "in a healthy cluster: {ever:?}");
    let metrics = are_explained(prometheus).await?;
    are_drawn(prometheus, began).await?;
    println!(
        "{told}; {} alerts are silent; {metrics} metrics are in the reference",
        alerts.len()
    );
    leaver.remove().await
}

/// Pictures of the dashboards for the guide, where somebody wants them (`make pictures`).
async fn are_drawn(prometheus: &Prometheus, began: Instant) -> Result<()> {
    let Some(folder) = std::env::var_os("CLEW_PICTURES") else {
        return Ok(());
    };
    let seconds = began.elapsed().as_secs_f64() + BEFORE;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let span = Span {
        from: now - seconds,
        seconds,
    };
    for board in std::fs::read_dir(chart::folder("clew/dashboards"))? {
        let board = board?.path();
        let name = board.file_stem().context("a name")?.to_string_lossy();
        let to = Path::new(&folder).join(format!("dashboard-{name}.svg"));
        picture::draw(prometheus, &board, &format!("{SHOP}/lobby/default"), span, &to).await?;
    }
    Ok(())
}

/// The sessions that stay are counted once, whichever replica their proxy asks.
async fn are_on_their_pods(prometheus: &Prometheus) -> Result<()> {
    let query = format!(
        "sum(max by (clew_proxy, clew_pod) (clew_controller_sessions{{clew_backend=\"{SHOP}/chat:{PORT}\"}}))"
    );
    let mut last = Vec::new();
    let counted = wait::until("each session is on one pod", SOON, async || {
        last = prometheus.query(&query).await.ok()?;
        let [(_, sessions)] = last[..] else { return None };
        ((sessions - SESSIONS as f64).abs() < 0.5).then_some(())
    });
    let counted = counted.await;
    counted.with_context(|| format!("{last:?}"))
}

/// No alert has anything to say once Prometheus has found the pods that are there now.
pub(crate) async fn is_calm(scene: &Scene, prometheus: &Prometheus) -> Result<()> {
    prometheus.looks_again(&scene.client).await?;
    let mut last = Vec::new();
    let calm = wait::until(
        "no alert has anything to say after the rollouts",
        SOON,
        async || {
            last = alerts(prometheus).await.ok()?;
            last.retain(|(_, state)| state != "inactive");
            last.is_empty().then_some(())
        },
    );
    let calm = calm.await;
    calm.with_context(|| format!("{last:?}"))
}

/// Where nobody is left, that is noticed.
pub(crate) async fn misses_the_controllers(scene: &Scene, prometheus: &Prometheus) -> Result<()> {
    prometheus.looks_again(&scene.client).await?;
    wait::until("ClewControllerDown is pending", SOON, async || {
        let alerts = alerts(prometheus).await.ok()?;
        let is = |(name, state): &(String, String)| name == "ClewControllerDown" && state == "pending";
        alerts.iter().any(is).then_some(())
    })
    .await
}

/// Sessions on a pod that others will leave it to.
async fn leaves(scene: &Scene) -> Result<(Pod, Vec<Session>)> {
    let client = &scene.client;
    client.apply(&service(SHOP, "lobby")).await?;
    let pod = Pod::start(client, SHOP, "lobby", "lobby-0").await?;
    let route = json!({
        "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute",
        "metadata": {"name": "lobby", "namespace": SHOP},
        "spec": {
            "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
            "hostnames": [HOST],
            "rules": [{
                "matches": [{"path": {"value": "/lobby"}}],
                "backendRefs": [{"name": "lobby", "port": PORT}],
                "drain": {"timeout": "10s"},
            }],
        },
    });
    client.apply(&route).await?;
    let request = Request::new("/lobby").host(HOST);
    wait::until("the lobby is open", SOON, async || {
        let place = request.place(scene.gateway()).await.ok()?;
        (place == pod.name()).then_some(())
    })
    .await
    .with_context(|| scene.logs())?;
    let mut sessions = Vec::new();
    for _ in 0..40 {
        let socket = request.open(scene.gateway()).await?;
        sessions.push(socket.session(Traffic::every(Duration::from_millis(200), 128)));
    }
    Ok((pod, sessions))
}

/// Every alert with its state. Each rule works, and asks for metrics that there are.
async fn alerts(prometheus: &Prometheus) -> Result<Vec<(String, String)>> {
    let names = names(prometheus).await?;
    let groups = prometheus.asked("rules").await?;
    let groups = groups["groups"].as_array().context("groups")?;
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    ensure!(rules.len() == 13, "{rules:#?}");
    let mut alerts = Vec::new();
    for rule in rules {
        ensure!(rule["health"] == "ok", "{rule:#}");
        let query = rule["query"].as_str().context("a query")?;
        let words = query.split(|c: char| !c.is_alphanumeric() && c != '_');
        let of_metrics: Vec<&str> = words
            .filter(|word| word.starts_with("clew_") || word.starts_with("leader_"))
            .filter(|word| !word.starts_with("clew_route"))
            .collect();
        // One alert is of metrics that there should not be.
        ensure!(
            !of_metrics.is_empty() || query.contains("__name__"),
            "{query} is of nothing"
        );
        ensure!(
            of_metrics.iter().all(|name| names.contains(*name)),
            "nobody exports all of {of_metrics:?}"
        );
        let name = rule["name"].as_str().context("a name")?.to_owned();
        match rule["state"].as_str() {
            Some(state) => alerts.push((name, state.to_owned())),
            None => ensure!(names.contains(&name), "{name} is not recorded"),
        }
    }
    Ok(alerts)
}

async fn names(prometheus: &Prometheus) -> Result<BTreeSet<String>> {
    let names = prometheus.asked("label/__name__/values").await?;
    let names = names.as_array().context("names")?.iter();
    Ok(names.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// How many metrics there are of the filter and the controller, each of which the reference explains with its type and its labels.
async fn are_explained(prometheus: &Prometheus) -> Result<usize> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/metrics.md");
    let page = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let metadata = prometheus.asked("metadata").await?;
    let mut explained = BTreeSet::new();
    for (family, known) in metadata.as_object().context("metadata")? {
        if !OURS.iter().any(|ours| family.starts_with(ours)) {
            continue;
        }
        let kind = known[0]["type"].as_str().context("a type")?;
        let row = [family.clone(), format!("{family}_total")]
            .into_iter()
            .find_map(|name| {
                page.lines()
                    .find(|row| row.starts_with(&format!("| `{name}` | {kind} |")))
            });
        let row = row.with_context(|| format!("{kind} {family} is not in the reference"))?;
        let series = prometheus
            .query(&format!("{{__name__=~\"{family}(_total|_bucket)?\"}}"))
            .await?;
        for (labels, _) in series {
            for label in labels.as_object().into_iter().flatten().map(|(label, _)| label) {
                ensure!(
                    OF_TARGETS.contains(&&**label) || row.contains(&format!("`{label}`")),
                    "{label} of {family} is not in the reference"
                );
            }
        }
        explained.insert(family);
    }
    ensure!(explained.len() > 20, "{explained:?}");
    Ok(explained.len())
}
