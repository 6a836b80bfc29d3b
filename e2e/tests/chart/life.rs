//! The chart's whole life in a cluster: installed, tried, upgraded and rolled back under live sessions, uninstalled. Its pods run what its Deployment
//! says, as its account.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::chart::{self, NAMESPACE, RELEASE, folder};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::envoy_gateway;
use clew_e2e::gateway::{Gateway, istio_gateway};
use clew_e2e::istio::{Istio, namespace};
use clew_e2e::kubelet::{self, RunningPod};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::standalone::{self, Output};
use clew_e2e::ws_client::{Request, Session, Traffic};
use clew_e2e::{controller, http, scene, wait};
use hyper::Method;
use serde_json::{Value, json};

use crate::{left, monitoring, rights};

pub(crate) const SESSIONS: usize = 200;
const LONG: Duration = Duration::from_secs(120);
pub(crate) const SHOP: &str = "lounge";
pub(crate) const HOST: &str = "chat.example.com";
pub(crate) const IMAGE: &str = "--set=image.repository=registry.example.com/clew";
/// What belongs to no namespace and comes with others: namespaces of the test's, addresses of its Services, and a kind's group.
const OTHERS: [&str; 3] = ["namespace/", "ipaddress.", "apiservice."];
/// What stays without the release, as the guide says: its kinds and with them the routes, what these became, the filter and the Secrets.
const STAYS: [&str; 11] = [
    "CustomResourceDefinition websocketpolicies.clew.dev",
    "CustomResourceDefinition websocketroutes.clew.dev",
    "DestinationRule lounge/chat-clew",
    "DestinationRule lounge/lobby-clew",
    "EnvoyFilter istio-system/ingressgateway-clew",
    "Secret clew-system/clew-secrets",
    "Secret clew-system/clew-signing-keys",
    "VirtualService lounge/chat.example.com-clew-424cf2a2",
    "WasmPlugin istio-system/ingressgateway-clew",
    "WebSocketRoute lounge/chat",
    "WebSocketRoute lounge/lobby",
];
/// What of it goes when the routes are deleted while the controller runs.
const BECAME: [&str; 3] = ["WebSocketRoute", "VirtualService", "DestinationRule"];
/// One more than there are replicas: where the next pod of a rollout goes. The gateway's agent knows the first two by name.
const PLACES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 77, 0, 2),
    Ipv4Addr::new(10, 77, 0, 3),
    Ipv4Addr::new(10, 77, 0, 4),
];

/// A release, and all that it is for.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    gateway: Gateway,
    _istio: Istio,
    controllers: Vec<RunningPod>,
    pods: Vec<Pod>,
    started: usize,
}

impl Scene {
    async fn new() -> Result<Self> {
        let cluster = Cluster::start_without_clew().await?;
        controller::enter_names()?;
        // Its kinds are enough for the controller to write them; who carries them out is another sentence's.
        envoy_gateway::kinds(&cluster).await?;
        let istio = Istio::start(&cluster).await?;
        let gateway = Gateway::start(&cluster, &istio).await?;
        let client = cluster.client().await?;
        client.apply(&namespace(SHOP)).await?;
        client.apply(&service(SHOP, "chat")).await?;
        client.apply(&istio_gateway(SHOP, "edge", &[HOST])).await?;
        let mut pods = Vec::new();
        for n in 0..3 {
            pods.push(Pod::start(&client, SHOP, "chat", &format!("chat-{n}")).await?);
        }
        // Nothing runs there that is not restricted.
        let mut home = namespace(NAMESPACE);
        home["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        client.apply(&home).await?;
        Ok(Self {
            cluster,
            client,
            gateway,
            _istio: istio,
            controllers: Vec::new(),
            pods,
            started: 0,
        })
    }

    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        left::helm(&self.cluster, arguments).await
    }

    /// Has the cluster run what the release's Deployment says, one pod after the other: a new one is ready before an old one goes.
    async fn roll_out(&mut self) -> Result<()> {
        let deployment = self.client.object("apps/v1", "Deployment", NAMESPACE, RELEASE);
        let deployment = deployment.get().await?.context("a Deployment")?;
        let strategy = &deployment["spec"]["strategy"]["rollingUpdate"];
        ensure!(
            strategy == &json!({"maxSurge": 1, "maxUnavailable": 0}),
            "{strategy}"
        );
        let replicas = deployment["spec"]["replicas"].as_u64().context("replicas")?;
        let old = std::mem::take(&mut self.controllers);
        let mut old = old.into_iter();
        for _ in 0..replicas {
            let is_free = |ip: &&Ipv4Addr| {
                let mut taken = old.as_slice().iter().chain(&self.controllers);
                !taken.any(|pod| pod.address.ip() == **ip)
            };
            let ip = PLACES.iter().find(is_free).context("a free address")?;
            self.started += 1;
            let name = format!("{RELEASE}-{}", self.started);
            let pod =
                RunningPod::start(&self.cluster, &self.client, &deployment, RELEASE, (&name, *ip)).await?;
            let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array();
            let has_page = arguments.is_some_and(|all| all.contains(&json!("--status-page")));
            let (page, _) = http::send(Method::GET, pod.address, "/", "").await?;
            ensure!(page == if has_page { 200 } else { 404 }, "/: {page}");
            self.controllers.push(pod);
            if let Some(last) = old.next() {
                last.stop().await?;
            }
        }
        Ok(())
    }

    /// What the controllers wrote.
    pub(crate) fn logs(&self) -> String {
        self.controllers.iter().map(RunningPod::log).collect()
    }

    /// Runs `clew` from a workstation, by the kubeconfig of somebody who may do everything.
    pub(crate) async fn clew(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::new(standalone::binary()?);
        command
            .args(arguments)
            .env("KUBECONFIG", self.cluster.kubeconfig());
        standalone::output(command).await
    }

    fn request(key: usize) -> Request {
        Request::new(format!("/ws?room={key}")).host(HOST)
    }

    async fn sessions(&self) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for key in 0..SESSIONS {
            let socket = Self::request(key).open(self.gateway()).await;
            let socket = socket.with_context(|| format!("session {key}"))?;
            sessions.push(socket.session(Traffic::every(Duration::from_millis(200), 128)));
        }
        Ok(sessions)
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateway.address
    }

    async fn place(&self) -> Result<Vec<String>> {
        let requests: Vec<_> = (0..SESSIONS / 4).map(Self::request).collect();
        scene::place(self.gateway(), &requests).await
    }

    /// Edits the route, and waits until every proxy has the edit.
    async fn edited(&self, handshake: &str) -> Result<()> {
        let mut route = route("chat");
        route["spec"]["rules"][0]["timeouts"] = json!({"handshake": handshake});
        self.client.apply(&route).await?;
        let route = self.client.same(&route)?;
        let said = route.until("every proxy has it", is_programmed).await;
        said.with_context(|| self.logs())
    }

    /// Everything that belongs to no namespace, or to the release's.
    async fn everything(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for (namespaced, place) in [
            ("true", format!("--namespace={NAMESPACE}")),
            ("false", "--all-namespaces".to_owned()),
        ] {
            let of = format!("--namespaced={namespaced}");
            let kinds = self
                .cluster
                .kubectl(["api-resources", "--verbs=list", "-o", "name", &of])
                .await?;
            let kinds = kinds.success()?.split_whitespace().collect::<Vec<_>>().join(",");
            let listed = self
                .cluster
                .kubectl(["get", &kinds, "-o", "name", &place])
                .await?;
            // It says of a kind that cannot be listed so, and lists the others.
            found.extend(listed.stdout.lines().map(str::to_owned));
        }
        ensure!(
            found.iter().any(|name| name.starts_with("namespace/")),
            "{found:?}"
        );
        found.retain(|name| !OTHERS.iter().any(|of| name.starts_with(of)));
        Ok(found)
    }
}

/// Whether every proxy has a route as it is now.
pub(crate) fn is_programmed(route: &Value) -> Option<()> {
    let is_of_now = route["status"]["observedGeneration"] == route["metadata"]["generation"];
    let conditions = route["status"]["parents"][0]["conditions"].as_array()?;
    let is = |one: &Value| one["type"] == "Programmed" && one["status"] == "True";
    (is_of_now && conditions.iter().any(is)).then_some(())
}

/// To the Service of its name.
pub(crate) fn route(name: &str) -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute",
        "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "parentRefs": [{"group": "networking.istio.io", "kind": "Gateway", "name": "edge"}],
            "hostnames": [HOST],
            "rules": [{
                "backendRefs": [{"name": name, "port": PORT}],
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            }],
        },
    })
}

/// The chart as its next version would be.
async fn next_version(cluster: &Cluster) -> Result<PathBuf> {
    let chart = folder("clew");
    let told = [
        "package",
        "--version=0.1.1",
        "--app-version=0.1.1",
        "--destination",
    ]
    .map(AsRef::<std::ffi::OsStr>::as_ref);
    let packed = chart::helm(
        told.into_iter()
            .chain([cluster.folder().as_os_str(), chart.as_os_str()]),
    )
    .await?;
    packed.success()?;
    Ok(cluster.folder().join("clew-0.1.1.tgz"))
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_installed_upgraded_rolled_back_and_uninstalled_and_no_session_notices() -> Result<()> {
    let _alone = crate::ALONE.lock().await;
    let mut scene = Scene::new().await?;
    let before = scene.everything().await?;
    let chart = folder("clew");
    let chart = chart.to_str().context("a path")?;
    let install = ["install", RELEASE, chart, "--namespace", NAMESPACE, IMAGE];
    let notes = scene.helm(&install).await?;
    ensure!(
        notes.contains("clew install --gateway NAMESPACE/NAME\n"),
        "{notes}"
    );
    scene.roll_out().await?;

    let installed = [
        "install",
        "--namespace",
        NAMESPACE,
        "--gateway",
        "lounge/edge",
        "--yes",
    ];
    scene.clew(&installed).await?.success()?;
    let prometheus = monitoring::begins(&scene).await?;
    scene.edited("10s").await?;
    wait::until("handshakes get there", LONG, async || {
        Scene::request(0).place(scene.gateway()).await.ok()
    })
    .await?;
    let placed = scene.place().await?;
    let sessions = scene.sessions().await?;

    monitoring::sees(&scene, &prometheus).await?;
    tried(
        &scene.cluster,
        &scene.client,
        "2 replicas of the controller answer",
    )
    .await?;
    let used = rights::are_used(&scene.client, None).await;
    used.with_context(|| scene.logs())?;
    rights::are_used_by_operators(&scene).await?;

    let next = next_version(&scene.cluster).await?;
    let next = next.to_str().context("a path")?;
    let page = "--set=statusPage.enabled=true";
    scene
        .helm(&["upgrade", RELEASE, next, "--namespace", NAMESPACE, IMAGE, page])
        .await?;
    scene.roll_out().await?;
    scene.edited("11s").await?;
    ensure!(
        scene.place().await? == placed,
        "a key is on another pod after the upgrade"
    );
    scene::all_answer(&sessions).await?;

    scene
        .helm(&["rollback", RELEASE, "1", "--namespace", NAMESPACE])
        .await?;
    scene.roll_out().await?;
    scene.edited("12s").await?;
    ensure!(
        scene.place().await? == placed,
        "a key is on another pod after the rollback"
    );
    scene::all_answer(&sessions).await?;

    let (own, operators) = rights::are_all_used_and_suffice(&scene.cluster).await?;
    monitoring::is_calm(&scene, &prometheus).await?;
    scene
        .helm(&["uninstall", RELEASE, "--namespace", NAMESPACE])
        .await?;
    for pod in std::mem::take(&mut scene.controllers) {
        pod.stop().await?;
    }
    monitoring::misses_the_controllers(&scene, &prometheus).await?;
    let after = scene.everything().await?;
    let left: Vec<&str> = after.difference(&before).map(String::as_str).collect();
    let kept = [
        "customresourcedefinition.apiextensions.k8s.io/websocketpolicies.clew.dev",
        "customresourcedefinition.apiextensions.k8s.io/websocketroutes.clew.dev",
        "secret/clew-secrets",
        "secret/clew-signing-keys",
    ];
    ensure!(left == kept, "{left:?}");
    let stays = left::ours(&scene.cluster).await?;
    ensure!(stays.iter().eq(STAYS), "{stays:#?}");
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    ensure!(
        scene.place().await? == placed,
        "a key is on another pod without the release"
    );
    ensure!(
        scene.pods.iter().all(|pod| !pod.server.connections().is_empty()),
        "a pod had no session"
    );
    drop(sessions);
    scene.helm(&install).await?;
    scene.roll_out().await?;
    scene.edited("13s").await?;
    ensure!(
        scene.place().await? == placed,
        "a key is on another pod after it was installed again"
    );
    removed(&mut scene).await?;
    println!(
        "{SESSIONS} sessions through upgrade, rollback and uninstallation: 0 lost; {} objects stayed, and none after the guide's commands; \
         all of {own} rights of the controller and {operators} of operators are used",
        stays.len()
    );
    Ok(())
}

/// Removed as the guide says: nothing is left.
async fn removed(scene: &mut Scene) -> Result<()> {
    for line in left::how_to_be_rid_of_it()? {
        left::typed(&scene.cluster, &line).await?;
        if line.contains(&"--all") {
            // While the controller runs.
            let mut last = BTreeSet::new();
            let gone = wait::until("what the routes became is gone", LONG, async || {
                last = left::ours(&scene.cluster).await.ok()?;
                let is_of_routes = |one: &String| BECAME.iter().any(|kind| one.starts_with(kind));
                (!last.iter().any(is_of_routes)).then_some(())
            });
            let gone = gone.await;
            gone.with_context(|| format!("{last:#?}\n{}", scene.logs()))?;
        } else if line.contains(&"uninstall") {
            for pod in std::mem::take(&mut scene.controllers) {
                pod.stop().await?;
            }
        }
    }
    let nothing = left::ours(&scene.cluster).await?;
    ensure!(nothing.is_empty(), "{nothing:#?}");
    Ok(())
}

/// `helm test`, whose pod this test runs.
pub(crate) async fn tried(cluster: &Cluster, client: &Client, says: &str) -> Result<()> {
    let name = format!("{RELEASE}-test");
    let pod = client.object("v1", "Pod", NAMESPACE, &name);
    let runs = async {
        let made = pod.until("helm makes the pod", |pod| Some(pod.clone())).await?;
        let output = kubelet::run_to_its_end(cluster, &made).await?;
        let phase = if output.code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "status": {"phase": phase},
        });
        client.apply_status(&status).await?;
        Ok::<_, anyhow::Error>(output)
    };
    let test = ["test", RELEASE, "--namespace", NAMESPACE];
    let (tested, output) = tokio::join!(left::helm(cluster, &test), runs);
    let output = output?;
    tested.with_context(|| format!("{output:?}"))?;
    ensure!(output.stdout.contains(says), "{output:?}");
    Ok(())
}
