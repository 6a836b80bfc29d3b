//! Rooms that a broker carries: all servers restart while people talk, and who resumes misses nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clew_e2e::recipe::{Printed, Recipe};

type Table<'a> = BTreeMap<&'a str, u64>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_resumes_by_sequence() -> Result<()> {
    resumes("nats").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_resumes_by_offset() -> Result<()> {
    resumes("kafka").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_resumes_by_offset_and_waits_for_who_reads_slowly() -> Result<()> {
    let printed = follow("rabbitmq", &["Who reads slowly"]).await?;
    let tables = printed.figures();
    let [restarts @ .., slow, eager] = tables.as_slice() else {
        anyhow::bail!("{printed:?}");
    };
    nothing_is_missed(restarts).with_context(|| format!("{printed:?}"))?;
    println!("one does not read: {slow:?}; acknowledged before it is sent: {eager:?}");
    let sent = figure(slow, "sent")?;
    for all in ["got by the others", "got by that one afterwards"] {
        ensure!(figure(slow, all)? == sent, "{all}: {printed:?}");
    }
    ensure!(figure(slow, "got by who does not read")? == 0, "{printed:?}");
    let before = figure(slow, "ms until the others hear, before")?;
    let meanwhile = figure(slow, "ms until the others hear, meanwhile")?;
    ensure!(meanwhile <= 5 * before + 50, "{printed:?}");
    let held = |table| figure(table, "most messages held for a session");
    // A chunk of the stream comes as a whole, and is as long as what came in at once.
    ensure!(held(slow)? >= 32, "{printed:?}");
    ensure!(
        2 * held(slow)? < held(eager)?,
        "the control that is eager: {printed:?}"
    );
    Ok(())
}

async fn resumes(broker: &str) -> Result<()> {
    let printed = follow(broker, &[]).await?;
    nothing_is_missed(&printed.figures()).with_context(|| format!("{printed:?}"))
}

/// The broker's page, and what it shows besides.
async fn follow(broker: &str, besides: &[&str]) -> Result<Printed> {
    let recipe = Recipe::new(broker).await?;
    let recipe = recipe.with(&format!("install-{broker}.sh")).await?;
    let restarts = ["The servers", "With Clew", "Without resuming", "Without Clew"];
    recipe.follow(&[&restarts, besides, &["Stop"]].concat()).await
}

fn nothing_is_missed(tables: &[Table<'_>]) -> Result<()> {
    println!("with Clew, without resuming, without Clew: {tables:?}");
    let [with, forgetful, without] = tables else {
        anyhow::bail!("{} tables", tables.len());
    };
    let sent = figure(with, "sent")?;
    ensure!(sent > 1000 && figure(with, "got")? == 4 * sent, "not all is got");
    // Each of the thirty-two had to move at least once.
    ensure!(figure(with, "closed with 1012")? >= 32, "not all were moved");
    for none in [
        "lost",
        "doubled",
        "out of order",
        "rooms on several servers",
        "ended otherwise",
    ] {
        ensure!(figure(with, none)? == 0, "{none}");
    }
    ensure!(figure(forgetful, "lost")? > 0, "the control that forgets");
    for some in ["rooms on several servers", "ended otherwise"] {
        ensure!(figure(without, some)? > 0, "the control, {some}");
    }
    Ok(())
}

fn figure(table: &Table<'_>, name: &str) -> Result<u64> {
    table.get(name).copied().with_context(|| format!("no {name}"))
}
