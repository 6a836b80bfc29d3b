//! The controller's rights, held against what the API server says was asked for: all are used, and none lacks.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clew_e2e::chart::{self, Grant, NAMESPACE, RELEASE, grants};
use clew_e2e::cluster::{Act, Client, Cluster};
use clew_e2e::istio::namespace;
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::life::Scene;

/// Routes and a policy, one after the other, which become all kinds of object that there are, and what these are.
const CASES: [(&str, &str); 4] = [
    ("istio-class-weighted-and-granted", "istio.yaml"),
    ("istio-gateway", "istio.yaml"),
    ("envoy-gateway-weighted-and-granted", "gateway-api.yaml"),
    ("policy-with-one-target", "istio.yaml"),
];

/// Has the controller do all that it can do, but for what the life of a release makes it do anyway.
pub(crate) async fn are_used(scene: &Scene) -> Result<()> {
    for name in ["infra", "shop", "spare"] {
        scene.client.apply(&namespace(name)).await?;
    }
    for (case, becomes) in CASES {
        comes_and_goes(&scene.client, case, becomes).await?;
    }
    rotated(&scene.client).await
}

/// The route, or the policy, of a golden folder: it becomes what the folder says, loses its backend twice, and goes.
async fn comes_and_goes(client: &Client, case: &str, becomes: &str) -> Result<()> {
    let read = |file: &str| {
        let path = chart::folder("../controller/core/tests/golden")
            .join(case)
            .join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let mut given = chart::objects(&read("input.yaml")?)?;
    // Nobody is there: where sessions would go is another sentence's.
    given.retain(|object| object["kind"] != "EndpointSlice");
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
    let becomes: Vec<Value> = serde_saphyr::from_str(&read(becomes)?)?;
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

/// Every right that the chart gives the controller has been used, and none lacked.
pub(crate) fn are_all_used_and_suffice(scene: &Scene) -> Result<()> {
    suffice(&scene.cluster, NAMESPACE)?;
    let acts = scene.cluster.acts(NAMESPACE)?;
    let used: BTreeSet<Grant> = acts
        .iter()
        .filter(|act| act.account == RELEASE)
        .flat_map(rights_of)
        .collect();
    let given = grants(&chart::rights()?);
    let is_used = |grant: &&Grant| used.iter().any(|used| covers(grant, used));
    let unused: Vec<_> = given.iter().filter(|grant| !is_used(grant)).collect();
    ensure!(unused.is_empty(), "the chart gives what nobody uses: {unused:#?}");
    Ok(())
}

/// Nobody in a namespace was refused anything.
pub(crate) fn suffice(cluster: &Cluster, namespace: &str) -> Result<()> {
    let acts = cluster.acts(namespace)?;
    ensure!(acts.len() > 20, "only {} acts are written down", acts.len());
    let refused: BTreeSet<_> = acts.iter().filter(|act| act.code == 403).collect();
    ensure!(refused.is_empty(), "{refused:#?}");
    Ok(())
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
