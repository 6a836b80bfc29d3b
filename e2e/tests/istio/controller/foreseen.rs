//! What a change will do, asked before it is made, of a cluster in which people are connected.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::standalone::{self, Output};
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use serde_json::{Value, json};

use super::shop::Shop;
use super::{SOON, alone};

const KEYS: usize = 40;
/// So many of them are asked about one at a time.
const EXPLAINED: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_change_will_do_is_said_before_it_is_made() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "foreseen").await?;
    let kubeconfig = mesh.cluster.kubeconfig();
    let clew = async |arguments: &[&str]| -> Result<Output> {
        let mut command = tokio::process::Command::new(standalone::binary()?);
        command.args(arguments).arg("--kubeconfig").arg(&kubeconfig);
        standalone::output(command).await
    };
    let placed = shop.visitors.place(KEYS).await?;
    for (key, pod) in placed.iter().enumerate().take(EXPLAINED) {
        let (line, host) = (format!("GET /ws?room={key}"), "host: foreseen.example.com");
        let said = clew(&["explain", "--request", &line, "-H", host]).await?.json()?;
        ensure!(
            said["rule"] == "foreseen/chat/default" && said["backend"]["name"] == **pod,
            "{pod}: {said:#}"
        );
    }
    let joined = clew(&["simulate", "--keys", "3000", "--add", "1", "-o", "json"])
        .await?
        .json()?;
    ensure!(
        joined["moved"]["ratio"] == 1.0 && joined["moved"]["innocent"] == 0,
        "{joined:#}"
    );

    let sessions = shop
        .visitors
        .sessions(KEYS, Traffic::every(Duration::from_millis(200), 64))
        .await?;
    let file = mesh.cluster.folder().join("foreseen.yaml");
    let diff = async |manifest: &Value| -> Result<(i32, Value)> {
        write(&file, manifest)?;
        let path = file.to_str().context("a path")?;
        let said = clew(&["diff", "-f", path, "-o", "json"]).await?;
        Ok((said.code, serde_json::from_str(&said.stdout)?))
    };
    let (code, same) = diff(&shop.manifest).await?;
    ensure!(
        code == 0 && same["rules"] == json!([]) && same["objects"] == json!([]),
        "{same:#}"
    );

    let mut stricter = shop.manifest.clone();
    stricter["spec"]["rules"][0]["timeouts"] = json!({"idle": "1h"});
    stricter["spec"]["rules"][0]["resilience"] = json!({"connectRetries": 1});
    let said = wait::until("it counts who is connected", SOON, async || {
        let (code, said) = diff(&stricter).await.ok()?;
        (code == 1 && said["sessions"]["foreseen/chat/default"] == KEYS).then_some(said)
    })
    .await?;
    let rule = &said["rules"][0];
    ensure!(
        rule["ends"] == json!(["timeouts.idle: those idle for 1h"]),
        "{said:#}"
    );
    ensure!(
        rule["keys"]["keys"] == 0 && said["listeners"] == json!([]) && said["ended"] == 0,
        "{said:#}"
    );
    let changed = said["objects"].as_array().context("objects")?;
    ensure!(
        changed.iter().any(|one| one["kind"] == "VirtualService"),
        "{said:#}"
    );

    let mut elsewhere = shop.manifest.clone();
    elsewhere["spec"]["rules"][0]["sessionKey"]["sources"] =
        json!([{"type": "Cookie", "cookie": {"name": "sid"}}]);
    let (code, refused) = diff(&elsewhere).await?;
    let message = refused["findings"][0]["message"].as_str().unwrap_or_default();
    ensure!(
        code == 1 && message.contains("clew.dev/allow-remap") && refused["rules"] == json!([]),
        "{refused:#}"
    );
    elsewhere["metadata"]["annotations"] = json!({"clew.dev/allow-remap": "true"});
    let (_, allowed) = diff(&elsewhere).await?;
    let moved = allowed["rules"][0]["keys"]["keys"].as_u64().context("a count")?;
    ensure!(
        (6_000..7_400).contains(&moved),
        "two thirds of 10,000: {allowed:#}"
    );

    // And it is as was said.
    shop.manifest = stricter;
    shop.apply_route().await?;
    let (code, done) = diff(&shop.manifest).await?;
    ensure!(code == 0, "{done:#}");
    ensure!(shop.visitors.place(KEYS).await? == placed, "no key moved");
    for session in &sessions {
        session.check().await.context("nobody was cut")?;
    }
    shop.close().await
}

fn write(file: &Path, manifest: &Value) -> Result<()> {
    std::fs::write(file, serde_saphyr::to_string(manifest)?).with_context(|| format!("{}", file.display()))
}
