//! Edits of a route under live sessions.

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::scene;
use clew_e2e::ws_client::Traffic;
use serde_json::json;

use super::alone;
use super::shop::Shop;

/// What counts when a listener is another one than before; istiod sends unchanged ones too.
pub(super) const LISTENERS: &str =
    "^listener_manager\\.listener_(added|modified|removed|stopped|in_place_updated)$";

/// How many edits, under how many sessions.
fn sizes() -> (usize, usize) {
    if crate::full() { (1000, 300) } else { (100, 100) }
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_through_istiod_lose_no_session_and_touch_no_listener() -> Result<()> {
    let (mesh, _controller) = alone().await?;
    let mut shop = Shop::open(mesh, "edits").await?;
    let (edits, sessions_at_once) = sizes();
    let placed = shop.visitors.place(sessions_at_once).await?;
    let sessions = shop
        .visitors
        .sessions(sessions_at_once, Traffic::every(Duration::from_millis(200), 256))
        .await?;
    let admin = &mesh.gateway.admin;
    let listeners = admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");
    for edit in 0..edits {
        let rule = &mut shop.manifest["spec"]["rules"][0];
        rule["timeouts"] = json!({"handshake": format!("{}s", 5 + edit % 7)});
        rule["limits"] = json!({"maxMessageSize": format!("{}Ki", 64 + edit)});
        rule["resilience"] = json!({"maxPendingHandshakes": 500 + edit % 3});
        shop.client.apply(&shop.manifest).await?;
        if edit % 10 == 9 {
            shop.programmed().await?;
        }
        // At any moment a handshake finds its pod.
        let key = edit % sessions_at_once;
        let pod = shop.visitors.request(key).place(shop.visitors.gateway).await?;
        ensure!(pod == placed[key], "key {key} is on {pod} after edit {edit}");
    }
    scene::all_answer(&sessions).await?;
    scene::none_lost(&sessions)?;
    let now = admin.stats(LISTENERS).await?;
    ensure!(
        now == listeners,
        "a listener changed: {now:?} is not {listeners:?}"
    );
    println!(
        "{edits} edits under {sessions_at_once} sessions: 0 lost, 0 handshakes astray, no listener touched"
    );
    shop.close().await
}
