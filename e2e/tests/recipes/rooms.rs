//! Rooms that a broker carries: all servers restart while people talk, and who resumes misses nothing.

use anyhow::{Context, Result, ensure};
use clew_e2e::recipe::Recipe;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_resumes_by_sequence() -> Result<()> {
    resumes("nats", "install-nats.sh").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_resumes_by_offset() -> Result<()> {
    resumes("kafka", "install-kafka.sh").await
}

async fn resumes(recipe: &str, broker: &str) -> Result<()> {
    let recipe = Recipe::new(recipe).await?.with(broker).await?;
    let printed = recipe
        .follow(&[
            "The servers",
            "With Clew",
            "Without resuming",
            "Without Clew",
            "Stop",
        ])
        .await?;
    let tables = printed.figures();
    println!("with Clew, without resuming, without Clew: {tables:?}");
    let [with, forgetful, without] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    let figure = |name: &str| with.get(name).copied().with_context(|| format!("no {name}"));
    let sent = figure("sent")?;
    ensure!(sent > 1000 && figure("got")? == 4 * sent, "{printed:?}");
    // Each of the thirty-two had to move at least once.
    ensure!(figure("closed with 1012")? >= 32, "{printed:?}");
    for none in [
        "lost",
        "doubled",
        "out of order",
        "rooms on several servers",
        "ended otherwise",
    ] {
        ensure!(figure(none)? == 0, "{none}: {printed:?}");
    }
    let lost = forgetful.get("lost").copied();
    ensure!(lost > Some(0), "the control that forgets: {printed:?}");
    for some in ["rooms on several servers", "ended otherwise"] {
        let count = without.get(some).copied();
        ensure!(count > Some(0), "the control, {some}: {printed:?}");
    }
    Ok(())
}
