//! A mesh's tools on handshakes through Envoy Gateway, each beside what happens without it, under sessions that notice none of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clew_e2e::scene;
use clew_e2e::tools::{Bench, KEYS};
use clew_e2e::ws_client::{Session, Traffic};

use crate::ALONE;
use crate::controller::LISTENERS;
use crate::shop::Shop;

const SESSIONS: usize = 40;

#[expect(
    clippy::print_stdout,
    reason = "what a test measured belongs beside its verdict"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tools_of_a_route_are_for_handshakes_and_leave_sessions_alone() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (all, _) = crate::scene().await?;
    let mut shop = Shop::open(all, "tools").await?;
    let listeners = all.filtered.admin.stats(LISTENERS).await?;
    ensure!(!listeners.is_empty(), "nothing is counted");
    let sessions = shop
        .visitors
        .sessions(SESSIONS, Traffic::every(Duration::from_millis(50), 64))
        .await?;
    let unmoved = async |said: String| -> Result<()> {
        println!("{said}");
        scene::all_answer(&sessions).await.with_context(|| said.clone())?;
        let now = all.filtered.admin.stats(LISTENERS).await?;
        ensure!(now == listeners, "{said}: a listener changed: {now:?}");
        Ok(())
    };
    let mut bench = Bench {
        placed: shop.visitors.place(KEYS).await?,
        visitors: &shop.visitors,
        pods: &mut shop.pods,
        client: &shop.client,
        route: &shop.route,
        manifest: shop.manifest.clone(),
    };
    unmoved(bench.timeouts().await?).await?;
    unmoved(bench.outliers().await?).await?;
    unmoved(bench.retries().await?).await?;
    unmoved(bench.limits().await?).await?;

    let records: Vec<_> = sessions.iter().map(Session::record).collect();
    let sum = |of: fn(&clew_e2e::ws_client::Record) -> u64| records.iter().map(of).sum::<u64>();
    unmoved(format!(
        "{SESSIONS} sessions all along: sent {}, got {}, lost {}, doubled or out of order {}; no listener touched",
        sum(|record| record.sent),
        sum(|record| record.echoes.received),
        sum(|record| record.echoes.missing),
        sum(|record| record.echoes.repeated),
    ))
    .await?;
    shop.close().await
}
