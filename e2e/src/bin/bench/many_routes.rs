//! `clew controller` with 10,000 routes beside one with 10: what one change costs, the memory, and a start where all is as it is
//! to be. Both are in one cluster, each with a namespace of its own, and each has a proxy that asks and acknowledges as the filter
//! does, and does nothing else.

mod asker;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::controller::Controller;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::pod::{PORT, service};
use clew_e2e::{http, process, standalone, wait};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::arms::alternate;
use asker::Asker;

const FEW: usize = 10;
const MANY: usize = 10_000;
/// Routes that share a Service, and with it a DestinationRule: one neighbourhood, in both arms the same.
const OF_A_SERVICE: usize = 10;
const ROUNDS: usize = 4;
/// One figure is of so many edits, for the kernel counts CPU in larger steps than one edit takes.
const EDITS: usize = 15;
const AT_ONCE: usize = 16;
const LONG: Duration = Duration::from_secs(900);
/// Longer than the controller waits before it looks again at what it wrote.
const STILL: Duration = Duration::from_secs(7);
/// Longer than it waits for proxies to ask.
const GATHERED: Duration = Duration::from_secs(16);
const KIND: [&str; 2] = ["clew.dev/v1alpha1", "WebSocketRoute"];
const WRITES: &str = "clew_controller_writes_total";

/// A controller, its proxy, and the routes of its namespace.
struct Shop {
    name: &'static str,
    client: Client,
    controller: Controller,
    _asker: Asker,
    routes: usize,
    edits: usize,
}

fn name(number: usize) -> String {
    format!("r{number:05}")
}

/// Whether every proxy has a route, in this generation where one is named.
fn programmed(route: &Value, generation: Option<&Value>) -> Option<()> {
    let conditions = route["status"]["parents"][0]["conditions"].as_array()?;
    let found = conditions.iter().find(|one| one["type"] == "Programmed")?;
    let generation = generation.unwrap_or(&route["metadata"]["generation"]);
    let says = (&found["status"], &found["message"], &found["observedGeneration"]);
    (says == (&json!("True"), &json!("1 of 1 proxies"), generation)).then_some(())
}

impl Shop {
    async fn open(cluster: &Cluster, shop: &'static str) -> Result<Self> {
        let client = cluster.client().await?;
        client.apply(&namespace(shop)).await?;
        client.apply(&istio_gateway(shop, "edge", &["*"])).await?;
        let mut controller = Controller::launch(cluster, shop, "clew-0", Some(shop))?;
        controller.ready().await?;
        // By which proxies reach it.
        client.apply(&service(shop, "clew")).await?;
        let mut command = tokio::process::Command::new(standalone::binary()?);
        let gateway = format!("{shop}/edge");
        command
            .args(["install", "--print", "--namespace", shop, "--gateway", &gateway])
            .env("KUBECONFIG", cluster.kubeconfig());
        let printed = standalone::output(command).await?;
        let list: Value = serde_saphyr::from_str(printed.success()?)?;
        let plugin = &list["items"][0];
        client.apply(plugin).await?;
        Ok(Self {
            name: shop,
            _asker: Asker::start(controller.address, &plugin["spec"]["pluginConfig"])?,
            client,
            controller,
            routes: 0,
            edits: 0,
        })
    }

    /// A route with a host of its own; `edit` is what its text differs in.
    fn route(&self, number: usize, edit: usize) -> Value {
        json!({
            "apiVersion": KIND[0], "kind": KIND[1],
            "metadata": {"name": name(number), "namespace": self.name},
            "spec": {
                "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
                "hostnames": [format!("h{number}.example.com")],
                "rules": [{
                    "matches": [{"path": {"type": "PathPrefix", "value": "/ws"}}],
                    "backendRefs": [{"name": format!("s{:04}", number / OF_A_SERVICE), "port": PORT}],
                    "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
                    "limits": {"maxMessageSize": format!("{}Ki", 64 + edit)},
                }],
            },
        })
    }

    fn slice(&self, service: usize) -> Value {
        let name = format!("s{service:04}");
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": self.name, "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "ws", "port": 9000, "protocol": "TCP"}],
            "endpoints": [{"addresses": [format!("10.78.{}.{}", service / 250, 1 + service % 250)], "conditions": {"ready": true}}],
        })
    }

    async fn apply(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let applied =
            stream::iter(objects).map(|object| async move { self.client.apply(&object).await.map(drop) });
        applied.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Applies routes, and what they need, and waits until all are in force.
    async fn grow(&mut self, to: usize) -> Result<()> {
        let services = || 0..to.div_ceil(OF_A_SERVICE);
        self.apply(services().map(|one| service(self.name, &format!("s{one:04}"))))
            .await?;
        self.apply(services().map(|one| self.slice(one))).await?;
        self.apply((0..to).map(|number| self.route(number, 0))).await?;
        self.routes = to;
        wait::until("every route has its status", LONG, async || {
            let routes = self.metric("clew_controller_routes").await.ok()?;
            (routes == to as f64).then_some(())
        })
        .await?;
        self.still().await?;
        self.all_in_force().await
    }

    /// Every route says that its proxy has it.
    async fn all_in_force(&self) -> Result<()> {
        let path = format!("/apis/{}/namespaces/{}/websocketroutes", KIND[0], self.name);
        let list: Value = serde_json::from_str(&self.client.text(&path).await?)?;
        let all = list["items"].as_array().context("a list")?;
        let others: Vec<_> = all
            .iter()
            .filter(|route| programmed(route, None).is_none())
            .collect();
        ensure!(
            all.len() == self.routes && others.is_empty(),
            "{} of {} are not: {:?}",
            others.len(),
            all.len(),
            others.first()
        );
        Ok(())
    }

    /// Waits until the controller has done nothing for a while.
    async fn still(&self) -> Result<()> {
        let mut last = (-1.0, Instant::now());
        wait::until("the controller is done", LONG, async || {
            let done = self.done().await.ok()?;
            if done != last.0 {
                last = (done, Instant::now());
            }
            (last.1.elapsed() > STILL).then_some(())
        })
        .await
    }

    /// How much it has done: turns, and writes.
    async fn done(&self) -> Result<f64> {
        Ok(self.metric("clew_controller_reconcile_total").await? + self.metric(WRITES).await?)
    }

    async fn metric(&self, name: &str) -> Result<f64> {
        let text = http::get(self.controller.address, "/metrics").await?;
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let values = series.filter(|rest| rest.starts_with(['{', ' ']));
        Ok(values
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// How much was written of each kind.
    async fn written(&self) -> Result<Value> {
        let text = http::get(self.controller.address, "/metrics").await?;
        let series = text
            .lines()
            .filter_map(|line| line.strip_prefix(WRITES)?.split_once(' '));
        Ok(series.map(|(of, count)| (of.to_owned(), json!(count))).collect())
    }

    /// Waits until every proxy has this generation of a route.
    async fn in_force(&self, number: usize, generation: &Value) -> Result<()> {
        self.client
            .object(KIND[0], KIND[1], self.name, &name(number))
            .until("the edit is in force", |route| {
                programmed(route, Some(generation))
            })
            .await
    }

    /// Milliseconds of CPU for each edit, with all that follows from it; what is used while nothing happens is taken off.
    async fn edit(&mut self) -> Result<f64> {
        let cpu = || process::cpu_nanos(self.controller.pid());
        let (idle_from, began) = (cpu()?, Instant::now());
        // A rest of this length is measured, not waited for.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let idle = (cpu()? - idle_from) as f64 / began.elapsed().as_secs_f64();
        let (before, began) = (cpu()?, Instant::now());
        for _ in 0..EDITS {
            self.edits += 1;
            // The same in every arm, and as far from the others.
            let number = self.edits * 37 % FEW;
            let applied = self.client.apply(&self.route(number, self.edits)).await?;
            self.in_force(number, &applied["metadata"]["generation"]).await?;
        }
        // What asks whether it is done would be counted too, and is the same for few routes and for many.
        tokio::time::sleep(STILL).await;
        let used = (cpu()? - before) as f64 - idle * began.elapsed().as_secs_f64();
        let done = self.done().await?;
        self.still().await?;
        ensure!(
            done == self.done().await?,
            "it was not done {STILL:?} after the last edit"
        );
        Ok(used / 1e6 / EDITS as f64)
    }
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let cluster = Cluster::start().await?;
    let mut few = Shop::open(&cluster, "few").await?;
    few.grow(FEW).await?;
    let mut many = Shop::open(&cluster, "many").await?;
    let began = Instant::now();
    many.grow(MANY).await?;
    let grown = began.elapsed().saturating_sub(STILL).as_secs_f64();
    let from_nothing = many.written().await?;
    let grown_bytes = process::memory_bytes(many.controller.pid())?;
    let peak_bytes = process::peak_bytes(many.controller.pid())?;
    eprintln!("{MANY} routes in force after {grown:.1} s: {from_nothing}");

    let (few, many) = (Mutex::new(few), Mutex::new(many));
    let arms = [&few, &few, &many];
    let rounds = alternate(&arms, ROUNDS, async |shop: &&Mutex<Shop>| {
        shop.lock().await.edit().await
    })
    .await?;
    let ratio = rounds.ratio(2);
    figures.add(Figure {
        id: "P11".to_owned(),
        what: format!("CPU of `clew controller` for one route's change among {MANY} ÷ among {FEW}"),
        value: ratio.value,
        unit: "×",
        bound: Bound::AtMost(1.2),
        noise: ratio.noise,
        n: (ROUNDS * EDITS) as u64,
        control: json!({"few_ms": rounds.median(0), "few_again_ms": rounds.median(1), "many_ms": rounds.median(2),
            "routes_of_a_service": OF_A_SERVICE}),
    });
    let control = json!({"from_nothing_s": grown, "writes_from_nothing": from_nothing,
        "after_all_were_written_mib": mib(grown_bytes), "peak_from_nothing_mib": mib(peak_bytes)});
    start(figures, &cluster, many.into_inner(), control).await
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Ends it and starts it again.
async fn start(figures: &mut Figures, cluster: &Cluster, mut shop: Shop, mut control: Value) -> Result<()> {
    shop.all_in_force().await?;
    shop.controller.signal(Signal::TERM)?;
    let ended = shop.controller.end(Duration::from_secs(30)).await?;
    ensure!(ended == 0, "{}", shop.controller.log());
    let began = Instant::now();
    shop.controller.launch_again(cluster)?;
    wait::until("it has turned as the one who writes", LONG, async || {
        let leads = shop.metric("clew_controller_leader").await.ok()?;
        (leads == 1.0).then_some(())
    })
    .await?;
    let started = began.elapsed().as_secs_f64();
    let used = process::cpu_nanos(shop.controller.pid())? as f64 / 1e9;
    // By then it knows who is connected, and has looked at every route once more. Whose proxy had not acknowledged all would
    // have another status, which would be written.
    tokio::time::sleep(GATHERED).await;
    shop.still().await?;
    let writes = shop.metric(WRITES).await?.max(0.0);
    let routes = shop.metric("clew_controller_routes").await?;
    ensure!(routes == shop.routes as f64, "it knows {routes} routes");
    let memory = process::memory_bytes(shop.controller.pid()).context("it lives")?;
    control["peak_of_a_start_mib"] = json!(mib(process::peak_bytes(shop.controller.pid())?));
    let mut add = |id: &str, what: String, value: f64, unit: &'static str, bound: f64, control: Value| {
        figures.add(Figure {
            id: id.to_owned(),
            what,
            value,
            unit,
            bound: Bound::AtMost(bound),
            noise: 0.0,
            n: 1,
            control,
        });
    };
    let what = format!("memory of `clew controller`, {MANY} routes, after a start");
    add("P12", what, mib(memory), "MiB", 60.0, control);
    let what = format!(
        "start of `clew controller` → it has looked at all of {MANY} routes, which are Programmed, and writes"
    );
    let control = json!({"cpu_s": used});
    add("P13", what, started, "s", 10.0, control);
    let what = format!("writes to the API server of a start with {MANY} routes that are as they are to be");
    let control = json!({"writes": shop.written().await?});
    add("P14", what, writes, "writes", 0.0, control);
    Ok(())
}
