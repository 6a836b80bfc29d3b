//! The same keys, pods and hash seed on every kind of data plane: a key is on the same pod everywhere.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::{Client, Object};
use clew_e2e::gateway::{Gateway, istio_gateway};
use clew_e2e::istio::{Istio, namespace};
use clew_e2e::manifests::{self, Folder, NAMESPACE};
use clew_e2e::pod::{PORT, Pod, service};
use clew_e2e::standalone::{self, Clew, Options, State};
use clew_e2e::visitors::Visitors;
use clew_e2e::ws_client::Request;
use clew_e2e::{address, controller, scene};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use crate::{ALONE, CONTROLLER_PORT, FILTERED, Scene};

const HOME: &str = "one-key";
const HOST: &str = "one-key.example.com";
/// The Gateways of Istio, of its own kind and of Gateway API's.
const EDGE: &str = "edge";
const OWN: &str = "own";

/// Clients without a key, behind a proxy that says who they are.
const CLIENTS: usize = 60;

/// Envoy Gateway has 8080 on every address.
const STANDALONE_PORT: u16 = 8091;

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_on_the_same_pod_whatever_carries_it() -> Result<()> {
    let _alone = ALONE.lock().await;
    let keys = if crate::full() { 1000 } else { 300 };
    let (all, client) = crate::scene().await?;
    client.apply(&namespace(HOME)).await?;
    client.apply(&service(HOME, "chat")).await?;
    let istio = Istio::start(&all.cluster).await?;
    client.apply(&istio_gateway(HOME, EDGE, &[HOST])).await?;
    client.apply(&own_gateway()).await?;
    let mut pods = Vec::new();
    for n in 0..5 {
        pods.push(Pod::start(&client, HOME, "chat", &format!("{HOME}-{n}")).await?);
    }
    let manifest = route();
    client.apply(&manifest).await?;
    let route = client.same(&manifest)?;

    let mut placed = Vec::new();
    programmed(&route, FILTERED.0).await?;
    placed.push(("Envoy Gateway", place(all.filtered.address, keys).await?));
    let edge = Gateway::start(&all.cluster, &istio).await?;
    install(all, EDGE).await?;
    programmed(&route, EDGE).await?;
    placed.push(("Istio, VirtualService", place(edge.address, keys).await?));
    drop(edge);
    fill_second_service(&client).await?;
    let own = Gateway::start_for(&all.cluster, &istio, HOME, OWN).await?;
    install(all, OWN).await?;
    programmed(&route, OWN).await?;
    placed.push(("Istio, HTTPRoute", place(own.address, keys).await?));
    drop(own);

    let (folder, state) = (Folder::new()?, State::new()?);
    let given = standalone_manifests(&client, &manifest).await?;
    folder.put_all("manifests", &given)?;
    std::fs::write(state.path().join("seed"), seed(&client).await?)?;
    let alone = Clew::start(&Options::new(folder.path(), state.path())).await?;
    state.owns(alone.ready.pid);
    placed.push(("stand-alone", place(alone.gateway(), keys).await?));
    placed.push(("clew explain", explained(&folder, &state, &pods, keys).await?));

    let (_, first) = placed.first().context("none")?;
    let clients: BTreeSet<_> = first.iter().skip(keys).collect();
    ensure!(clients.len() > 1, "all clients are on one pod: {clients:?}");
    for pod in &pods {
        ensure!(
            first.iter().any(|name| name == pod.name()),
            "{} has no key",
            pod.name()
        );
    }
    for (who, pods) in &placed {
        let differ = first.iter().zip(pods).filter(|(a, b)| a != b).count();
        let all = first.len();
        println!("{who}: {} of {all} keys are on the same pod", all - differ);
        ensure!(differ == 0, "{differ} of {all} keys differ: {who}");
    }
    route.delete().await?;
    route.gone().await
}

async fn place(gateway: std::net::SocketAddr, keys: usize) -> Result<Vec<String>> {
    let visitors = Visitors {
        gateway,
        host: HOST.to_owned(),
    };
    if let Err(error) = visitors.welcome().await {
        let answer = visitors.request(0).send(gateway).await;
        return Err(error.context(format!("{gateway} answers {answer:?}")));
    }
    let mut placed = visitors.place(keys).await?;
    let of_client = |n| {
        let request = Request::new("/ws").host(HOST);
        request.header("x-forwarded-for", forwarded(n))
    };
    let clients: Vec<_> = (0..CLIENTS).map(of_client).collect();
    placed.extend(scene::place(gateway, &clients).await?);
    Ok(placed)
}

/// What the one proxy in front has written behind what its client said.
fn forwarded(client: usize) -> String {
    format!("198.51.100.7, 203.0.113.{client}")
}

/// Where the command says that they are.
async fn explained(folder: &Folder, state: &State, pods: &[Pod], keys: usize) -> Result<Vec<String>> {
    let (folder, state) = (folder.path().to_string_lossy(), state.path().to_string_lossy());
    let of_key = |key| (format!("GET /ws?room={key}"), "X-Nothing: 1".to_owned());
    let of_client = |n| {
        let header = format!("X-Forwarded-For: {}", forwarded(n));
        ("GET /ws".to_owned(), header)
    };
    let requests = (0..keys).map(of_key).chain((0..CLIENTS).map(of_client));
    stream::iter(requests)
        .map(async |(line, header)| {
            let host = format!("Host: {HOST}");
            let given = ["-f", &*folder, "--state-dir", &*state];
            let asked = ["--request", &*line, "-H", &*host, "-H", &*header, "-o", "json"];
            let arguments = ["explain"].into_iter().chain(given).chain(asked);
            let answer = standalone::clew(arguments).await?.json()?;
            let is_it = |pod: &&Pod| answer["backend"]["address"] == json!(pod.address().to_string());
            let pod = pods.iter().find(is_it).with_context(|| answer.to_string())?;
            Ok(pod.name().to_owned())
        })
        .buffered(4)
        .try_collect()
        .await
}

/// Waits until the proxies of a Gateway have the route.
async fn programmed(route: &Object, gateway: &str) -> Result<()> {
    let said = |route: &Value| {
        let parents = route["status"]["parents"].as_array()?;
        let parent = parents.iter().find(|one| one["parentRef"]["name"] == gateway)?;
        let conditions = parent["conditions"].as_array()?;
        conditions
            .iter()
            .find(|one| one["type"] == "Programmed" && one["message"] == "1 of 1 proxies")
            .map(|_| ())
    };
    route.until(gateway, said).await
}

async fn install(all: &Scene, gateway: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(standalone::binary()?);
    command
        .args(["install", "--yes", "--namespace", controller::NAMESPACE])
        .args(["--gateway", &format!("{HOME}/{gateway}")])
        .args(["--service", &format!("clew:{CONTROLLER_PORT}")])
        .env("KUBECONFIG", all.cluster.kubeconfig());
    standalone::output(command)
        .await?
        .success()
        .map(drop)
        .with_context(|| gateway.to_owned())
}

fn route() -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketRoute",
        "metadata": {"name": "chat", "namespace": HOME},
        "spec": {
            "parentRefs": [
                {"namespace": NAMESPACE, "name": FILTERED.0},
                {"group": "networking.istio.io", "kind": "Gateway", "name": EDGE},
                {"name": OWN},
            ],
            "hostnames": [HOST],
            "rules": [{
                "backendRefs": [{"name": "chat", "port": PORT}],
                "sessionKey": {"sources": [
                    {"type": "QueryParam", "queryParam": {"name": "room"}},
                    {"type": "SourceIP", "sourceIP": {"trustedHops": 1}},
                ]},
            }],
        },
    })
}

/// Of Istio's class, carried by pods that are there.
fn own_gateway() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": OWN, "namespace": HOME},
        "spec": {
            "gatewayClassName": "istio",
            "addresses": [{"type": "Hostname", "value": format!("{OWN}.{HOME}.svc.cluster.local")}],
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
        },
    })
}

/// What there is in the cluster, for `clew run`.
async fn standalone_manifests(client: &Client, route: &Value) -> Result<Vec<Value>> {
    let mut gateway = manifests::gateway((address::next().ip(), STANDALONE_PORT).into());
    gateway["metadata"]["namespace"] = json!(HOME);
    let mut route = route.clone();
    route["spec"]["parentRefs"] = json!([{"name": gateway["metadata"]["name"]}]);
    let mut given = vec![gateway, service(HOME, "chat"), route];
    given.extend(
        slices(client)
            .await?
            .into_iter()
            .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "chat"),
    );
    Ok(given)
}

async fn slices(client: &Client) -> Result<Vec<Value>> {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{HOME}/endpointslices");
    let mut list: Value = serde_json::from_str(&client.text(&path).await?)?;
    let slices = list["items"].as_array_mut().context("no list")?;
    for slice in slices.iter_mut() {
        slice["apiVersion"] = json!("discovery.k8s.io/v1");
        slice["kind"] = json!("EndpointSlice");
    }
    Ok(std::mem::take(slices))
}

/// The second Service has a selector, whose pods kube-controller-manager would enter.
async fn fill_second_service(client: &Client) -> Result<()> {
    let name = "chat-clew";
    let second = client.object("v1", "Service", HOME, name);
    let ports = second.until(name, |service| Some(service["spec"]["ports"].clone()));
    let port = ports.await?[0]["name"].clone();
    for mut slice in slices(client).await? {
        let own = slice["metadata"]["name"].as_str().context("a name")?;
        slice["metadata"] = json!({
            "name": format!("{name}-of-{own}"), "namespace": HOME,
            "labels": {"kubernetes.io/service-name": name},
        });
        slice["ports"][0]["name"] = port.clone();
        client.apply(&slice).await?;
    }
    Ok(())
}

/// The controller's.
async fn seed(client: &Client) -> Result<Vec<u8>> {
    let secrets: Api<Secret> = Api::namespaced(client.kube(), controller::NAMESPACE);
    let mut data = secrets.get("clew-secrets").await?.data.unwrap_or_default();
    Ok(data.remove("seed").context("no seed")?.0)
}
