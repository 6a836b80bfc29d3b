//! From `kubectl apply` to the first session that obeys, through the real istiod: a WebSocketRoute beside a VirtualService that somebody wrote
//! by hand, in one cluster, in turns.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Client;
use clew_e2e::controller::{Controller, NAMESPACE};
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::mesh::{Mesh, mesh};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::ws_client::{Answer, Request};
use clew_e2e::{standalone, wait};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::arms::alternate;

const SHOP: &str = "apply";
const PODS: usize = 3;
const ROUNDS: usize = 40;
const LONG: Duration = Duration::from_secs(60);
/// Longer than istiod collects what changes (`PILOT_DEBOUNCE_AFTER`, 100 ms).
const STILL: Duration = Duration::from_millis(500);

/// Who writes what is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arm {
    ByHand,
    ByHandAgain,
    Route,
}

struct Shop {
    mesh: &'static Mesh,
    client: Client,
    pods: Vec<Pod>,
    /// As many as the chart has.
    _controllers: [Controller; 2],
    /// Where the key of every handshake is.
    place: String,
    applied: usize,
    /// Of each arm, in milliseconds.
    took: [Vec<f64>; 3],
}

impl Shop {
    async fn open() -> Result<Self> {
        let mesh = mesh().await?;
        let controllers = [
            Controller::start(&mesh.cluster, "clew-0").await?,
            Controller::start(&mesh.cluster, "clew-1").await?,
        ];
        let client = mesh.cluster.client().await?;
        client.apply(&namespace(SHOP)).await?;
        client.apply(&service(SHOP, "chat")).await?;
        client.apply(&istio_gateway(SHOP, "edge", &["*"])).await?;
        let mut pods = Vec::new();
        for n in 0..PODS {
            pods.push(Pod::start(&client, SHOP, "chat", &format!("chat-{n}")).await?);
        }
        let mut command = tokio::process::Command::new(standalone::binary()?);
        let gateway = format!("{SHOP}/edge");
        command
            .args(["install", "--namespace", NAMESPACE, "--gateway", &gateway])
            .args(["--service", &format!("clew:{PORT}"), "--yes"])
            .env("KUBECONFIG", mesh.cluster.kubeconfig());
        standalone::output(command).await?.success()?;
        let first = object(Arm::Route, "first");
        client.apply(&first).await?;
        client
            .same(&first)?
            .until("every proxy has the first route", programmed)
            .await?;
        let place = wait::until("the first route is in force", LONG, async || {
            request("first").place(mesh.gateway.address).await.ok()
        })
        .await?;
        Ok(Self {
            mesh,
            client,
            pods,
            _controllers: controllers,
            place,
            applied: 0,
            took: Default::default(),
        })
    }

    /// Waits until istiod has nothing more to tell.
    async fn still(&self) -> Result<()> {
        let mut last = (-1.0, Instant::now());
        wait::until("istiod is still", LONG, async || {
            let pushes = self.mesh.istio.metric("pilot_xds_pushes").await.ok()?;
            if pushes != last.0 {
                last = (pushes, Instant::now());
            }
            (last.1.elapsed() > STILL).then_some(())
        })
        .await
    }

    /// Milliseconds from applying to the first handshake that gets where it is to.
    async fn apply(&mut self, arm: Arm) -> Result<f64> {
        self.still().await?;
        self.applied += 1;
        let name = format!("n{}", self.applied);
        let (object, request) = (object(arm, &name), request(&name));
        let began = Instant::now();
        self.client.apply(&object).await?;
        let socket = loop {
            match request.send(self.mesh.gateway.address).await? {
                Answer::Opened(socket) => break socket,
                Answer::Refused(head, _) => {
                    ensure!(matches!(head.status, 404 | 503), "{head:?}");
                    ensure!(began.elapsed() < LONG, "{arm:?} {name} is never in force");
                }
            }
        };
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let place = socket.served_by();
        ensure!(self.pods.iter().any(|pod| pod.name() == place), "{place}");
        // By hand nobody says where a key is.
        ensure!(
            arm != Arm::Route || place == self.place,
            "{place}: {}",
            self.place
        );
        socket.goodbye().await?;
        self.took[arm as usize].push(took);
        Ok(took)
    }
}

fn programmed(route: &Value) -> Option<()> {
    let conditions = route["status"]["parents"][0]["conditions"].as_array()?;
    let is = |one: &Value| one["type"] == "Programmed" && one["status"] == "True";
    conditions.iter().any(is).then_some(())
}

fn host(name: &str) -> String {
    format!("{name}.example.com")
}

fn request(name: &str) -> Request {
    Request::new("/ws?room=1").host(&host(name))
}

fn object(arm: Arm, name: &str) -> Value {
    match arm {
        Arm::Route => json!({
            "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": {
                "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
                "hostnames": [host(name)],
                "rules": [{
                    "backendRefs": [{"name": "chat", "port": PORT}],
                    "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
                }],
            },
        }),
        Arm::ByHand | Arm::ByHandAgain => json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": SHOP},
            "spec": {
                "gateways": ["edge"],
                "hosts": [host(name)],
                "http": [{"route": [{"destination": {"host": format!("chat.{SHOP}.svc.cluster.local"), "port": {"number": PORT}}}]}],
            },
        }),
    }
}

/// Of a hundred, the second slowest.
fn p99(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((sorted.len() * 99).div_ceil(100).saturating_sub(1))
        .copied()
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let shop = Mutex::new(Shop::open().await?);
    let arms = [Arm::ByHand, Arm::ByHandAgain, Arm::Route];
    let rounds = alternate(&arms, ROUNDS, async |arm: &Arm| {
        shop.lock().await.apply(*arm).await
    })
    .await?;
    let shop = shop.into_inner();
    let added = rounds.difference(2);
    let slowest = |arm: Arm| p99(&shop.took[arm as usize]).context("rounds");
    figures.add(Figure {
        id: "P15".to_owned(),
        what: "apply → first correct 101 through istiod: a WebSocketRoute − a VirtualService by hand, median".to_owned(),
        value: added.value,
        unit: "ms",
        bound: Bound::AtMost(50.0),
        noise: added.noise,
        n: ROUNDS as u64,
        control: json!({
            "by_hand_ms": rounds.median(0), "by_hand_again_ms": rounds.median(1), "route_ms": rounds.median(2),
            "by_hand_p99_ms": slowest(Arm::ByHand)?, "by_hand_again_p99_ms": slowest(Arm::ByHandAgain)?,
            "route_p99_ms": slowest(Arm::Route)?,
        }),
    });
    Ok(())
}
