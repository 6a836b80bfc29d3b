//! What is given away to whoever helps: enough to see how it stands, and no secret.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::manifests;
use clew_e2e::scene::Scene;
use clew_e2e::standalone::{self, clew};
use clew_e2e::ws_client::Traffic;
use clew_e2e::{bug_report, http, wait};
use data_encoding::BASE64;
use serde_json::json;

use crate::{SOON, by_room, rooms};

/// In a Secret, and in other people's objects where it should not be.
const SECRET: &str = "correct-horse-battery-staple";

/// Where one of these is, in clear or as Secrets have it.
fn leak<'s>(text: &str, secrets: &'s [String]) -> Option<&'s String> {
    secrets
        .iter()
        .find(|secret| text.contains(*secret) || text.contains(&BASE64.encode(secret.as_bytes())))
}

fn read(state: &Path, file: &str) -> Result<String> {
    Ok(std::fs::read_to_string(state.join(file))
        .with_context(|| file.to_owned())?
        .trim()
        .to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_says_how_it_stands_and_gives_no_secret_away() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    scene
        .folder
        .put("keys", &manifests::secret("elsewhere", "password", SECRET))?;
    let mut service = manifests::service("other", 80);
    service["metadata"]["annotations"] =
        json!({"example.com/dsn": format!("redis://app:{SECRET}@10.0.0.1/0"), "example.com/api-key": SECRET});
    scene.folder.put("other", &service)?;
    let sessions = scene.open(&rooms(0..6), |_| Traffic::idle()).await?;
    let state = scene.state.path();
    let secrets: Vec<String> = [
        read(state, "seed")?,
        read(state, "token")?,
        SECRET.to_owned(),
        "room-3".to_owned(),
    ]
    .into();

    let folder = state.to_str().context("a path")?;
    wait::until("all sessions are counted", SOON, async || {
        let counted = clew(["sessions", "--state-dir", folder, "-o", "json"])
            .await
            .ok()?;
        (counted.json().ok()?["total"] == 6).then_some(())
    })
    .await?;

    let file = scene.folder.path().with_extension("tar.gz");
    let output = file.to_str().context("a path")?;
    let told = ["bug-report", "--state-dir", folder, "--output", output];
    let said = clew(told).await?;
    ensure!(said.success()?.trim() == output, "{said:?}");
    let report = bug_report::read(&file).await?;
    for name in [
        "about.yaml",
        "status.yaml",
        "sessions.yaml",
        "drains.yaml",
        "metrics.txt",
        "manifests.yaml",
        "missing.yaml",
        "README.txt",
    ] {
        ensure!(report.contains_key(name), "no {name}: {:?}", report.keys());
    }
    ensure!(
        report["sessions.yaml"].contains("total: 6"),
        "{}",
        report["sessions.yaml"]
    );
    ensure!(
        report["metrics.txt"].contains("clew_"),
        "{}",
        report["metrics.txt"]
    );
    ensure!(
        report["manifests.yaml"].contains("kind: WebSocketRoute"),
        "{}",
        report["manifests.yaml"]
    );
    ensure!(
        report["missing.yaml"].trim() == "[]",
        "{}",
        report["missing.yaml"]
    );
    ensure!(
        report["envoy/config_dump.yaml"].contains("clew"),
        "Envoy's configuration is there"
    );
    for (name, text) in &report {
        ensure!(
            leak(text, &secrets).is_none(),
            "{name} has {:?}",
            leak(text, &secrets)
        );
    }

    // What was left out was there to be found.
    let dump = http::get(scene.clew.ready.admin.address, "/config_dump").await?;
    ensure!(
        leak(&dump, &secrets).is_some(),
        "Envoy's own dump has the channel's token"
    );
    let kept = std::fs::read_dir(state.join("manifests"))?;
    let kept: Result<String, _> = kept.map(|entry| std::fs::read_to_string(entry?.path())).collect();
    ensure!(
        leak(&kept?, &secrets[2..3]).is_some(),
        "and the state folder the password"
    );

    let again = clew(told).await?;
    ensure!(
        again.code == 1 && again.stderr.contains("--output"),
        "an old report is not overwritten: {again:?}"
    );
    std::fs::remove_file(&file)?;
    for session in &sessions {
        session.check().await?;
    }
    drop(scene);
    let nobody = standalone::clew(["bug-report", "--api", "127.0.0.1:1", "--output", output]).await?;
    ensure!(nobody.code == 3 && !file.exists(), "{nobody:?}");
    Ok(())
}
