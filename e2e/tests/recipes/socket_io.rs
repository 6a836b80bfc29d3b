//! Socket.IO with Redis: all servers restart, and nobody misses a message; without Clew nearly nobody gets one.

use anyhow::{Context, Result, ensure};
use clew_e2e::recipe::Recipe;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_socket_io_servers_restart_and_no_message_is_lost() -> Result<()> {
    let recipe = Recipe::new("socket-io").await?.with("install-redis.sh").await?;
    let printed = recipe
        .follow(&["The servers", "With Clew", "Without Clew", "Stop"])
        .await?;
    let tables = printed.figures();
    println!("with and without Clew: {tables:?}");
    let [with, without] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let figure = |name: &str| with.get(name).copied().with_context(|| format!("no {name}"));
    let sent = figure("sent")?;
    ensure!(sent > 1000 && figure("got")? > 5 * sent, "{printed:?}");
    ensure!(figure("recovered")? >= 60, "not everybody was moved: {with:?}");
    ensure!(
        figure("started anew")? == 60,
        "somebody lost what they were: {with:?}"
    );
    for none in ["lost", "doubled", "out of order", "Session ID unknown"] {
        ensure!(figure(none)? == 0, "{none}: {printed:?}");
    }
    for some in ["lost", "Session ID unknown"] {
        let count = without.get(some).copied();
        ensure!(count.is_some_and(|count| count > 0), "{some}: {printed:?}");
    }
    Ok(())
}
