//! Much at once, after little: more than Envoy holds for a connection may come in one event of a direction that is armed.

use anyhow::{Result, ensure};
use clew_e2e::scene::Scene;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use crate::{by_room, full, rooms};

const LARGE: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_in_both_directions_of_sessions_that_were_quiet() -> Result<()> {
    let scene = Scene::new(2, json!({"sessionKey": by_room()})).await?;
    let sessions = if full() { 400 } else { 120 };
    let talks = rooms(0..sessions).into_iter().map(|request| {
        let gateway = scene.gateway();
        async move {
            let mut socket = request.open(gateway).await?;
            for _ in 0..2 {
                socket.echo(2, 2).await?;
                socket.echo(1, LARGE).await?;
            }
            socket.goodbye().await
        }
    });
    stream::iter(talks)
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    let too_large = scene.clew.ready.admin.stats("_too_large$").await?;
    ensure!(
        !too_large.is_empty(),
        "Envoy counts what is too large to be buffered"
    );
    ensure!(
        too_large.values().all(|count| *count == 0),
        "reset for what was buffered: {too_large:?}"
    );
    println!("{sessions} sessions sent and got two messages of {LARGE} bytes each");
    Ok(())
}
