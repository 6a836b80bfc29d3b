//! Edits of routes cut nothing, and broken ones change nothing.

use anyhow::{Context, Result};
use clew_e2e::address::PORT;
use clew_e2e::echo_server::Behaviour;
use clew_e2e::manifests;
use clew_e2e::scene::{self, SERVICE, Scene};
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use serde_json::{Value, json};

use crate::{SOON, by_room, rooms};

const EDITS: usize = 100;
const SESSIONS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_edits_ten_of_them_invalid_lose_no_session_and_touch_no_listener() -> Result<()> {
    let scene = Scene::new(4, json!({"sessionKey": by_room()})).await?;
    let admin = scene.clew.ready.admin;
    let requests: Vec<Request> = rooms(0..SESSIONS)
        .into_iter()
        .enumerate()
        .map(|(i, request)| {
            let ping = (i % 3 == 1).then(|| std::time::Duration::from_millis(300));
            request.behave(&Behaviour {
                ping,
                ..Behaviour::default()
            })
        })
        .collect();
    let traffic = |i: usize| match i % 3 {
        2 => Traffic::every(std::time::Duration::from_millis(200), 500),
        _ => Traffic::idle(),
    };
    let sessions = scene.open(&requests, traffic).await?;
    let listeners = admin.stats("^listener_manager\\.").await?;
    let invalid_edit = |edit: usize| edit % 10 == 5;
    for edit in 0..EDITS {
        if invalid_edit(edit) {
            let said = scene.clew.stderr().len();
            let path = scene.folder.put_text("route", &broken(edit))?;
            let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
            scene.clew.says(said, &name).await?;
        } else {
            scene.folder.put("route", &edited(edit))?;
            // Each edit leads one more path to the pods: a 101 there proves that it is in force.
            let probe = Request::new(format!("/edit-{edit}?room=1"));
            let in_force = format!("edit {edit} in force");
            wait::until(&in_force, SOON, async || probe.place(scene.gateway()).await.ok()).await?;
        }
    }
    scene::all_answer(&sessions).await?;
    assert_eq!(admin.stats("^listener_manager\\.").await?, listeners);
    println!("{EDITS} edits, 10 of them invalid, under {SESSIONS} sessions: 0 lost, no listener touched");
    Ok(())
}

/// The scene's route, with one thing or another changed, and the path of this edit.
fn edited(edit: usize) -> Value {
    let mut policy = json!({"sessionKey": by_room()});
    match edit % 7 {
        0 => {
            policy["drain"] =
                json!({"timeout": format!("{}s", 30 + edit), "closeReason": format!("edit {edit}")})
        }
        1 => policy["timeouts"] = json!({"handshake": "5s"}),
        2 => policy["limits"] = json!({"maxConnectionsPerProxy": 10_000 + edit}),
        3 => policy["resilience"] = json!({"connectRetries": 3, "maxPendingHandshakes": 2048}),
        4 => policy["loadBalancer"] = json!({"type": "ConsistentHash", "boundedLoad": {"percent": 150}}),
        5 => {
            policy["security"] = json!({"origin": {"mode": "Report", "allowed": ["https://app.example.com"]}})
        }
        _ => {}
    }
    let mut rule = manifests::rule("rooms", "/ws", SERVICE, PORT, policy);
    let more = json!({"path": {"type": "PathPrefix", "value": format!("/edit-{edit}")}});
    if let Some(matches) = rule["matches"].as_array_mut() {
        matches.push(more);
    }
    if edit.is_multiple_of(3) {
        rule["backendRefs"][0]["weight"] = json!(edit + 1);
    }
    manifests::route(scene::ROUTE, json!([rule]))
}

/// The scene's route, broken in one way or another.
fn broken(edit: usize) -> String {
    let good = serde_saphyr::to_string(&edited(edit)).expect("YAML");
    match edit / 10 % 5 {
        0 => good.replace("rules:", "rules: ["),
        1 => good.replace("backendRefs", "backendRef"),
        2 => good.replace("rules:", "rules: 7\n  ruled:"),
        3 => good[..good.len() / 2].to_owned() + "\n\t{{{",
        _ => good.replace("port: 8080", "port: http"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_route_answers_404_and_its_sessions_stay() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let sessions = scene.open(&rooms(0..20), |_| Traffic::idle()).await?;
    scene.folder.remove("route")?;
    wait::until("the route is gone", SOON, async || {
        match Request::new("/ws?room=1").send(scene.gateway()).await {
            Ok(Answer::Refused(head, _)) if head.status == 404 => Some(()),
            _ => None,
        }
    })
    .await?;
    scene::all_answer(&sessions).await?;
    let again = manifests::rule("rooms", "/ws", SERVICE, PORT, json!({"sessionKey": by_room()}));
    scene
        .folder
        .put("route", &manifests::route(scene::ROUTE, json!([again])))?;
    wait::until("the route is back", SOON, async || {
        Request::new("/ws?room=1").place(scene.gateway()).await.ok()
    })
    .await?;
    scene::all_answer(&sessions).await
}
