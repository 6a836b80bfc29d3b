//! Ten installations, each broken in one way and for real: `clew check` finds what it is and says what to do. Of each it is first
//! proven that it is broken, and when it is mended the check is content again. The one without Clew's kind is with the cluster
//! that has none (`strangers`).

mod scene;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clew_e2e::cluster::Cluster;
use clew_e2e::controller::{ACCOUNT, Controller, NAMESPACE, SERVICE};
use clew_e2e::gateway::SELECTOR;
use clew_e2e::istio::NAMESPACE as GATEWAYS;
use clew_e2e::pod::{PORT, Pod, any_spec};
use clew_e2e::workstation::clew;
use clew_e2e::ws_client::Traffic;
use clew_e2e::{chart, http, wait};
use serde_json::{Value, json};

use super::module::other_module;
use super::shop::{Shop, install};
use super::{ISTIO, SOON, alone};
use scene::{Line, Scene, chat};

const NAME: &str = "broken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_installations_are_found_one_by_one_and_the_healthy_one_has_no_fault() -> Result<()> {
    let (mesh, controller) = alone().await?;
    let controller = controller.as_ref().context("a controller")?;
    let mut shop = Shop::empty(mesh, NAME).await?;
    let mut spec = any_spec();
    // As long as a drain of a shop takes.
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 6}}});
    for n in 0..3 {
        let called = format!("{NAME}-{n}");
        let pod = Pod::start_as(spec.clone(), &shop.client, NAME, "chat", &called);
        shop.pods.push(pod.await?);
    }
    install(&mesh.cluster, NAME, &["--yes"]).await?.success()?;
    shop.apply_route().await?;
    let scene = &Scene {
        mesh,
        client: mesh.cluster.client().await?,
        admin: mesh.cluster.kubeconfig(),
        began: Instant::now(),
    };
    scene.is_well("a healthy installation").await?;
    wrong_rights(scene).await?;
    channel_unreachable(scene).await?;
    rule_hides_ours(scene).await?;
    locality_and_outliers(scene, &shop).await?;
    idle_timeout(scene, &shop).await?;
    pre_stop_too_short(scene, &mut shop).await?;
    old_envoy(scene, controller).await?;
    other_filter(scene).await?;
    edits_that_would_cut(scene).await?;
    shop.close().await
}

/// On a cluster that knows no WebSocketRoute.
pub(crate) async fn a_missing_kind(cluster: &Cluster) -> Result<()> {
    let kinds = cluster.kubectl(["api-resources", "--api-group=clew.dev"]).await?;
    ensure!(!kinds.stdout.contains("websocketroutes"), "{kinds:?}");
    let checked = clew(&cluster.kubeconfig(), &["check"]).await?;
    Line {
        sign: '×',
        category: "kinds",
        what: "websocketroutes.clew.dev is not installed",
        hint: "clew crd | kubectl apply --server-side -f -",
        see: "a-missing-kind",
    }
    .is_in(&checked)
}

/// An EnvoyFilter of somebody's for the gateway.
fn filter(patches: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": NAME, "namespace": GATEWAYS},
        "spec": {"workloadSelector": {"labels": {SELECTOR.0: SELECTOR.1}}, "configPatches": patches},
    })
}

fn rule(namespace: &str, host: &str, spec: &Value) -> Value {
    let mut rule = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule",
        "metadata": {"name": NAME, "namespace": namespace}, "spec": spec,
    });
    rule["spec"]["host"] = json!(host);
    rule
}

async fn wrong_rights(scene: &Scene<'_>) -> Result<()> {
    let roles = chart::rights()?;
    let whole = roles.iter().find(|object| object["kind"] == "ClusterRole");
    let whole = whole.context("a ClusterRole")?;
    let mut less = whole.clone();
    let rules = less["rules"].as_array_mut().context("rules")?;
    rules.retain(|rule| rule["resources"] != json!(["endpointslices"]));
    scene.client.apply(&less).await?;
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    let may = [
        "auth",
        "can-i",
        "list",
        "endpointslices.discovery.k8s.io",
        "-A",
        &account,
    ];
    wait::until("it may not", SOON, async || {
        let answer = scene.mesh.cluster.kubectl(may).await.ok()?;
        answer.stdout.starts_with("no").then_some(())
    })
    .await?;
    scene
        .finds(Line {
            sign: '×',
            category: "controller",
            what: "the controller's account may not list, watch endpointslices.discovery.k8s.io",
            hint: "helm upgrade gives it the chart's rights again",
            see: "wrong-rights",
        })
        .await?;
    scene.client.apply(whole).await?;
    scene.is_well("the rights are back").await
}

async fn channel_unreachable(scene: &Scene<'_>) -> Result<()> {
    let host = format!("{SERVICE}.{NAMESPACE}.svc.cluster.local");
    let with_tls = rule(
        NAMESPACE,
        &host,
        &json!({"trafficPolicy": {"tls": {"mode": "SIMPLE"}}}),
    );
    scene.client.apply(&with_tls).await?;
    scene
        .cluster_says(
            &format!("outbound|{PORT}||{host}"),
            "Envoy speaks TLS to the controller",
            |cluster| cluster.to_string().contains("UpstreamTlsContext"),
        )
        .await?;
    scene
        .finds(Line {
            sign: '×',
            category: "proxies",
            what: "pod istio-system/istio-ingressgateway-0 does not reach the controller",
            hint: "a DestinationRule with TLS",
            see: "a-proxy-that-does-not-reach-the-controller",
        })
        .await?;
    scene.gone(&with_tls).await?;
    scene.is_well("the channel is open").await
}

/// In the namespace of the gateway's pods, and for pods of other labels: Istio takes it for all, and lets nobody have what is in the
/// Service's own.
async fn rule_hides_ours(scene: &Scene<'_>) -> Result<()> {
    let host = format!("chat.{NAME}.svc.cluster.local");
    let takes = async |time: &str| {
        let what = format!("Envoy connects within {time}");
        scene
            .cluster_says(&chat(""), &what, |cluster| cluster["connect_timeout"] == time)
            .await
    };
    let timeout =
        |time: &str| json!({"trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": time}}}});
    let users = rule(NAME, &host, &timeout("7s"));
    scene.client.apply(&users).await?;
    takes("7s").await?;
    scene.is_well("a rule beside ours").await?;
    let hides = json!({"exportTo": ["."], "workloadSelector": {"matchLabels": {"app": "nobody"}}});
    let hides = rule(GATEWAYS, &host, &hides);
    scene.client.apply(&hides).await?;
    // Of a rule for other pods istiod tells nobody before something else of the cluster changes.
    scene.client.apply(&rule(NAME, &host, &timeout("8s"))).await?;
    takes("10s")
        .await
        .context("the default, and not what the Service's own says")?;
    scene
        .finds(Line {
            sign: '×',
            category: "routes",
            what: "DestinationRuleHidden: spec.rules[0].backendRefs: DestinationRule istio-system/broken",
            hint: "narrow the host of that DestinationRule",
            see: "a-destinationrule-that-hides-ours",
        })
        .await?;
    scene.gone(&hides).await?;
    scene.gone(&users).await?;
    scene.is_well("nothing hides ours").await
}

async fn locality_and_outliers(scene: &Scene<'_>, shop: &Shop) -> Result<()> {
    let patched = |value: Value| {
        let service = format!("chat.{NAME}.svc.cluster.local");
        filter(json!([{
            "applyTo": "CLUSTER",
            "match": {"context": "GATEWAY", "cluster": {"service": service}},
            "patch": {"operation": "MERGE", "value": value},
        }]))
    };
    let locality = patched(json!({"common_lb_config": {"locality_weighted_lb_config": {}}}));
    scene.client.apply(&locality).await?;
    scene
        .cluster_says(&chat("clew"), "Envoy balances by locality", |cluster| {
            cluster["common_lb_config"]["locality_weighted_lb_config"].is_object()
        })
        .await?;
    scene
        .finds(Line {
            sign: '×',
            category: "others",
            what: "CLEW0306 EnvoyFilter istio-system/broken: at Istio Gateway broken/edge its common_lb_config balances by locality",
            hint: "take it out, or narrow its match",
            see: "locality-balancing-on",
        })
        .await?;
    let ejects = json!({"outlier_detection": {
        "consecutive_local_origin_failure": 1, "max_ejection_percent": 100,
        "interval": "1s", "base_ejection_time": "1s",
    }});
    scene.client.apply(&patched(ejects)).await?;
    scene
        .cluster_says(&chat("clew"), "Envoy ejects", |cluster| {
            cluster["outlier_detection"]["consecutive_local_origin_failure"] == 1
                && cluster["common_lb_config"]["locality_weighted_lb_config"].is_null()
        })
        .await?;
    scene.ejects(shop).await?;
    scene
        .finds(Line {
            sign: '×',
            category: "others",
            what: "CLEW0305 EnvoyFilter istio-system/broken: at Istio Gateway broken/edge its outlier_detection",
            hint: "write resilience.outlierDetection into the route",
            see: "an-outlier-policy-that-ejects",
        })
        .await?;
    scene.gone(&locality).await?;
    scene.is_well("clusters are as they were").await
}

async fn idle_timeout(scene: &Scene<'_>, shop: &Shop) -> Result<()> {
    let patch = filter(json!([{
        "applyTo": "HTTP_ROUTE",
        "match": {"context": "GATEWAY", "routeConfiguration": {"vhost": {"name": format!("{NAME}.example.com:80")}}},
        "patch": {"operation": "MERGE", "value": {"route": {"idle_timeout": "1s"}}},
    }]));
    scene.client.apply(&patch).await?;
    scene
        .envoy_says("dynamic_route_configs", "the route is impatient", |routes| {
            routes.to_string().contains("\"idle_timeout\":\"1s\"")
        })
        .await?;
    let opened = shop.visitors.request(0).open(shop.visitors.gateway).await?;
    let mut quiet = opened.session(Traffic::idle());
    let record = quiet.ended(SOON).await?;
    ensure!(record.code() == Some(1006), "it is cut: {record:?}");
    scene
        .finds(Line {
            sign: '×',
            category: "others",
            what: "CLEW0304 EnvoyFilter istio-system/broken: at Istio Gateway broken/edge its idle_timeout cuts every session that says nothing for 1s",
            hint: "write timeouts.idle into the route",
            see: "an-idle-timeout-that-cuts",
        })
        .await?;
    scene.gone(&patch).await?;
    scene.is_well("nobody is impatient").await
}

/// A rollout to a template that has lost it.
async fn pre_stop_too_short(scene: &Scene<'_>, shop: &mut Shop) -> Result<()> {
    shop.add_pod(3).await?;
    let hasty = scene.client.object("v1", "Pod", NAME, "broken-3").get().await?;
    let hasty = hasty.context("a pod")?;
    ensure!(hasty["spec"]["containers"][0]["lifecycle"].is_null(), "{hasty:#}");
    scene
        .finds(Line {
            sign: '×',
            category: "routes",
            what: "broken/chat: the drain takes 6 s, and pod broken/broken-3 is told to end after 0 s; set preStop: {sleep: {seconds: 6}} \
                   on its containers and terminationGracePeriodSeconds: 21",
            hint: "set both on the pods' template",
            see: "a-prestop-too-short-for-the-drain",
        })
        .await?;
    let hasty = shop.pods.pop().context("a pod")?;
    hasty.remove().await?;
    scene.is_well("every pod sleeps before it ends").await
}

/// What an old one tells the real channel, with the token of the gateway's filter.
async fn old_envoy(scene: &Scene<'_>, controller: &Controller) -> Result<()> {
    let printed = install(&scene.mesh.cluster, NAME, &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let config = &list["items"][0]["spec"]["pluginConfig"];
    let token = config["token"].as_str().context("a token")?;
    for (version, line) in [
        (
            "1.39.1",
            Line {
                sign: '‼',
                category: "proxies",
                what: "old-0.istio-system: Envoy 1.39.1 cannot send a Close into an idle session",
                hint: "roll the gateway out with a newer one",
                see: "an-old-envoy",
            },
        ),
        (
            "1.35.0",
            Line {
                sign: '×',
                category: "proxies",
                what: "old-0.istio-system: Envoy 1.35.0 is older than 1.36.0",
                hint: "roll the gateway out with a newer one",
                see: "an-old-envoy",
            },
        ),
    ] {
        let poll = |have: Option<&Value>| {
            let mut poll = json!({
                "protocol": 1, "gateway": config["gateway"], "proxy": "0ld", "waitMs": 0,
                "about": {"envoy": version, "node": "router~10.77.0.254~old-0.istio-system~local"},
            });
            if let Some(have) = have {
                poll["have"] = have.clone();
            }
            poll.to_string()
        };
        let (status, update) = http::post_as(controller.address, "/v1/channel", token, &poll(None)).await?;
        ensure!(status == 200, "{status}: {update}");
        let update: Value = serde_json::from_str(&update)?;
        // It says that it has what it was told, so that it lacks nothing else.
        let held = poll(Some(&update["version"]));
        tokio::select! {
            stopped = goes_on(controller.address, token, &held) => return stopped,
            found = scene.finds(line) => found?,
        }
    }
    scene.is_well("the old one is gone").await
}

/// Asks again and again: who falls silent is forgotten.
async fn goes_on(controller: SocketAddr, token: &str, poll: &str) -> Result<()> {
    loop {
        let (status, said) = http::post_as(controller, "/v1/channel", token, poll).await?;
        ensure!([200, 204].contains(&status), "{status}: {said}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn other_filter(scene: &Scene<'_>) -> Result<()> {
    let printed = install(&scene.mesh.cluster, NAME, &["--print"]).await?;
    let list: Value = serde_saphyr::from_str(printed.success()?)?;
    let ours = &list["items"][0];
    let mut other = ours.clone();
    let (url, sha256) = other_module().await?;
    other["spec"]["url"] = json!(url);
    other["spec"]["sha256"] = json!(sha256);
    scene.client.apply(&other).await?;
    scene
        .envoy_says("ecds_filters", "Envoy has the other one", |filters| {
            filters.to_string().contains(&sha256)
        })
        .await?;
    scene
        .finds(Line {
            sign: '×',
            category: "proxies",
            what: "istio=ingressgateway has another module than clew-0_",
            hint: "clew install --gateway NAMESPACE/NAME",
            see: "a-filter-of-another-version",
        })
        .await?;
    install(&scene.mesh.cluster, NAME, &["--yes"]).await?.success()?;
    let ours = ours["spec"]["sha256"].as_str().context("a sha256")?;
    scene
        .envoy_says("ecds_filters", "Envoy has ours again", |filters| {
            filters.to_string().contains(ours)
        })
        .await?;
    scene.is_well("the filter is of this version").await
}

/// Nothing is wrong with them, so nothing fails.
async fn edits_that_would_cut(scene: &Scene<'_>) -> Result<()> {
    let beside = |api_version: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": NAME, "namespace": GATEWAYS}, "spec": spec,
        })
    };
    let lua = json!([{
        "applyTo": "HTTP_FILTER", "match": {"context": "GATEWAY", "listener": {"portNumber": 9}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "lua"}},
    }]);
    let theirs = [
        beside("security.istio.io/v1", "RequestAuthentication", json!({})),
        beside(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            json!({"action": "AUDIT", "rules": [{}]}),
        ),
        beside(
            "telemetry.istio.io/v1",
            "Telemetry",
            json!({"accessLogging": [{"disabled": true}]}),
        ),
        filter(lua),
    ];
    for object in &theirs {
        scene.client.apply(object).await?;
    }
    for what in [
        "CLEW0302 RequestAuthentication istio-system/broken: it is for the pods of Istio Gateway broken/edge",
        "CLEW0302 AuthorizationPolicy istio-system/broken",
        "CLEW0302 Telemetry istio-system/broken",
        "CLEW0302 EnvoyFilter istio-system/broken",
    ] {
        scene
            .finds(Line {
                sign: '‼',
                category: "others",
                what,
                hint: "give WebSockets a gateway of their own",
                see: "objects-whose-next-edit-cuts",
            })
            .await?;
    }
    for object in &theirs {
        scene.gone(object).await?;
    }
    let checked = scene.check().await?;
    ensure!(!checked.stdout.contains("CLEW0302"), "{}", checked.text());
    Ok(())
}
