//! How sessions leave: orderly, evenly, and how many come back at once.

use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::figures::{Bound, Figure, Figures};
use clew_e2e::scene::Scene;
use clew_e2e::statistics::{evenly_spread, peak};
use clew_e2e::ws_client::{Request, Session, Traffic};
use serde_json::json;
use tokio::time::Instant;

const SESSIONS: usize = 2000;
const TIMEOUT: f64 = 40.0;
const WINDOW: f64 = 8.0;

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let mut scene = Scene::new(
        2,
        json!({
            "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": "room"}}]},
            "drain": {"timeout": format!("{TIMEOUT}s")},
        }),
    )
    .await?;
    let requests: Vec<Request> = (0..2 * SESSIONS)
        .map(|n| Request::new(format!("/ws?room={n}")))
        .collect();
    let sessions = scene.open(&requests, |_| Traffic::idle()).await?;
    let victim = scene.pods[0].name.clone();
    let (mut leaving, staying): (Vec<Session>, Vec<Session>) =
        sessions.into_iter().partition(|s| s.served_by == victim);
    let began = Instant::now();
    scene.terminate_pod(&victim)?;
    let mut closes = Vec::new();
    let mut orderly = 0;
    for session in &mut leaving {
        let record = session.ended(Duration::from_secs(120)).await?;
        orderly += usize::from(record.code() == Some(1012) && record.is_whole());
        let ended = record
            .close
            .map(|(.., at)| at)
            .or(record.end.map(|(_, at)| at))
            .context("an end")?;
        closes.push((ended - began).as_secs_f64());
    }
    let disturbed = staying.iter().filter(|s| !s.is_live()).count();
    let count = closes.len();
    let (distance, p) = evenly_spread(closes.clone(), 0.0, TIMEOUT)?;
    let rate = count as f64 / TIMEOUT;
    let figure = |id: &str, what: &str, value: f64, bound: Bound, noise: f64| Figure {
        id: id.to_owned(),
        what: what.to_owned(),
        value,
        unit: "1",
        bound,
        noise,
        n: count as u64,
        control: json!({"uniform_p": p}),
    };
    let share = orderly as f64 / count as f64;
    figures.add(figure(
        "orderly",
        "idle sessions that left with 1012",
        share,
        Bound::Exactly(1.0),
        0.0,
    ));
    figures.add(figure(
        "others",
        "sessions of the other pod disturbed",
        disturbed as f64,
        Bound::AtMost(0.0),
        0.0,
    ));
    let busiest = peak(&closes, WINDOW) as f64 / WINDOW / rate;
    // The highest of a few windows of independent moments lies above the mean by chance alone.
    let chance = 2.0 / (rate * WINDOW).sqrt();
    figures.add(figure(
        "peak",
        "reconnects in the busiest 8 s ÷ N/T",
        busiest,
        Bound::AtMost(1.2),
        chance,
    ));
    figures.add(figure(
        "even",
        "distance of the closes from an even spread",
        distance,
        Bound::None,
        p,
    ));
    Ok(())
}
