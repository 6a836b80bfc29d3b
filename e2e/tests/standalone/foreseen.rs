//! What an edit will do to those who are connected, asked of a running `clew run` before the edit is made.

use anyhow::{Result, ensure};
use clew_e2e::address::{self, PORT};
use clew_e2e::manifests::{self, Folder};
use clew_e2e::scene::{self, ROUTE, SERVICE, Scene};
use clew_e2e::standalone;
use clew_e2e::wait;
use clew_e2e::ws_client::Traffic;
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

const SESSIONS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_ends_sessions_says_how_many_before_it_is_made() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let sessions = scene.open(&rooms(0..SESSIONS), |_| Traffic::idle()).await?;
    let stricter = json!({"sessionKey": by_room(), "timeouts": {"idle": "1h"}});
    let stricter = manifests::route(
        ROUTE,
        json!([manifests::rule("rooms", "/ws", SERVICE, PORT, stricter)]),
    );
    let rule = format!("{}/{ROUTE}/rooms", manifests::NAMESPACE);
    let said = wait::until("it counts who is connected", SOON, async || {
        let (code, said) = diff(&scene, ("route", &stricter)).await.ok()?;
        (code == 1 && said["sessions"][&rule] == SESSIONS).then_some(said)
    })
    .await?;
    ensure!(
        said["rules"][0]["ends"] == json!(["timeouts.idle: those idle for 1h"])
            && said["listeners"] == json!([])
            && said["ended"] == 0,
        "{said:#}"
    );

    let elsewhere = manifests::gateway(address::next());
    let (code, said) = diff(&scene, ("gateway", &elsewhere)).await?;
    let listener = &said["listeners"][0];
    ensure!(
        code == 1
            && said["ended"] == SESSIONS
            && listener["address"] == scene.gateway().to_string()
            && listener["rules"] == json!([rule]),
        "{said:#}"
    );
    scene::none_lost(&sessions)?;

    // And it is as was said: Envoy takes what is left of a listener's sessions down with it, in its own time.
    let draining = "listener_manager.total_listeners_draining";
    scene.folder.put("gateway", &elsewhere)?;
    wait::until("the listener goes", SOON, async || {
        let stats = scene.clew.ready.admin.stats(draining).await.ok()?;
        (stats.get(draining) == Some(&1)).then_some(())
    })
    .await
}

/// What `clew diff` says of the scene's folder with one file of another content.
pub(crate) async fn diff(scene: &Scene, (name, manifest): (&str, &Value)) -> Result<(i32, Value)> {
    let new = Folder::new()?;
    for entry in std::fs::read_dir(scene.folder.path())? {
        let entry = entry?;
        std::fs::copy(entry.path(), new.path().join(entry.file_name()))?;
    }
    new.put(name, manifest)?;
    let (new, old, state) = (
        new.path().to_string_lossy(),
        scene.folder.path().to_string_lossy(),
        scene.state.path().to_string_lossy(),
    );
    let asked = [
        "diff",
        "-f",
        &*new,
        "--against",
        &*old,
        "--state-dir",
        &*state,
        "-o",
        "json",
    ];
    let said = standalone::clew(asked).await?;
    Ok((said.code, serde_json::from_str(&said.stdout)?))
}
