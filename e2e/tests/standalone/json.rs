//! What programs read: every field of a real answer is on the page of the reference, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clew_e2e::manifests::{self, Folder};
use clew_e2e::scene::{ROUTE, SERVICE, Scene};
use clew_e2e::ws_client::Traffic;
use clew_e2e::{address, standalone, wait};
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_an_answer_is_in_the_reference() -> Result<()> {
    let mut scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let _sessions = scene.open(&rooms(0..8), |_| Traffic::idle()).await?;
    let before = Folder::new()?;
    copy(&scene.folder, &before)?;
    let state = scene.state.path().to_string_lossy().into_owned();
    let asked = async |command: &[&str]| -> Result<Value> {
        let all = [command, &["--state-dir", &state, "-o", "json"]].concat();
        let said = standalone::clew(all).await?;
        serde_json::from_str(&said.stdout).with_context(|| said.text())
    };

    // A route that is refused, a pod that leaves, and one that comes.
    scene.folder.put("lost", &lost())?;
    let drained = asked(&["drain", &scene.pods[0].name]).await?;
    let (status, sessions) = wait::until("proxies say what they have", SOON, async || {
        let (status, sessions) = (asked(&["status"]).await.ok()?, asked(&["sessions"]).await.ok()?);
        let is_told = status["findings"] != json!([]) && sessions["rules"].to_string().contains("sinceMs");
        is_told.then_some((status, sessions))
    })
    .await?;
    scene.add_pod().await?;
    let stricter = json!({"sessionKey": by_room(), "timeouts": {"idle": "1h"}});
    let stricter = manifests::rule("rooms", "/ws", SERVICE, address::PORT, stricter);
    let after = Folder::new()?;
    copy(&scene.folder, &after)?;
    after.put("route", &manifests::route(ROUTE, json!([stricter])))?;
    after.put("gateway", &manifests::gateway(address::next()))?;
    let key = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "clew.dev/signing-keys",
        "metadata": {"name": "signing", "namespace": manifests::NAMESPACE},
        "stringData": {"a": "k".repeat(32)},
    });
    after.put("key", &key)?;
    let (before, after) = (before.path().to_string_lossy(), after.path().to_string_lossy());
    let diff = asked(&["diff", "-f", &after, "--against", &before]).await?;

    let of_folder = async |command: &str, arguments: &[&str]| -> Result<Value> {
        let said = scene
            .command(command, &[arguments, &["-o", "json"]].concat())
            .await?;
        serde_json::from_str(&said.stdout).with_context(|| said.text())
    };
    let explained = of_folder("explain", &["--request", "GET /ws?room=1"]).await?;
    let simulated = of_folder("simulate", &["--add", "1"]).await?;
    let validated = standalone::clew(["validate", "-f", &*after, "-o", "json"]).await?;
    let version = standalone::clew(["version", "-o", "json"]).await?;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/json.md");
    let page = std::fs::read_to_string(page)?;
    for (command, answer) in [
        ("status", status),
        ("sessions", sessions),
        ("drain", drained),
        ("diff", diff),
        ("explain", explained),
        ("simulate", simulated),
        ("validate", serde_json::from_str(&validated.stdout)?),
        ("version", version.json()?),
    ] {
        let documented = documented(&page, command)?;
        let mut found = BTreeSet::new();
        fields(&answer, "", &documented, &mut found);
        let is_whole = |path: &&String| !is_parted(path, &found) && !documented.contains(*path);
        let missing: Vec<_> = found.iter().filter(is_whole).collect();
        let vain: Vec<_> = documented.difference(&found).collect();
        ensure!(
            missing.is_empty() && vain.is_empty(),
            "clew {command}: not in the reference {missing:?}, only there {vain:?}: {answer:#}"
        );
        println!("clew {command}: {} fields", found.len());
    }
    Ok(())
}

/// A route to nowhere.
fn lost() -> Value {
    let mut route = manifests::route("lost", json!([{"backendRefs": [{"name": "gone", "port": 80}]}]));
    route["spec"]["parentRefs"] = json!([{"name": "gone"}]);
    route
}

fn copy(from: &Folder, to: &Folder) -> Result<()> {
    for entry in std::fs::read_dir(from.path())? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.path().join(entry.file_name()))?;
    }
    Ok(())
}

/// The fields that the page says an answer of a `clew run`, or about files, has.
fn documented(page: &str, command: &str) -> Result<BTreeSet<String>> {
    let heading = format!("\n## `clew {command}`\n");
    let (_, rest) = page.split_once(&heading).context(heading.clone())?;
    let table = rest.split("\n## ").next().unwrap_or_default();
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let here = rows.filter(|(_, rest)| !rest.starts_with("cluster"));
    Ok(here.map(|(field, _)| field.to_owned()).collect())
}

/// The paths of all values, as deep as they are documented.
fn fields(value: &Value, path: &str, documented: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    if !path.is_empty() {
        found.insert(path.to_owned());
    }
    if documented.contains(path) && !is_parted(path, documented) {
        return;
    }
    match value {
        Value::Object(all) => {
            for (name, value) in all {
                // Of names of rules there are as many as there are rules.
                let name = if name.contains('/') { "*" } else { name };
                let path = [path, name].join(if path.is_empty() { "" } else { "." });
                let path = if value.is_array() { path + "[]" } else { path };
                fields(value, &path, documented, found);
            }
        }
        Value::Array(all) => {
            for value in all {
                fields(value, path, documented, found);
            }
        }
        _ => {}
    }
}

/// Whether one of the paths is of a part of this.
fn is_parted(path: &str, paths: &BTreeSet<String>) -> bool {
    let part = format!("{path}.");
    path.is_empty() || paths.iter().any(|other| other.starts_with(&part))
}
