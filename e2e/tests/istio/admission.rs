//! What the real API server makes of a WebSocketRoute and of a WebSocketPolicy, against what Clew says of it offline.

use anyhow::{Context, Result, ensure};
use clew_crds::{WebSocketPolicy, WebSocketRoute, admission};
use clew_e2e::manifests::NAMESPACE;
use serde_json::{Value, json};

use crate::mesh;

#[path = "../../../crds/tests/cel/rows.rs"]
mod rows;

fn route(spec: Value) -> Value {
    object("WebSocketRoute", spec)
}

fn object(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "clew.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "admitted", "namespace": NAMESPACE},
        "spec": spec,
    })
}

#[tokio::test]
async fn good_specs_are_taken_with_the_defaults_that_clew_fills_in_offline() -> Result<()> {
    let client = mesh().await?.cluster.client().await?;
    let every_field = include_str!("../../../crds/tests/every_field.yaml");
    let mut every_field: Value = serde_saphyr::from_str(every_field)?;
    let mut specs: Vec<Value> = rows::rows().into_iter().map(|row| row.accepted).collect();
    specs.push(every_field["spec"].take());
    let policies = rows::policy_rows().into_iter();
    let policies = policies.map(|row| object("WebSocketPolicy", row.accepted));
    for mut offline in specs.into_iter().map(route).chain(policies) {
        let answer = client.dry_run(&offline).await?;
        let admitted = answer.map_err(|refusals| anyhow::anyhow!("{refusals:?} for {offline:#}"))?;
        let violations = match offline["kind"] == "WebSocketPolicy" {
            true => admission::check::<WebSocketPolicy>(&mut offline),
            false => admission::check::<WebSocketRoute>(&mut offline),
        };
        ensure!(violations.is_empty(), "{violations:?}");
        ensure!(
            admitted["spec"] == offline["spec"],
            "{:#} is not {:#}",
            admitted["spec"],
            offline["spec"]
        );
    }
    Ok(())
}

#[tokio::test]
async fn every_rule_refuses_and_says_where() -> Result<()> {
    let client = mesh().await?.cluster.client().await?;
    let of_routes = rows::rows().into_iter().map(|row| ("WebSocketRoute", row));
    let of_policies = rows::policy_rows().into_iter();
    for (kind, row) in of_routes.chain(of_policies.map(|row| ("WebSocketPolicy", row))) {
        let answer = client.dry_run(&object(kind, row.refused)).await?;
        let refusals = answer.err().with_context(|| format!("{} is taken", row.at))?;
        let said = |field: &str, message: &str| field == row.reported && message.ends_with(row.message);
        ensure!(
            matches!(&*refusals, [one] if said(&one.field, &one.message)),
            "{} {}: {refusals:?}",
            row.reported,
            row.message
        );
    }
    Ok(())
}

#[tokio::test]
async fn unknown_fields_are_refused() -> Result<()> {
    let client = mesh().await?.cluster.client().await?;
    let mut misspelt = rows::rows().remove(0).accepted;
    misspelt["hostnames_"] = json!(["chat.example.com"]);
    let answer = client.dry_run(&route(misspelt)).await?;
    let refusals = answer.err().context("it is taken")?;
    ensure!(
        refusals
            .iter()
            .any(|refusal| refusal.message.contains("hostnames_")),
        "{refusals:?}"
    );
    Ok(())
}
