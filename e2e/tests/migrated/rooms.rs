//! Rooms that were shared through a store are in the memory of one server, and all servers restart: nobody misses a message, and it is the store that sees to that.

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::side_by_side::rooms::{Outcome, Side, Size, Store, measure};

const SIZE: Size = Size {
    rooms: 6,
    each: 5,
    alone: 6,
    every: Duration::from_millis(100),
    drain: Duration::from_secs(3),
    warm: 4,
    steady: 10,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_shared_through_redis() -> Result<()> {
    let through_store = compare(Store::Redis).await?;
    let alone = measure(Store::Redis, Side::Alone, &SIZE).await?;
    ensure!(
        alone.lost > 0,
        "the control with nothing between the servers: {alone:?}"
    );
    ensure!(
        alone.cpu.store < through_store / 4.0,
        "what costs CPU where nothing goes through the store: {alone:?}, against {through_store}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_shared_through_nats() -> Result<()> {
    compare(Store::Nats).await?;
    Ok(())
}

/// What the store spends on a message that goes through it.
async fn compare(store: Store) -> Result<f64> {
    let before = measure(store, Side::InTurn, &SIZE).await?;
    let after = measure(store, Side::ByRoom, &SIZE).await?;
    println!("{} with NGINX: {before:?}\nwith Clew: {after:?}", store.name());
    for one in [&before, &after] {
        ensure!(
            one.said > 500 && one.ended >= SIZE.people(),
            "all servers were restarted: {one:?}"
        );
        ensure!(one.lost == 0 && one.doubled == 0 && one.late == 0, "{one:?}");
    }
    ensure!(after.orderly == after.ended, "{after:?}");
    // A server with a single person has all of its people back at once.
    let busiest = |one: &Outcome| one.peaks.iter().sum::<f64>() / one.peaks.len() as f64;
    ensure!(busiest(&after) < busiest(&before), "{before:?} {after:?}");
    let remembers = |one: &Outcome| one.crash.map(|crash| crash.remembered);
    ensure!(remembers(&before) == Some(1.0), "a store remembers: {before:?}");
    ensure!(remembers(&after) < Some(1.0), "memory does not: {after:?}");
    Ok(before.cpu.store)
}
