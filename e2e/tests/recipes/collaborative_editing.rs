//! Yjs documents: everybody who writes in one is on one server, and all servers restart while they write.

use anyhow::{Context, Result, ensure};
use clew_e2e::recipe::Recipe;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_write_while_all_servers_restart_and_their_documents_are_the_same() -> Result<()> {
    let recipe = Recipe::new("collaborative-editing")
        .await?
        .with("install-redis.sh")
        .await?;
    let printed = recipe
        .follow(&["The servers", "With Clew", "Without Clew", "Stop"])
        .await?;
    let tables = printed.figures();
    println!("with and without Clew: {tables:?}");
    let [with, without] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let figure = |name: &str| with.get(name).copied().with_context(|| format!("no {name}"));
    ensure!(
        figure("documents")? == 6 && figure("typed")? > 1000,
        "{printed:?}"
    );
    // Each of the eighteen had to move at least once.
    ensure!(figure("sockets closed with 1012")? >= 18, "{printed:?}");
    for none in [
        "documents on several servers",
        "lost",
        "doubled",
        "documents that differ",
        "sockets ended otherwise",
    ] {
        ensure!(figure(none)? == 0, "{none}: {printed:?}");
    }
    for some in ["documents on several servers", "sockets ended otherwise"] {
        let count = without.get(some).copied();
        ensure!(count > Some(0), "the control, {some}: {printed:?}");
    }
    Ok(())
}
