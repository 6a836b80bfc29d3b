//! A policy as operators see it, and the pods behind it as they drain them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::bug_report;
use clew_e2e::pod::Pod;
use clew_e2e::visitors::LONG;
use clew_e2e::workstation;
use clew_e2e::ws_client::Traffic;
use serde_json::json;

use super::owned::Owned;
use super::{KEYS, PARENT, SESSIONS};
use crate::{ALONE, CONTROLLER_PORT};

const NAME: &str = "operated";
/// Where one of its pods is.
const NODE: &str = "leaving";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_how_a_policy_stands_and_drain_a_node_of_its_pods() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let mut owned = Owned::new(all, NAME, all.filtered.address, PARENT).await?;
    let pod = Pod::start_on(NODE, &owned.client, NAME, "chat", "operated-leaving").await?;
    let leaving = pod.name().to_owned();
    owned.pods.push(pod);
    let jane = &workstation::operator(&all.cluster, &owned.client, NAME).await?;
    let service = format!("clew:{CONTROLLER_PORT}");
    let clew = async |arguments: &[&str]| {
        let own = ["-n", NAME, "--service", &service];
        workstation::clew(jane, &[arguments, &own].concat()).await
    };

    // Nobody has said yet that the HTTPRoute is Clew's affair.
    let status = clew(&["status"]).await?;
    ensure!(
        status.code == 0 && status.stderr.contains("there is no WebSocketRoute"),
        "{status:?}"
    );
    let drained = clew(&["drain", "--node", NODE]).await?;
    ensure!(
        drained.code == 1 && drained.stderr.contains("no pod that a route leads to"),
        "{drained:?}"
    );

    let first = owned.policy("first", &["chat"]);
    let applied = owned.apply(&first).await?;
    let status = clew(&["status", "-o", "json"]).await?;
    let said = status.json()?;
    let policies = said["policies"].as_array().context("policies")?;
    ensure!(
        status.code == 0
            && policies.len() == 1
            && policies[0]["name"] == "first"
            && said["routes"] == json!([]),
        "{status:?}"
    );
    let second = owned.policy("second", &["chat"]);
    owned.client.apply(&second).await?;
    owned.says(&second, "Accepted", "Conflicted").await?;
    let status = clew(&["status"]).await?;
    let row = |of: &[&str]| {
        let mut rows = status.stdout.lines().map(|line| line.split_whitespace());
        rows.any(|row| row.take(of.len()).eq(of.iter().copied()))
    };
    let gateway = format!("{}/{}", PARENT.0, PARENT.1);
    ensure!(
        status.code == 1
            && row(&[NAME, "first", "True", "Ready"])
            && row(&[NAME, "second", "False", "Conflicted"])
            && row(&["operated/second", &gateway, "Accepted", "False", "Conflicted"]),
        "{status:?}"
    );
    let checked = clew(&["check"]).await?;
    let says = |sign: char, what: &str| {
        let mut lines = checked.stdout.lines();
        lines.any(|line| line.starts_with(sign) && line.contains(what))
    };
    ensure!(
        says(
            '✓',
            "websocketpolicies.clew.dev is installed, and as this clew knows it"
        ) && says('✓', "you may use clew status")
            && says(
                '‼',
                "you may not use clew install on Envoy Gateway: not get secrets clew-secrets"
            )
            && says('×', "policy operated/second is not ready, Conflicted"),
        "{checked:?}"
    );
    let file = all.cluster.folder().join("policies.tar.gz");
    let output = file.to_str().context("a path")?;
    let report = [
        "bug-report",
        "-n",
        NAME,
        "--service",
        &service,
        "--output",
        output,
    ];
    workstation::clew(&all.cluster.kubeconfig(), &report)
        .await?
        .success()?;
    let report = bug_report::read(&file).await?;
    for (name, what) in [
        ("objects/services.yaml", "name: chat"),
        ("objects/pods.yaml", leaving.as_str()),
        ("objects/events.yaml", "kind: WebSocketPolicy"),
    ] {
        let text = report.get(name).with_context(|| format!("no {name}"))?;
        ensure!(text.contains(what), "{name} has no {what}: {text}");
    }
    let second = owned.client.same(&second)?;
    second.delete().await?;
    second.gone().await?;

    owned
        .visitors
        .settled("the pod has keys", KEYS, |placed| placed.contains(&leaving))
        .await?;
    let mut sessions = owned
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    ensure!(
        sessions.iter().any(|session| session.served_by == leaving),
        "nobody is on {leaving}"
    );
    let drained = clew(&["drain", "--node", NODE, "--watch", "-o", "json"]).await?;
    drained.success()?;
    ensure!(
        drained.json()?["pods"] == json!([format!("{NAME}/{leaving}")]),
        "{drained:?}"
    );
    for session in &mut sessions {
        if session.served_by == leaving {
            let record = session.ended(LONG).await?;
            ensure!(record.code() == Some(1012) && record.is_whole(), "{record:?}");
        } else {
            session.check().await.context("who is elsewhere stays")?;
        }
    }
    ensure!(
        !owned.visitors.place(KEYS).await?.contains(&leaving),
        "something new went there"
    );

    let acts = all.cluster.acts(NAME)?;
    let refused: Vec<_> = acts.iter().filter(|act| act.code == 403).collect();
    let listed = |resource: &str| {
        acts.iter()
            .any(|act| act.verb == "list" && act.resource == resource)
    };
    ensure!(
        refused.is_empty() && listed("websocketpolicies") && listed("httproutes"),
        "{refused:#?}"
    );
    applied.delete().await?;
    applied.gone().await?;
    owned.nothing_is_left(&[owned.name]).await?;
    owned.goes().await
}
