//! The numbers on Envoy's own endpoint are those of what happened.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::scene::Scene;
use clew_e2e::wait;
use clew_e2e::ws_client::{Answer, Request, Traffic};
use serde_json::json;

use crate::{SOON, by_room, rooms};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_messages_and_refusals_are_counted_once() -> Result<()> {
    let policy = json!({"sessionKey": {"sources": by_room()["sources"], "onMissing": "Reject"}});
    let scene = Scene::new(3, policy).await?;
    let admin = scene.clew.ready.admin;
    let route = ("clew_route", "shop/chat/rooms");
    let read = async |name: &str, labels: &[(&str, &str)]| {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([route]).collect();
        admin.metric(name, &labels).await
    };
    // The scene's own probes are counted first; Envoy merges its workers' counts every few seconds.
    let probes: usize = scene.servers.iter().map(|server| server.opened()).sum();
    wait::until("the probes are counted", SOON, async || {
        for name in [
            "clew_sessions_opened_total",
            "clew_sessions_closed_total",
            "clew_session_duration_ms_count",
        ] {
            if (read(name, &[]).await.ok()? - probes as f64).abs() > 0.5 {
                return None;
            }
        }
        Some(())
    })
    .await?;
    let names: [(&str, &[(&str, &str)]); 7] = [
        ("clew_sessions_opened_total", &[]),
        ("clew_sessions_closed_total", &[]),
        ("clew_handshakes_total", &[]),
        ("clew_affinity_total", &[("result", "missed")]),
        ("clew_messages_total", &[("direction", "received")]),
        ("clew_messages_total", &[("direction", "sent")]),
        ("clew_session_duration_ms_count", &[]),
    ];
    let snapshot = async || {
        let mut values = Vec::new();
        for (name, labels) in names {
            values.push(read(name, labels).await?);
        }
        Ok::<_, anyhow::Error>(values)
    };
    let before = snapshot().await?;

    let mut sessions = scene
        .open(&rooms(0..30), |_| Traffic {
            pieces: 3,
            size: 1000,
            ..Traffic::idle()
        })
        .await?;
    for session in &sessions {
        session.check().await?;
        session.check().await?;
    }
    for _ in 0..5 {
        let Answer::Refused(..) = Request::new("/ws").send(scene.gateway()).await? else {
            panic!("a key")
        };
    }
    wait::until("30 active", SOON, async || {
        let active = read("clew_sessions_active", &[]).await.ok()?;
        ((active - 30.0).abs() < 0.5).then_some(())
    })
    .await?;
    for session in &mut sessions {
        session.close(1000, "done");
        session.ended(SOON).await?;
    }
    let wanted = [30.0, 30.0, 35.0, 0.0, 60.0, 60.0, 30.0];
    let what = "the counts of 30 sessions, 60 messages each way and 5 refusals";
    let mut last = Vec::new();
    let counted = wait::until(what, Duration::from_secs(10), async || {
        last = snapshot()
            .await
            .ok()?
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect::<Vec<f64>>();
        let active = read("clew_sessions_active", &[]).await.ok()?;
        let equal = |(is, want): (&f64, &f64)| (is - want).abs() < 0.5;
        (active < 0.5 && last.iter().zip(&wanted).all(equal)).then_some(())
    });
    let counted = counted.await;
    counted.map_err(|e| e.context(format!("{last:?} instead of {wanted:?} for {names:?}")))?;
    let text = admin.get("/stats/prometheus?usedonly").await?;
    assert!(
        !text
            .lines()
            .any(|line| line.contains("clew") && line.contains("room-")),
        "a key in a label"
    );
    assert!(read("clew_bytes_total", &[("direction", "received")]).await? > 30.0 * 2.0 * 1000.0);
    Ok(())
}
