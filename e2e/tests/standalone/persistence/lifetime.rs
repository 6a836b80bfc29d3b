//! Tokens outlive rotations of their keys, and `clew`, and Envoy.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::manifests::NAMESPACE;
use clew_e2e::scene::{self, Scene};
use clew_e2e::ws_client::{Request, Traffic};
use clew_e2e::{process, wait};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use super::{Bound, HEADER, all_return, persistent};
use crate::{SOON, rooms};

/// The Secret with these keys.
pub(crate) fn secret(keys: &[(&str, &str)]) -> Value {
    let data: Map<String, Value> = keys
        .iter()
        .map(|(name, key)| ((*name).to_owned(), BASE64.encode(key.as_bytes()).into()))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "clew-signing-keys", "namespace": NAMESPACE},
        "type": "clew.dev/signing-keys",
        "data": data,
    })
}

/// The name of the key that signed a token.
pub(crate) fn key_id(token: &str) -> Result<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(token.as_bytes())?;
    Ok(bytes.get(1..5).context("too short")?.to_vec())
}

/// Waits until new tokens are signed by another key, and answers which.
pub(crate) async fn turned(scene: &Scene, from: &[u8]) -> Result<Vec<u8>> {
    wait::until("new tokens have a new key", SOON, async || {
        let fresh = Bound::new(scene.gateway(), &Request::new("/ws?room=fresh"))
            .await
            .ok()?;
        key_id(&fresh.token).ok().filter(|id| id != from)
    })
    .await
}

/// Every session returns to its pod, and takes the token that it gets there.
async fn renew(scene: &Scene, bounds: &mut [Bound]) -> Result<()> {
    for (room, bound) in bounds.iter_mut().enumerate() {
        let socket = bound.returns(room).open(scene.gateway()).await?;
        assert_eq!(socket.served_by(), bound.pod);
        if let Some(token) = socket.head.header(HEADER) {
            bound.token = token;
        }
        socket.goodbye().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_keys_loses_no_sessions_pod() -> Result<()> {
    const KEYS: [(&str, &str); 2] = [
        ("2026-11", "the-first-key-of-this-test-0123456789"),
        ("2026-12", "the-second-key-of-this-test-012345678"),
    ];
    let scene = Scene::new(4, persistent()).await?;
    let live = scene
        .open(&rooms(100..160), |_| {
            Traffic::every(Duration::from_millis(250), 300)
        })
        .await?;
    let mut bounds = Bound::rooms(&scene, 0..30).await?;
    let made_here = key_id(&bounds[0].token)?;

    scene.folder.put("keys", &secret(&KEYS[..1]))?;
    let first = turned(&scene, &made_here).await?;
    all_return(&scene, &bounds).await?;
    scene.folder.put("keys", &secret(&KEYS))?;
    let second = turned(&scene, &first).await?;
    all_return(&scene, &bounds).await?;
    renew(&scene, &mut bounds).await?;
    for bound in &bounds {
        assert_eq!(key_id(&bound.token)?, second, "renewed when it returned");
    }
    let by_first = {
        scene.folder.put("keys", &secret(&KEYS[..1]))?;
        turned(&scene, &second).await?;
        Bound::new(scene.gateway(), &rooms([7])[0]).await?
    };
    scene.folder.put("keys", &secret(&KEYS))?;
    turned(&scene, &first).await?;
    all_return(&scene, std::slice::from_ref(&by_first)).await?;

    // The first key goes for good: what it signed is void, and nothing else.
    scene.folder.put("keys", &secret(&KEYS[1..]))?;
    wait::until("the first key is void", SOON, async || {
        let socket = by_first.returns(0).open(scene.gateway()).await.ok()?;
        let token = socket.head.header(HEADER);
        socket.goodbye().await.ok()?;
        token.filter(|token| key_id(token).is_ok_and(|id| id == second))
    })
    .await?;
    all_return(&scene, &bounds).await?;
    scene::all_answer(&live).await?;
    println!(
        "three rotations: {} tokens led to their pods, {} live sessions, 0 lost",
        bounds.len(),
        live.len()
    );

    let own = std::fs::read_to_string(scene.state.path().join("signing-keys.json"))?;
    let own: Value = serde_json::from_str(&own)?;
    let mut secrets = vec![own["own"].as_str().context("no key")?.to_owned()];
    for (_, key) in KEYS {
        secrets.extend([
            key.to_owned(),
            HEXLOWER.encode(key.as_bytes()),
            BASE64.encode(key.as_bytes()),
        ]);
    }
    let state = scene.state.path().to_string_lossy().into_owned();
    let status = clew_e2e::standalone::clew(["status", "--state-dir", &state, "-o", "json"]);
    let folder = scene.folder.path().to_string_lossy().into_owned();
    let render = clew_e2e::standalone::clew(["render", "-f", &folder, "--to", "envoy"]);
    let mut shown = vec![
        scene.clew.stderr(),
        status.await?.stdout,
        render.await?.stdout,
        scene.clew.ready.admin.get("/config_dump").await?,
        scene.clew.ready.admin.get("/stats").await?,
    ];
    read_all(&scene.state.path().join("envoy"), &mut shown)?;
    assert!(
        shown.len() > 8 && shown[3].contains("\"configs\""),
        "{} texts",
        shown.len()
    );
    for secret in &secrets {
        assert!(
            !shown.iter().any(|text| text.contains(secret.as_str())),
            "a key shows"
        );
    }
    Ok(())
}

fn read_all(folder: &Path, texts: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, texts)?;
        } else {
            texts.push(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_outlive_clew_and_envoy() -> Result<()> {
    let mut scene = Scene::new(4, persistent()).await?;
    let bounds = Bound::rooms(&scene, 0..30).await?;
    let live = scene.open(&rooms(100..140), |_| Traffic::idle()).await?;
    scene.clew.kill().await?;
    all_return(&scene, &bounds).await?;
    scene.start_again().await?;
    all_return(&scene, &bounds).await?;
    scene::all_answer(&live).await?;
    let fresh = Bound::new(scene.gateway(), &rooms([0])[0]).await?;
    assert_eq!(
        key_id(&fresh.token)?,
        key_id(&bounds[0].token)?,
        "the key is the same"
    );

    assert!(process::signal(scene.clew.ready.pid, Signal::KILL));
    let place = async || rooms([0])[0].place(scene.gateway()).await.ok();
    wait::until("sessions again", SOON, place).await?;
    process::naming(scene.state.path())
        .into_iter()
        .for_each(|pid| scene.state.owns(pid));
    all_return(&scene, &bounds).await?;
    println!(
        "{} tokens lead to their pods after `clew` and after Envoy died",
        bounds.len()
    );
    Ok(())
}
