//! From a saved file to the first session that obeys it, and the memory of `clew run`, with 1,000 routes.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::address::PORT;
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::manifests;
use clew_e2e::scene::{SERVICE, Scene};
use clew_e2e::statistics::median;
use clew_e2e::ws_client::{Answer, Request};
use clew_e2e::{process, wait};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::arms::standard_error;

const ROUTES: usize = 1000;
const SAVES: usize = 25;

fn keyed() -> Value {
    json!({"sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]}})
}

fn route(number: usize, prefix: &str) -> Value {
    let rule = manifests::rule("rooms", prefix, SERVICE, PORT, keyed());
    manifests::route(&format!("many-{number}"), json!([rule]))
}

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let scene = Scene::new(3, keyed()).await?;
    let alone = process::memory_bytes(scene.clew.pid().unwrap_or_default())?;
    for number in 0..ROUTES {
        scene.folder.put(
            &format!("many-{number}"),
            &route(number, &format!("/many/{number}/")),
        )?;
    }
    let last = Request::new(format!("/many/{}/?room=1", ROUTES - 1));
    let placed = async || last.place(scene.gateway()).await.ok();
    wait::until("1,000 routes are in force", Duration::from_secs(60), placed).await?;

    let mut took = Vec::new();
    for save in 0..SAVES {
        let number = save * 37 % ROUTES;
        let request = Request::new(format!("/saved/{save}/?room=1"));
        let manifest = route(number, &format!("/saved/{save}/"));
        let saved = Instant::now();
        scene.folder.put(&format!("many-{number}"), &manifest)?;
        loop {
            match request.send(scene.gateway()).await? {
                Answer::Opened(socket) => {
                    took.push(saved.elapsed().as_secs_f64() * 1000.0);
                    scene.server(&socket.served_by())?;
                    socket.goodbye().await?;
                    break;
                }
                Answer::Refused(head, _) => {
                    anyhow::ensure!(matches!(head.status, 404 | 503), "{head:?}");
                    anyhow::ensure!(
                        saved.elapsed() < Duration::from_secs(20),
                        "save {save} is never in force"
                    );
                }
            }
        }
    }
    let most = took.iter().copied().fold(0.0, f64::max);
    figures.add(Figure {
        id: "P9".to_owned(),
        what: format!("save → first correct 101, {ROUTES} routes, median"),
        value: median(&took),
        unit: "ms",
        bound: Bound::AtMost(250.0),
        noise: 2.0 * standard_error(&took),
        n: SAVES as u64,
        control: json!({"slowest_ms": most}),
    });
    let memory = process::memory_bytes(scene.clew.pid().unwrap_or_default())?;
    figures.add(Figure {
        id: "P10".to_owned(),
        what: format!("memory of `clew run`, {ROUTES} routes, after {SAVES} saves"),
        value: memory as f64 / f64::from(1 << 20),
        unit: "MiB",
        bound: Bound::AtMost(60.0),
        noise: 0.0,
        n: 1,
        control: json!({"one_route_mib": alone as f64 / f64::from(1 << 20)}),
    });
    Ok(())
}
