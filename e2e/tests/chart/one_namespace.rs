//! A release that may look at one namespace: it does there what others do everywhere, for operators of that namespace too, and nothing elsewhere.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::chart::{NAMESPACE, RELEASE, folder};
use clew_e2e::cluster::{Client, Cluster};
use clew_e2e::gateway::{Gateway, istio_gateway};
use clew_e2e::istio::{Istio, namespace};
use clew_e2e::kubelet::RunningPod;
use clew_e2e::pod::{Pod, service};
use clew_e2e::visitors::{LONG, Visitors};
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use clew_e2e::{controller, envoy_gateway, scene, wait};
use serde_json::{Value, json};

use crate::life::{IMAGE, is_programmed, route, tried};
use crate::{left, rights};

const WATCHED: &str = "alone";
const HOST: &str = "alone.example.com";
const ELSEWHERE: &str = "elsewhere";
const OTHER_HOST: &str = "elsewhere.example.com";
const KEYS: usize = 60;
/// Where the gateway's agent finds the controller by its name.
const PLACE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// What whoever is bound for that namespace alone is refused, as the guide says: `clew check` asks for the kinds, and `clew drain` for who else's
/// routes lead to a pod.
const REFUSED: [&str; 3] = [
    "get customresourcedefinitions websocketpolicies.clew.dev",
    "get customresourcedefinitions websocketroutes.clew.dev",
    "list websocketroutes ",
];

/// A Gateway on the pods of the watched namespace, a Service, and a route from the one to the other.
async fn opens(client: &Client, place: &str, host: &str) -> Result<Value> {
    client.apply(&service(place, "hall")).await?;
    let mut door = istio_gateway(place, "door", &[host]);
    door["spec"]["selector"] = json!({"gateway.networking.k8s.io/gateway-name": "door"});
    client.apply(&door).await?;
    let mut route = route("hall");
    route["metadata"]["namespace"] = json!(place);
    route["spec"]["hostnames"] = json!([host]);
    route["spec"]["parentRefs"][0]["name"] = json!("door");
    route["spec"]["rules"][0]["drain"] = json!({"timeout": "6s"});
    client.apply(&route).await?;
    Ok(route)
}

/// A grant in the watched namespace that a controller of all namespaces wrote and left.
async fn left_grant(cluster: &Cluster) -> Result<Value> {
    let grant = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": {"name": "left", "namespace": WATCHED, "labels": {"app.kubernetes.io/managed-by": "clew"}},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": ELSEWHERE}],
            "to": [{"group": "", "kind": "Service", "name": "hall"}],
        },
    });
    let file = cluster.folder().join("grant.json");
    std::fs::write(&file, grant.to_string())?;
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=clew.dev/controller",
        "-f",
    ]
    .map(AsRef::as_ref);
    let applied = cluster
        .kubectl(apply.into_iter().chain([file.as_os_str()]))
        .await?;
    applied.success()?;
    Ok(grant)
}

/// The spec of a pod that lasts for its drain.
fn lasting() -> Value {
    let pre_stop = json!({"preStop": {"sleep": {"seconds": 6}}});
    json!({
        "terminationGracePeriodSeconds": 21,
        "containers": [{"name": "server", "image": "server", "lifecycle": pre_stop}],
    })
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_for_one_namespace_does_there_what_others_do_everywhere_and_nothing_elsewhere() -> Result<()>
{
    let _alone = crate::ALONE.lock().await;
    let cluster = Cluster::start().await?;
    controller::enter_names()?;
    envoy_gateway::kinds(&cluster).await?;
    let istio = Istio::start(&cluster).await?;
    let client = cluster.client().await?;
    for name in [NAMESPACE, WATCHED, ELSEWHERE] {
        client.apply(&namespace(name)).await?;
    }
    let chart = folder("clew");
    let chart = chart.to_str().context("a path")?;
    let install = ["install", RELEASE, chart, "--namespace", NAMESPACE, IMAGE];
    let told = [
        "--set=crds.enabled=false",
        "--set=replicas=1",
        "--set=watchNamespace=alone",
    ];
    left::helm(&cluster, &[&install[..], &told].concat()).await?;
    let grant = left_grant(&cluster).await?;
    let deployment = client.object("apps/v1", "Deployment", NAMESPACE, RELEASE);
    let deployment = deployment.get().await?.context("a Deployment")?;
    let pod = RunningPod::start(&cluster, &client, &deployment, RELEASE, ("clew-1", PLACE)).await?;
    client.same(&grant)?.gone().await?;

    let gateway = Gateway::start_for(&cluster, &istio, WATCHED, "door").await?;
    let mut pods = Vec::new();
    for n in 0..3 {
        let (spec, name) = (lasting(), format!("hall-{n}"));
        pods.push(Pod::start_as(spec, &client, WATCHED, "hall", &name).await?);
    }
    let theirs = opens(&client, ELSEWHERE, OTHER_HOST).await?;
    let ours = opens(&client, WATCHED, HOST).await?;
    let installed = [
        "install",
        "--namespace",
        NAMESPACE,
        "--gateway",
        "alone/door",
        "--yes",
    ];
    clew(&cluster.kubeconfig(), &installed).await?.success()?;
    let visitors = Visitors {
        gateway: gateway.address,
        host: HOST.to_owned(),
    };
    let live = client.same(&ours)?;
    let programmed = live.until("every proxy has it", is_programmed).await;
    programmed.with_context(|| pod.log())?;
    visitors.welcome().await?;
    let sessions = visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(100), 64))
        .await?;

    let jane = &rights::operator(&cluster, &client, WATCHED, ("clew-clew-system-operator", false)).await?;
    let said = clew(jane, &["status", "-n", WATCHED]).await?;
    ensure!(said.success()?.contains("door-0.alone"), "{said:?}");
    wait::until("clew sessions counts them", LONG, async || {
        let said = clew(jane, &["sessions", "-n", WATCHED, "-o", "json"])
            .await
            .ok()?;
        (said.json().ok()?["total"] == KEYS).then_some(())
    })
    .await?;
    let leaving = pods[1].name().to_owned();
    let said = clew(jane, &["drain", &leaving, "-n", WATCHED, "--watch"]).await?;
    ensure!(said.success()?.contains("holds no session"), "{said:?}");
    let (gone, stayed): (Vec<_>, Vec<_>) = sessions
        .into_iter()
        .partition(|session| session.served_by == leaving);
    let drained = gone.len();
    ensure!(
        drained > 0 && !stayed.is_empty(),
        "{drained} of {KEYS} were there"
    );
    for mut session in gone {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
    }
    scene::all_answer(&stayed).await?;
    clew(jane, &["drain", &leaving, "-n", WATCHED, "--cancel"])
        .await?
        .success()?;

    // What is elsewhere is not the controller's, so nobody is told that it is not ready.
    let mut last = String::new();
    for who in [jane, &cluster.kubeconfig()] {
        let well = wait::until("clew check finds all well", LONG, async || {
            let checked = clew(who, &["check"]).await.ok()?;
            last = checked.text();
            let says = |what: &&str| checked.stdout.contains(*what);
            let all = ["alone/hall is ready", "pod alone/door-0 has the newest rules"];
            (checked.code == 0 && all.iter().all(says)).then_some(())
        });
        let well = well.await;
        well.with_context(|| last.clone())?;
        ensure!(!last.contains(ELSEWHERE), "{last}");
    }
    tried(&cluster, &client, "1 replica of the controller answers").await?;
    let refused: BTreeSet<String> = cluster
        .acts(WATCHED)?
        .into_iter()
        .filter(|act| act.code == 403)
        .map(|act| format!("{} {} {}{}", act.verb, act.resource, act.namespace, act.name))
        .collect();
    ensure!(refused.iter().eq(REFUSED), "{refused:#?}");

    let used = rights::are_used(&client, Some(WATCHED)).await;
    used.with_context(|| pod.log())?;

    let strangers: Vec<_> = left::ours(&cluster)
        .await?
        .into_iter()
        .filter(|one| one.contains(&format!(" {ELSEWHERE}/")))
        .collect();
    ensure!(strangers.is_empty(), "{strangers:?}");
    let theirs = client.same(&theirs)?.get().await?.context("their route")?;
    ensure!(theirs["status"].is_null(), "{theirs:#}");
    let answer = Request::new("/").host(OTHER_HOST).send(gateway.address).await?;
    ensure!(
        matches!(&answer, Answer::Refused(head, _) if head.status == 404),
        "{answer:?}"
    );
    scene::all_answer(&stayed).await?;
    live.delete().await?;
    live.gone().await?;
    wait::until("what the route became is gone", LONG, async || {
        let ours = left::ours(&cluster).await.ok()?;
        (!ours.iter().any(|one| one.starts_with("VirtualService"))).then_some(())
    })
    .await?;
    let used = rights::of_the_controller(&cluster).await?;
    left::helm(&cluster, &["uninstall", RELEASE, "--namespace", NAMESPACE]).await?;
    pod.stop().await?;
    println!(
        "one namespace: {KEYS} sessions, {drained} left a drained pod, 0 others lost; all of {used} rights of the controller are used"
    );
    Ok(())
}
