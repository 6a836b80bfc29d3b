//! The real NGINX and HAProxy run a configuration, and beside them `clew run` runs what `clew migrate` made of it: the same servers, the same
//! clients, the same events, and a table of what became of the sessions.

#![expect(clippy::print_stdout, reason = "the table is what the reader came for")]

mod arm;
mod figures;

use anyhow::{Result, ensure};
use clew_e2e::balancer::Kind;

use arm::{Arm, Clients};
use figures::Figures;

const BOUND: &str = "HAProxy checks its servers and gives the session of a dead one to another. Clew's token holds its session to its server while \
    that is in the EndpointSlice, and a 101 of any other is never shown.";

/// How many keys are followed.
fn keys() -> usize {
    if std::env::var_os("CLEW_E2E_FULL").is_some() {
        1000
    } else {
        150
    }
}

/// Both arms through the same events, one after the other; `loses` says why Clew does worse when a server dies, where it does.
async fn compare(
    kind: Kind,
    what: &str,
    balance: &'static str,
    clients: Clients,
    loses: Option<&str>,
) -> Result<(Figures, Figures)> {
    let before = figures::measure(Arm::balancer(kind, balance).await?, clients, keys()).await?;
    let after = figures::measure(Arm::clew(kind, balance).await?, clients, keys()).await?;
    println!("{}", figures::table(kind, what, keys(), &before, &after));
    ensure!(
        after.sticky >= before.sticky && after.sticky == 1.0,
        "keys that kept to one server: {} with {}, {} with Clew",
        before.sticky,
        kind.name(),
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
            println!("{what}: fewer handshakes are answered with Clew when a server dies: {why}");
            ensure!(
                after.answered_in_the_end < before.answered_in_the_end,
                "that is no longer so: {after:?}"
            );
        }
    }
    Ok((before, after))
}

/// The rows are as they are for a reason: a drain without Closes, and keys that move without need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_ip_hash() -> Result<()> {
    let (before, _) = compare(Kind::Nginx, "ip_hash", "ip_hash;", Clients::Addresses, None).await?;
    ensure!(
        before.joins.innocent > 0,
        "the control moves keys without need: {before:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_hash_of_a_query_parameter() -> Result<()> {
    compare(
        Kind::Nginx,
        "hash $arg_room consistent",
        "hash $arg_room consistent;",
        Clients::Query,
        None,
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_hash_of_a_cookie() -> Result<()> {
    let (before, _) = compare(
        Kind::Nginx,
        "hash $cookie_sid",
        "hash $cookie_sid;",
        Clients::Cookie,
        None,
    )
    .await?;
    ensure!(
        before.joins.innocent > 0,
        "the control moves keys without need: {before:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_source() -> Result<()> {
    let balance = "balance source\nhash-type consistent";
    compare(
        Kind::Haproxy,
        "balance source, consistent",
        balance,
        Clients::Addresses,
        None,
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_url_param() -> Result<()> {
    let (before, _) = compare(
        Kind::Haproxy,
        "balance url_param room",
        "balance url_param room",
        Clients::Query,
        None,
    )
    .await?;
    ensure!(
        before.joins.innocent > 0,
        "the control moves keys without need: {before:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_cookie_insert() -> Result<()> {
    let balance = "balance roundrobin\ncookie SERVERID insert indirect nocache";
    compare(
        Kind::Haproxy,
        "cookie SERVERID insert",
        balance,
        Clients::Jar,
        Some(BOUND),
    )
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_stick_table() -> Result<()> {
    let balance = "balance roundrobin\nstick-table type ip size 100k expire 30m\nstick on src";
    compare(Kind::Haproxy, "stick on src", balance, Clients::Addresses, None).await?;
    Ok(())
}
