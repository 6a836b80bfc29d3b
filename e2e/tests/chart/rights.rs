//! The rights that a release gives the controller, and operators, held against what the API server says was asked for: all are used, and none lacks.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clew_e2e::chart::{self, Grant, NAMESPACE, RELEASE, grants};
use clew_e2e::cluster::{Act, Client, Cluster};
use clew_e2e::controller::guide;
use clew_e2e::istio::namespace;
use clew_e2e::pod::{Pod, service};
use clew_e2e::workstation::clew;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::life::{SHOP, Scene, route};

/// Routes and a policy, one after the other, which become all kinds of object that there are, and what these are.
const EVERYWHERE: [(&str, &str); 4] = [
    ("istio-class-weighted-and-granted", "istio.yaml"),
    ("istio-gateway", "istio.yaml"),
    ("envoy-gateway-weighted-and-granted", "gateway-api.yaml"),
    ("policy-with-one-target", "istio.yaml"),
];
/// The same within one namespace, but for a VirtualService.
const IN_ONE: [(&str, &str); 3] = [
    ("istio-class", "istio.yaml"),
    ("gateway-api-guide", "gateway-api.yaml"),
    ("policy-with-one-target", "istio.yaml"),
];
/// Where they are.
const THEIRS: [&str; 3] = ["infra", "shop", "spare"];

/// Has the controller do all that it can do, in its one namespace or in all, but for what the life of a release makes it do anyway.
pub(crate) async fn are_used(client: &Client, one: Option<&str>) -> Result<()> {
    let (cases, namespaces) = match one {
        Some(_) => (&IN_ONE[..], &[][..]),
        None => (&EVERYWHERE[..], &THEIRS[..]),
    };
    for name in namespaces {
        client.apply(&namespace(name)).await?;
    }
    for (case, becomes) in cases {
        let came = comes_and_goes(client, case, becomes, one).await;
        came.with_context(|| (*case).to_owned())?;
    }
    rotated(client).await
}

/// With one namespace in the place of theirs.
fn moved(value: &mut Value, one: &str) {
    match value {
        Value::String(text) if THEIRS.contains(&text.as_str()) => one.clone_into(text),
        Value::String(text) => *text = text.replace(".shop.", &format!(".{one}.")),
        Value::Array(all) => all.iter_mut().for_each(|value| moved(value, one)),
        Value::Object(fields) => fields.values_mut().for_each(|value| moved(value, one)),
        _ => {}
    }
}

/// The route, or the policy, of a golden folder: it becomes what the folder says, loses its backend twice, and goes.
async fn comes_and_goes(client: &Client, case: &str, becomes: &str, one: Option<&str>) -> Result<()> {
    let read = |file: &str| {
        let path = chart::folder("../controller/core/tests/golden")
            .join(case)
            .join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let mut given = chart::objects(&read("input.yaml")?)?;
    // Nobody is there: where sessions would go is another sentence's.
    given.retain(|object| object["kind"] != "EndpointSlice");
    let mut becomes: Vec<Value> = serde_saphyr::from_str(&read(becomes)?)?;
    for object in given.iter_mut().chain(&mut becomes) {
        if let Some(one) = one {
            moved(object, one);
        }
    }
    for object in &mut given {
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        metadata.remove("generation");
        client.apply(object).await?;
    }
    let of_kind = |kind: &str| {
        given
            .iter()
            .find(|object| object["kind"] == kind)
            .with_context(|| format!("a {kind}"))
    };
    for object in &becomes {
        client.same(object)?.until("it is written", |_| Some(())).await?;
    }
    let owner = of_kind("WebSocketRoute").or_else(|_| of_kind("WebSocketPolicy"))?;
    let (route, service) = (client.same(owner)?, of_kind("Service")?);
    for _ in 0..2 {
        client.same(service)?.delete().await?;
        route
            .until("it has no backend", |route| resolved(route, "False"))
            .await?;
        client.apply(service).await?;
        route
            .until("it has one again", |route| resolved(route, "True"))
            .await?;
    }
    route.delete().await?;
    route.gone().await?;
    for object in &becomes {
        client.same(object)?.gone().await?;
    }
    for object in given.iter().filter(|object| *object != owner) {
        client.same(object)?.delete().await?;
    }
    Ok(())
}

fn resolved(route: &Value, status: &str) -> Option<()> {
    let status_of = |field: &str| route["status"][field][0]["conditions"].as_array();
    let conditions = status_of("parents").or_else(|| status_of("ancestors"))?;
    let is = |one: &Value| one["type"] == "ResolvedRefs" && one["status"] == status;
    conditions.iter().any(is).then_some(())
}

/// A second key signs as soon as every proxy knows it.
async fn rotated(client: &Client) -> Result<()> {
    let keys = client.object("v1", "Secret", NAMESPACE, "clew-signing-keys");
    let signs = |secret: &Value| {
        secret["metadata"]["annotations"]["clew.dev/signs"]
            .as_str()
            .map(str::to_owned)
    };
    let first = keys.until("one signs", signs).await?;
    let key = BASE64.encode(b"the second key of persistence tokens");
    let more = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "clew.dev/signing-keys",
        "metadata": {"name": "clew-signing-keys", "namespace": NAMESPACE},
        "data": {"2": key},
    });
    client.apply(&more).await?;
    keys.until("the second one signs", |secret| {
        signs(secret).filter(|now| *now != first)
    })
    .await?;
    Ok(())
}

/// Account `jane` of a namespace, bound to the release's roles for operators as the guide shows it, the one of this name for all namespaces or
/// for hers alone; how she reaches the cluster.
pub(crate) async fn operator(
    cluster: &Cluster,
    client: &Client,
    home: &str,
    (role, everywhere): (&str, bool),
) -> Result<PathBuf> {
    let jane = json!({"kind": "ServiceAccount", "name": "jane", "namespace": home});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jane", "namespace": home}});
    client.apply(&account).await?;
    for mut binding in guide("name: clew-operator-jane")? {
        let is_for_all = binding["kind"] == "ClusterRoleBinding";
        if binding["roleRef"]["kind"] == "ClusterRole" {
            if is_for_all != everywhere {
                continue;
            }
            binding["roleRef"]["name"] = json!(role);
            if !is_for_all {
                binding["metadata"]["namespace"] = json!(home);
            }
        }
        binding["subjects"] = json!([jane]);
        client.apply(&binding).await?;
    }
    cluster.kubeconfig_of(home, "jane").await
}

/// Somebody who is bound to the roles for operators, for all namespaces, does all that they are for.
pub(crate) async fn are_used_by_operators(scene: &Scene) -> Result<()> {
    let (cluster, client) = (&scene.cluster, &scene.client);
    let jane = &operator(cluster, client, SHOP, ("clew-operator", true)).await?;
    // A pod of its own, and a policy, which may lead there too.
    client.apply(&service(SHOP, "annex")).await?;
    let pod = Pod::start_on("leaving", client, SHOP, "annex", "annex-0").await?;
    let mut annex = route("annex");
    annex["spec"]["rules"][0]["matches"] = json!([{"path": {"value": "/annex"}}]);
    client.apply(&annex).await?;
    let policy = json!({
        "apiVersion": "clew.dev/v1alpha1", "kind": "WebSocketPolicy",
        "metadata": {"name": "annex", "namespace": SHOP},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "annex"}],
            "sessionKey": annex["spec"]["rules"][0]["sessionKey"],
        },
    });
    let checked = clew(jane, &["check", "--wait", "1m"]).await?;
    checked.success()?;
    client.apply(&policy).await?;
    for command in [
        &["sessions", "-n", SHOP][..],
        &["drain", "annex-0", "-n", SHOP, "--watch"],
        &["drain", "annex-0", "-n", SHOP, "--cancel"],
        &["drain", "--node", "leaving"],
        &["drain", "--node", "leaving", "--cancel"],
    ] {
        clew(jane, command).await?.success()?;
    }
    // The policy has nothing to be for.
    let status = clew(jane, &["status", "-A"]).await?;
    ensure!(status.code == 1 && status.stdout.contains("annex"), "{status:?}");
    for one in ["websocketroute/annex", "websocketpolicy/annex"] {
        let kubeconfig = jane.to_str().context("a path")?;
        let asked = ["get", one, "-n", SHOP, "--kubeconfig", kubeconfig];
        cluster.kubectl(asked).await?.success()?;
    }
    for object in [&policy, &annex] {
        client.same(object)?.delete().await?;
        client.same(object)?.gone().await?;
    }
    pod.remove().await?;
    client.same(&service(SHOP, "annex"))?.delete().await?;
    let bindings = "clusterrolebindings,rolebindings";
    let leave = ["delete", bindings, "clew-operator-jane", "-n", NAMESPACE];
    cluster.kubectl(leave).await?.success().map(drop)
}

/// Every right that the release gives has been used, and none lacked: how many are the controller's, and how many those of operators.
pub(crate) async fn are_all_used_and_suffice(cluster: &Cluster) -> Result<(usize, usize)> {
    let acts = suffice(cluster, SHOP)?;
    let (of_operators, _) = roles(cluster).await?;
    Ok((
        of_the_controller(cluster).await?,
        are_all_used(&of_operators, &acts)?,
    ))
}

/// The same of the controller alone.
pub(crate) async fn of_the_controller(cluster: &Cluster) -> Result<usize> {
    let mut acts = suffice(cluster, NAMESPACE)?;
    acts.retain(|act| act.account == RELEASE);
    let (_, own) = roles(cluster).await?;
    are_all_used(&own, &acts)
}

/// The roles that the release gives operators, and those of the controller, as the API server has them.
async fn roles(cluster: &Cluster) -> Result<(Vec<Value>, Vec<Value>)> {
    let of_release = format!("app.kubernetes.io/instance={RELEASE}");
    let get = ["get", "clusterroles,roles", "-A", "-o", "json", "-l", &of_release];
    let mut listed = cluster.kubectl(get).await?.json()?;
    let all: Vec<Value> = serde_json::from_value(listed["items"].take())?;
    let is_of_operators = |role: &Value| {
        let name = role["metadata"]["name"].as_str();
        name.is_some_and(|name| name.ends_with("-operator"))
    };
    Ok(all.into_iter().partition(is_of_operators))
}

/// What these roles give has been done, in their own namespaces; how much it is.
fn are_all_used(roles: &[Value], acts: &[Act]) -> Result<usize> {
    ensure!(roles.len() >= 2, "{roles:#?}");
    let (mut unused, mut all) = (Vec::new(), 0);
    for role in roles {
        let place = role["metadata"]["namespace"].as_str();
        let here = acts
            .iter()
            .filter(|act| place.is_none_or(|place| act.namespace == place));
        let used: BTreeSet<Grant> = here.flat_map(rights_of).collect();
        let given = grants(std::slice::from_ref(role));
        all += given.len();
        let is_used = |grant: &Grant| used.iter().any(|used| covers(grant, used));
        unused.extend(given.into_iter().filter(|grant| !is_used(grant)));
    }
    ensure!(unused.is_empty(), "the chart gives what nobody uses: {unused:#?}");
    Ok(all)
}

/// What accounts of a namespace did, none of which was refused anything.
fn suffice(cluster: &Cluster, namespace: &str) -> Result<Vec<Act>> {
    let acts = cluster.acts(namespace)?;
    ensure!(acts.len() > 20, "only {} acts are written down", acts.len());
    let refused: BTreeSet<_> = acts.iter().filter(|act| act.code == 403).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(acts)
}

/// What it takes to do it. Who applies what is not there yet creates it.
fn rights_of(act: &Act) -> Vec<Grant> {
    let grant = |verb: &str| Grant {
        group: act.group.clone(),
        resource: act.resource.clone(),
        name: act.name.clone(),
        verb: verb.to_owned(),
    };
    match (act.verb.as_str(), act.code) {
        ("patch", 201) => vec![grant("patch"), grant("create")],
        (verb, _) => vec![grant(verb)],
    }
}

fn covers(grant: &Grant, used: &Grant) -> bool {
    (&grant.group, &grant.resource, &grant.verb) == (&used.group, &used.resource, &used.verb)
        && (grant.name.is_empty() || grant.name == used.name)
}
