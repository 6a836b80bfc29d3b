//! Every reason of the API, given to a real object.

mod table;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_crds::status::ConditionType;
use clew_e2e::cluster::Client;
use clew_e2e::gateway::istio_gateway;
use clew_e2e::istio::namespace;
use clew_e2e::pod::{Pod, service};
use clew_e2e::{process, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::shop::install;
use super::{ISTIO, SOON, alone, condition};
use crate::Mesh;
use table::{Case, Row};

pub(crate) const HOME: &str = "reasons";
/// Where a Gateway is that is not in the routes' namespace.
const INFRA: &str = "reasons-infra";
/// Where the API server takes no DestinationRule.
const REFUSING: &str = "reasons-refusing";
const ADMISSION: &str = "admissionregistration.k8s.io/v1";

impl Row {
    /// What is said of a route, or of a policy, if this is it.
    fn found(&self, live: &Value) -> Option<Value> {
        let status = &live["status"];
        let conditions = match self.condition {
            ConditionType::Ready => &status["conditions"],
            _ if live["kind"] == "WebSocketPolicy" => &status["ancestors"][0]["conditions"],
            _ => &status["parents"][0]["conditions"],
        };
        let mut all = conditions.as_array()?.iter();
        let found = all.find(|one| one["type"] == self.condition.as_str() && one["reason"] == self.reason);
        found
            .filter(|one| one["observedGeneration"] == live["metadata"]["generation"])
            .cloned()
    }

    /// Whether the condition is as the reason says, and says why.
    fn is_right(&self, said: &Value) -> Result<()> {
        let text = said["message"].as_str().unwrap_or_default();
        ensure!(
            said["status"] == self.status && !text.is_empty() && text.contains(self.named),
            "{} {}: {said}",
            self.condition,
            self.reason
        );
        Ok(())
    }

    fn needs_no_istio(&self) -> bool {
        matches!(self.case, Case::WithoutIstio(_))
    }
}

async fn says(client: &Client, route: &Value, row: &Row) -> Result<Value> {
    client
        .same(route)?
        .until(row.reason, |live| row.found(live))
        .await
}

async fn in_force(client: &Client, route: &Value) -> Result<()> {
    client
        .same(route)?
        .until("every proxy has it", |live| {
            let is_of_now = live["status"]["observedGeneration"] == live["metadata"]["generation"];
            condition(live, "Programmed").filter(|(status, ..)| is_of_now && status == "True")
        })
        .await?;
    Ok(())
}

/// The reasons that a cluster without Istio's kinds gives: its client knows Gateway API's and ours, and has a namespace `reasons` with a
/// Gateway `edge` of Istio's class and a Service `chat`.
pub(crate) async fn without_istio(client: &Client) -> Result<usize> {
    let mut given = 0;
    for row in table::rows() {
        let Case::WithoutIstio(route) = &row.case else {
            continue;
        };
        client.apply(route).await?;
        row.is_right(&says(client, route, &row).await?)?;
        given += 1;
    }
    Ok(given)
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_is_given_to_a_real_object() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let client = mesh.cluster.client().await?;
    for name in [HOME, INFRA] {
        client.apply(&namespace(name)).await?;
    }
    client.apply(&service(HOME, "chat")).await?;
    client
        .apply(&istio_gateway(HOME, "edge", &["*.reasons.example.com"]))
        .await?;
    // Of one pod alone no key could move.
    let _one = Pod::start(&client, HOME, "chat", "reasons-0").await?;
    let _two = Pod::start(&client, HOME, "chat", "reasons-1").await?;
    install(&mesh.cluster, HOME, &["--yes"]).await?.success()?;
    let rows = table::rows();
    let mut applied = refuse(&client).await?;
    for row in &rows {
        let objects = match &row.case {
            Case::Applied(objects) => objects.clone(),
            Case::Edited(before, _) | Case::Unanswered(before, _) => vec![before.clone()],
            Case::WithoutIstio(_) => Vec::new(),
        };
        for object in objects {
            client.apply(&object).await.with_context(|| object.to_string())?;
            // Two rows may need the same.
            if !applied.contains(&object) {
                applied.push(object);
            }
        }
    }
    let mut given = 0;
    for row in &rows {
        let said = match &row.case {
            Case::Applied(objects) => says(&client, objects.last().context("a route")?, row).await?,
            Case::Edited(before, after) => {
                in_force(&client, before).await?;
                client.apply(after).await?;
                says(&client, after, row).await?
            }
            Case::Unanswered(before, after) => {
                in_force(&client, before).await?;
                unanswered(mesh, &client, after, row).await?
            }
            Case::WithoutIstio(_) => continue,
        };
        row.is_right(&said)?;
        given += 1;
    }
    let without = rows.iter().filter(|row| row.needs_no_istio()).count();
    ensure!(given + without == rows.len(), "{given} + {without}");
    println!(
        "{given} reasons of {} given to real objects, {without} more where there is no Istio",
        rows.len()
    );
    for object in applied.iter().rev() {
        client.same(object)?.delete().await?;
    }
    for object in applied.iter().filter(|object| object["kind"] == "WebSocketRoute") {
        client.same(object)?.gone().await?;
    }
    Ok(())
}

/// From when it returns the API server takes no DestinationRule in [`REFUSING`].
async fn refuse(client: &Client) -> Result<Vec<Value>> {
    client.apply(&namespace(REFUSING)).await?;
    let objects = [
        json!({
            "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": REFUSING},
            "spec": {
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": ["networking.istio.io"], "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"], "resources": ["destinationrules"],
                }]},
                "validations": [{"expression": "false", "message": "not on a Friday"}],
            },
        }),
        json!({
            "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": REFUSING},
            "spec": {
                "policyName": REFUSING, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": REFUSING}}},
            },
        }),
    ];
    for object in &objects {
        client.apply(object).await?;
    }
    let refused = json!({
        "apiVersion": ISTIO, "kind": "DestinationRule",
        "metadata": {"name": "refused", "namespace": REFUSING}, "spec": {"host": "refused.example.com"},
    });
    // The API server takes a policy in a moment after it has taken the object.
    wait::until("the API server refuses", SOON, async || {
        client.dry_run(&refused).await.ok()?.err()
    })
    .await?;
    Ok(objects.into())
}

/// The gateway's Envoy is held still while the route is edited.
async fn unanswered(mesh: &Mesh, client: &Client, route: &Value, row: &Row) -> Result<Value> {
    let envoy = mesh.gateway.envoy()?;
    ensure!(process::signal(envoy, Signal::STOP), "Envoy is gone");
    let said = async {
        client.apply(route).await?;
        says(client, route, row).await
    };
    // Whoever has not polled for ten seconds is not connected any more.
    let said = tokio::time::timeout(Duration::from_secs(9), said).await;
    ensure!(process::signal(envoy, Signal::CONT), "Envoy is gone");
    let said = said.context("nothing was said of a proxy that does not answer")??;
    in_force(client, route).await?;
    Ok(said)
}
