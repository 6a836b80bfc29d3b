//! The real NGINX and HAProxy run a configuration, and beside them `clew run` runs what `clew migrate` made of it: the same servers, the same
//! clients, the same events, and a table of what became of the sessions.

#![expect(clippy::print_stdout, reason = "the table is what the reader came for")]

mod rooms;

use std::time::Duration;

use anyhow::{Result, ensure};
use clew_e2e::side_by_side::{Outcome, Way, table, ways};

const BOUND: &str = "HAProxy checks its servers and gives the session of a dead one to another. Clew's token holds its session to its server while \
    that is in the EndpointSlice, and a 101 of any other is never shown.";

/// How long a drain takes.
const DRAIN: Duration = Duration::from_secs(2);

/// How many keys are followed.
fn keys() -> usize {
    if std::env::var_os("CLEW_E2E_FULL").is_some() {
        1000
    } else {
        150
    }
}

/// Both arms through the same events, one after the other; `loses` says why Clew does worse when a server dies, where it does.
async fn compare(way: Way, loses: Option<&str>) -> Result<[Outcome; 2]> {
    let both = way.compare(keys(), DRAIN).await?;
    let [before, after] = &both;
    println!("{}", table(way.kind, way.what, keys(), before, after));
    ensure!(
        after.sticky >= before.sticky && after.sticky == 1.0,
        "keys that kept to one server: {} with {}, {} with Clew",
        before.sticky,
        way.kind.name(),
        after.sticky
    );
    ensure!(
        after.joins.moved - after.joins.minimum.min(after.joins.moved)
            <= before.joins.moved - before.joins.minimum.min(before.joins.moved),
        "a server joins: {:?}, with Clew {:?}",
        before.joins,
        after.joins
    );
    ensure!(
        after.joins.innocent == 0 && after.leaves.innocent == 0,
        "{after:?}"
    );
    ensure!(
        after.leaves.innocent <= before.leaves.innocent,
        "{before:?} {after:?}"
    );
    ensure!(after.lost_by_reload == 0, "a reload: {after:?}");
    ensure!(
        after.on_drained > 0 && before.on_drained > 0,
        "the drain was seen: {before:?} {after:?}"
    );
    ensure!(
        after.orderly == after.on_drained && before.orderly <= before.on_drained,
        "a drain: {before:?} {after:?}"
    );
    match loses {
        None => ensure!(after.answered_in_the_end == 1.0, "a server dies: {after:?}"),
        Some(why) => {
            println!(
                "{}: fewer handshakes are answered with Clew when a server dies: {why}",
                way.what
            );
            ensure!(
                after.answered_in_the_end < before.answered_in_the_end,
                "that is no longer so: {after:?}"
            );
        }
    }
    Ok(both)
}

/// The rows are as they are for a reason: a drain without Closes, and keys that move without need.
async fn moves_keys_without_need(way: Way) -> Result<()> {
    let [before, _] = compare(way, None).await?;
    ensure!(
        before.joins.innocent > 0,
        "the control moves keys without need: {before:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_ip_hash() -> Result<()> {
    moves_keys_without_need(ways::NGINX_IP_HASH).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_hash_of_a_query_parameter() -> Result<()> {
    compare(ways::NGINX_QUERY, None).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_hash_of_a_cookie() -> Result<()> {
    moves_keys_without_need(ways::NGINX_COOKIE).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_source() -> Result<()> {
    compare(ways::HAPROXY_SOURCE, None).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_url_param() -> Result<()> {
    moves_keys_without_need(ways::HAPROXY_QUERY).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_cookie_insert() -> Result<()> {
    compare(ways::HAPROXY_COOKIE, Some(BOUND)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_stick_table() -> Result<()> {
    compare(ways::HAPROXY_STICK_TABLE, None).await.map(drop)
}
