//! From a workstation: a pod drained by command, who is connected where, and whether all is well, by somebody who may do this and
//! nothing else.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::bug_report;
use clew_e2e::controller::NAMESPACE;
use clew_e2e::pod::any_spec;
use clew_e2e::standalone::Output;
use clew_e2e::standalone::watched::Watched;
use clew_e2e::workstation::{clew, operator};
use clew_e2e::ws_client::Traffic;
use clew_e2e::{scene, wait};
use serde_json::{Value, json};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::shop::Shop;
use super::{SOON, alone, condition};

const KEYS: usize = 60;

/// How many sessions each pod has, as `clew sessions` says.
fn on_pods(sessions: &Value, pod: &str) -> Option<u64> {
    let backends = sessions["backends"].as_array()?;
    let mut pods = backends
        .iter()
        .flat_map(|backend| backend["pods"].as_array().into_iter().flatten());
    pods.find(|one| one["pod"] == pod)?["sessions"].as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_drained_by_command_and_taken_back_by_somebody_who_may_do_just_that() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "drained").await?;
    let jane = &operator(&mesh.cluster, &shop.client, "drained").await?;
    let mut sessions = shop
        .visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let leaving = shop.pods[1].name().to_owned();
    let there = sessions
        .iter()
        .filter(|session| session.served_by == leaving)
        .count();
    ensure!(there > 0, "nobody is on {leaving}");

    wait::until("clew sessions counts them", SOON, async || {
        let said = clew(jane, &["sessions", "-n", "drained", "-o", "json"])
            .await
            .ok()?;
        let said = said.json().ok()?;
        (said["total"] == KEYS && on_pods(&said, &leaving) == u64::try_from(there).ok()).then_some(())
    })
    .await?;
    let status = clew(jane, &["status", "-n", "drained", "-o", "json"]).await?;
    let said = status.json()?;
    ensure!(said["routes"][0]["name"] == "chat", "{said:#}");
    let proxy = &said["gateways"][0]["each"][0];
    ensure!(
        proxy["proxy"] == "istio-ingressgateway-0.istio-system" && proxy["acknowledged"] == true,
        "{said:#}"
    );

    let kubeconfig = jane.to_string_lossy();
    let watch = [
        "sessions",
        "-w",
        "-n",
        "drained",
        "-o",
        "json",
        "--kubeconfig",
        &*kubeconfig,
    ];
    let watched = Watched::start(watch)?;
    let on_it = |said: &str| on_pods(&serde_json::from_str(said.lines().last()?).ok()?, &leaving);
    watched
        .shows("who watches sees them", |said| {
            on_it(said) == u64::try_from(there).ok()
        })
        .await?;

    let unknown = clew(jane, &["drain", "no-such-pod", "-n", "drained"]).await?;
    ensure!(
        unknown.code == 1 && unknown.stderr.contains("drained/no-such-pod"),
        "{unknown:?}"
    );
    let drained = clew(jane, &["drain", &leaving, "-n", "drained", "--watch"]).await?;
    ensure!(drained.success()?.contains("holds no session"), "{drained:?}");
    ensure!(drained.stderr.contains("sessions left"), "{drained:?}");
    watched
        .shows("who watches sees them leave", |said| on_it(said) == Some(0))
        .await?;
    let watched = watched.interrupted().await?;
    ensure!(watched.code == 0 && watched.stderr.is_empty(), "{watched:?}");
    for session in sessions.iter_mut().filter(|session| session.served_by == leaving) {
        let record = session.ended(SOON).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
    }
    for session in sessions.iter().filter(|session| session.served_by != leaving) {
        session.check().await.context("who is not on the pod stays")?;
    }
    ensure!(
        !shop.visitors.place(KEYS).await?.contains(&leaving),
        "something new went there"
    );
    shop.client
        .object("v1", "Pod", "drained", &leaving)
        .until("the pod stays, and says that it drains", |pod| {
            (pod["metadata"]["annotations"]["clew.dev/drain"].is_string()
                && pod["metadata"]["deletionTimestamp"].is_null())
            .then_some(())
        })
        .await?;

    let back = clew(jane, &["drain", &leaving, "-n", "drained", "--cancel"]).await?;
    ensure!(back.success()?.contains("takes new sessions again"), "{back:?}");
    shop.visitors
        .settled("its keys are back", KEYS, |placed| placed.contains(&leaving))
        .await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_well_and_what_is_not_is_checked_and_nobody_without_a_token_is_told() -> Result<()> {
    let (mesh, controller) = alone().await?;
    let controller = controller.as_ref().context("a controller")?;
    let shop = Shop::open(mesh, "checked").await?;
    let admin = &mesh.cluster.kubeconfig();
    let lines = wait::until("the pod of the gateway is found well", SOON, async || {
        let checked = clew(admin, &["check", "-o", "json"]).await.ok()?;
        let lines: Value = serde_json::from_str(&checked.stdout).ok()?;
        let says = |what: &str| {
            let mut all = lines.as_array().into_iter().flatten();
            all.any(|line| {
                line["verdict"] == "ok" && line["what"].as_str().is_some_and(|said| said.contains(what))
            })
        };
        let all = [
            "as this clew knows it",
            "holds the Lease and writes",
            "has the module that the controller serves",
            "istio-ingressgateway-0 has the newest rules",
            "you may use clew drain",
            "you may use clew install on Istio",
        ];
        all.iter().all(|what| says(what)).then(|| lines.clone())
    });
    lines.await?;
    // Pods of the gateway's that never poll.
    let stray = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "stray", "namespace": "istio-system", "labels": {"istio": "ingressgateway"}},
        "spec": {"containers": [{"name": "server", "image": "server"}]},
    });
    shop.client.apply(&stray).await?;
    let said_of_it = |checked: &Output, sign: char, what: &str| {
        let mut lines = checked.stdout.lines();
        lines.any(|line| line.starts_with(sign) && line.contains(&format!("istio-system/stray {what}")))
    };
    let checked = clew(admin, &["check"]).await?;
    ensure!(said_of_it(&checked, '‼', "is not ready"), "{checked:?}");
    let mut ready = stray.clone();
    ready["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    if let Some(ready) = ready.as_object_mut() {
        ready.remove("spec");
    }
    shop.client.apply_status(&ready).await?;
    let checked = clew(admin, &["check"]).await?;
    let named = said_of_it(&checked, '×', "does not reach the controller");
    shop.client.same(&stray)?.delete().await?;
    ensure!(checked.code == 1 && named, "{checked:?}");

    // Past the API server nobody is told anything, nor with a token of another account or for somebody else.
    let told = async |token: &str| -> Result<String> {
        let mut socket = TcpStream::connect(controller.address).await?;
        let request = format!(
            "GET /v1/gateways HTTP/1.1\r\nhost: clew\r\nconnection: close\r\nx-clew-token: {token}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer.chars().skip("HTTP/1.1 ".len()).take(3).collect())
    };
    let token = async |account: &str, audience: &str| -> Result<String> {
        let arguments = [
            "create",
            "token",
            account,
            "-n",
            NAMESPACE,
            "--audience",
            audience,
        ];
        let made = mesh.cluster.kubectl(arguments).await?;
        Ok(made.success()?.trim().to_owned())
    };
    let api_server = "https://kubernetes.default.svc";
    for (what, token, expected) in [
        ("nothing", String::new(), "401"),
        ("rubbish", "a.b.c".to_owned(), "401"),
        ("another account", token("clew", "clew.dev").await?, "401"),
        ("another audience", token("clew-reader", api_server).await?, "401"),
        ("the right one", token("clew-reader", "clew.dev").await?, "200"),
    ] {
        let status = told(&token).await?;
        ensure!(status == expected, "{what}: {status}");
    }
    let nowhere = json!({"apiVersion": "v1", "kind": "Config", "clusters": [{"name": "x", "cluster": {"server": "https://10.77.0.1:9"}}],
        "users": [{"name": "x", "user": {}}], "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]});
    let file = mesh.cluster.folder().join("nowhere");
    std::fs::write(&file, nowhere.to_string())?;
    for command in ["status", "sessions", "check"] {
        let asked = clew(&file, &[command]).await?;
        ensure!(asked.code == 3, "{command}: {asked:?}");
    }
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_has_what_whoever_asks_may_read_names_the_rest_and_gives_no_secret_away() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let shop = Shop::open(mesh, "reported").await?;
    let _sessions = shop.visitors.sessions(3, Traffic::idle()).await?;
    let admin = &mesh.cluster.kubeconfig();
    let jane = &operator(&mesh.cluster, &shop.client, "reported").await?;
    let report = async |kubeconfig: &Path, name: &str| {
        let file = mesh.cluster.folder().join(name);
        let output = file.to_str().context("a path")?;
        let said = clew(kubeconfig, &["bug-report", "--output", output]).await?;
        ensure!(said.success()?.trim() == output, "{said:?}");
        bug_report::read(&file).await
    };
    // One of its replicas has died.
    let died = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "clew-died", "namespace": NAMESPACE, "labels": {"app": "clew"}},
        "spec": any_spec(), "status": {"podIP": "10.77.250.1", "podIPs": [{"ip": "10.77.250.1"}]},
    });
    shop.client.apply(&died).await?;
    shop.client.apply_status(&died).await?;
    let all = report(admin, "admin.tar.gz").await?;
    ensure!(
        all["missing.yaml"].contains("controller/metrics/clew-died.txt"),
        "{}",
        all["missing.yaml"]
    );
    shop.client.same(&died)?.delete().await?;
    for (name, what) in [
        ("about.yaml", "apiServer: v1."),
        ("check.yaml", "verdict: ok"),
        ("controller/replicas.yaml", "acknowledged: true"),
        ("objects/websocketroutes.clew.dev.yaml", "namespace: reported"),
        (
            "objects/virtualservices.networking.istio.io.yaml",
            "namespace: reported",
        ),
        ("objects/wasmplugins.extensions.istio.io.yaml", "pluginConfig"),
        ("objects/services.yaml", "name: chat"),
        ("objects/endpointslices.discovery.k8s.io.yaml", "name: reported-0"),
        ("objects/pods.yaml", "name: reported-0"),
        ("objects/events.yaml", "kind: Event"),
    ] {
        let text = all
            .get(name)
            .with_context(|| format!("no {name}: {:?}", all.keys()))?;
        ensure!(text.contains(what), "{name} has no {what}: {text}");
    }
    let plugins = mesh
        .cluster
        .kubectl(["get", "wasmplugins", "-A", "-o", "json"])
        .await?;
    let token = plugins.json()?["items"][0]["spec"]["pluginConfig"]["token"]
        .as_str()
        .map(str::to_owned);
    let token = token.context("the channel's token is in the plugin")?;
    for (name, text) in &all {
        ensure!(!text.contains(&token), "{name} has the channel's token");
    }
    let some = report(jane, "jane.tar.gz").await?;
    let missing = &some["missing.yaml"];
    ensure!(
        missing.contains("objects/destinationrules.networking.istio.io.yaml")
            && missing.contains("forbidden"),
        "{missing}"
    );
    ensure!(
        some["objects/websocketroutes.clew.dev.yaml"].contains("namespace: reported"),
        "{:?}",
        some.keys()
    );
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_end_before_their_drain_are_named_with_the_values_to_set_and_an_event_says_so() -> Result<()>
{
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::closed(mesh, "truncated").await?;
    // The pods have no preStop, and half a minute.
    shop.manifest["spec"]["rules"][0]["drain"] = json!({"timeout": "90s"});
    shop.client.apply(&shop.manifest).await?;
    let (_, _, message) = shop
        .route
        .until("the status names it", |route| {
            condition(route, "PartiallySupported").filter(|(_, reason, _)| reason == "DrainTruncated")
        })
        .await?;
    let says_what_to_set = |text: &str| {
        text.contains("sleep: {seconds: 90}") && text.contains("terminationGracePeriodSeconds: 105")
    };
    ensure!(says_what_to_set(&message), "{message}");
    wait::until("an Event says it", SOON, async || {
        let path = "/apis/events.k8s.io/v1/namespaces/truncated/events";
        let list: Value = serde_json::from_str(&shop.client.text(path).await.ok()?).ok()?;
        let mut all = list["items"].as_array()?.iter();
        all.any(|event| {
            event["reason"] == "DrainTruncated"
                && event["type"] == "Warning"
                && event["note"].as_str().is_some_and(says_what_to_set)
        })
        .then_some(())
    })
    .await?;
    shop.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_by_which_open_sessions_may_end_is_an_event_that_says_how_many() -> Result<()> {
    const OPEN: usize = 12;
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "stricter").await?;
    let sessions = shop
        .visitors
        .sessions(OPEN, Traffic::every(Duration::from_millis(100), 64))
        .await?;
    let admin = &mesh.cluster.kubeconfig();
    wait::until("they are counted", SOON, async || {
        let said = clew(admin, &["sessions", "-n", "stricter", "-o", "json"])
            .await
            .ok()?;
        (said.json().ok()?["total"] == OPEN).then_some(())
    })
    .await?;
    let said = async || -> Result<Vec<String>> {
        let path = "/apis/events.k8s.io/v1/namespaces/stricter/events";
        let list: Value = serde_json::from_str(&shop.client.text(path).await?)?;
        let all = list["items"].as_array().into_iter().flatten();
        let ours = all.filter(|event| event["reason"] == "SessionsMayEnd" && event["type"] == "Warning");
        Ok(ours
            .map(|event| event["note"].as_str().unwrap_or_default().to_owned())
            .collect())
    };
    let mut notes = 0;
    for (idle, ends) in [("1h", true), ("2h", false), ("30m", true)] {
        shop.manifest["spec"]["rules"][0]["timeouts"] = json!({"idle": idle});
        shop.apply_route().await?;
        notes += usize::from(ends);
        wait::until("an Event says it", SOON, async || {
            (said().await.ok()?.len() == notes).then_some(())
        })
        .await?;
        let all = said().await?;
        let what = format!("those idle for {idle}");
        let of_it = all.iter().filter(|note| note.ends_with(&what)).count();
        ensure!(of_it == usize::from(ends), "{idle}: {all:?}");
        ensure!(
            all.iter()
                .all(|note| note.starts_with(&format!("of {OPEN} open sessions of stricter/"))),
            "{all:?}"
        );
    }
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    shop.close().await
}
