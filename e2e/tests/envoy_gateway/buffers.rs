//! Envoy Gateway gives a connection 32 KiB of buffers, a fraction of what one message may be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::process;
use clew_e2e::visitors::LONG;
use clew_e2e::ws_client::Traffic;
use rustix::process::Signal;
use serde_json::json;

use crate::ALONE;
use crate::shop::Shop;

const LARGE: usize = 20 << 20;
const SILENT: usize = 60;

/// Stops it again and again: what comes meanwhile gathers in the kernel, whose buffer grows with that far beyond Envoy's own.
async fn stall(pid: u32) {
    for _ in 0..60 {
        process::signal(pid, Signal::STOP);
        tokio::time::sleep(Duration::from_millis(40)).await;
        process::signal(pid, Signal::CONT);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass_beside_silent_sessions_which_are_told_when_they_have_been_idle_for_too_long()
-> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let mut shop = Shop::open(all, "buffers").await?;
    let mut silent = shop.visitors.sessions(SILENT, Traffic::idle()).await?;
    for key in 0..10 {
        let mut socket = shop.visitors.request(key).open(shop.visitors.gateway).await?;
        // What is small arms both directions for what is large.
        for (count, size) in [(2, 2), (1, LARGE), (2, 64), (1, LARGE)] {
            let stalls = async {
                if key >= 8 && size == LARGE {
                    stall(all.filtered.pid()).await;
                }
            };
            let ((), echoed) = tokio::join!(stalls, socket.echo(count, size));
            echoed.with_context(|| format!("session {key}, {size} bytes"))?;
        }
        socket.goodbye().await?;
    }
    let too_large = all.filtered.admin.stats("_too_large$").await?;
    ensure!(
        !too_large.is_empty() && too_large.values().all(|count| *count == 0),
        "reset for what was buffered: {too_large:?}"
    );
    println!(
        "10 sessions, 2 of them through a proxy that stalls, sent and got two messages of {LARGE} bytes each beside {SILENT} silent ones: 0 resets"
    );

    for session in &silent {
        ensure!(session.is_live(), "{:?}", session.record());
    }
    shop.manifest["spec"]["rules"][0]["timeouts"] = json!({"idle": "2s"});
    shop.client.apply(&shop.manifest).await?;
    for session in &mut silent {
        let record = session.ended(LONG).await?;
        ensure!(record.code() == Some(1001) && record.is_whole(), "{record:?}");
    }
    println!("{SILENT} idle sessions: all got their Close");
    shop.close().await
}
