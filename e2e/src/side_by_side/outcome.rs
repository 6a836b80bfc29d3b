//! What both sides go through, and what is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::balancer::Kind;
use clew_e2e::wait;
use clew_e2e::ws_client::{Session, Traffic};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::arm::{Arm, Clients};

const SOON: Duration = Duration::from_secs(30);
/// How long a handshake is tried again after its server died.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keys that went to another server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Movement {
    pub(crate) moved: usize,
    /// The keys of the server that joined or left: no fewer can move.
    pub(crate) minimum: usize,
    /// Keys that moved between servers that stayed.
    pub(crate) innocent: usize,
}

/// What became of the sessions of one side.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// The share of keys whose sessions were all on one server.
    pub(crate) sticky: f64,
    pub(crate) joins: Movement,
    pub(crate) leaves: Movement,
    /// Live sessions that a change of the configuration ended.
    pub(crate) lost_by_reload: usize,
    /// Sessions on a server that was drained and then ended.
    pub(crate) on_drained: usize,
    /// Those of them that got a Close.
    pub(crate) orderly: usize,
    /// The share of a dead server's keys whose first handshake was answered.
    pub(crate) answered_at_once: f64,
    /// The same, when it had been tried again for a while.
    pub(crate) answered_in_the_end: f64,
    /// How long that took.
    pub(crate) recovery: Duration,
}

type Homes = BTreeMap<usize, String>;

/// Where a session of each key lands.
async fn homes(arm: &Arm, clients: Clients, keys: usize) -> Result<Homes> {
    stream::iter(0..keys)
        .map(async |key| {
            let socket = arm.open(clients, key).await?;
            let home = socket.served_by();
            socket.goodbye().await?;
            Ok((key, home))
        })
        .buffered(16)
        .try_collect()
        .await
}

/// Where they land when a change is in force: twice the same, and as `is_seen` says.
async fn settled(
    arm: &Arm,
    clients: Clients,
    keys: usize,
    is_seen: impl Fn(&Homes) -> bool,
) -> Result<Homes> {
    let mut before = Homes::new();
    let settled = wait::until("sessions land as the change says", SOON, async || {
        let now = homes(arm, clients, keys).await.ok()?;
        let is_same = now == before;
        before = now.clone();
        (is_same && is_seen(&now)).then_some(now)
    });
    settled.await
}

fn movement(before: &Homes, after: &Homes, of: &str) -> Movement {
    let both = || {
        before
            .iter()
            .filter_map(|(key, home)| Some((home, after.get(key)?)))
    };
    let moved = || both().filter(|(one, two)| one != two);
    Movement {
        moved: moved().count(),
        minimum: both().filter(|(one, two)| *one == of || *two == of).count(),
        innocent: moved().filter(|(one, two)| *one != of && *two != of).count(),
    }
}

pub(crate) async fn measure(mut arm: Arm, clients: Clients, keys: usize) -> Result<Figures> {
    // Stickiness: three sessions of each key.
    let first = settled(&arm, clients, keys, |homes| {
        homes.values().collect::<std::collections::BTreeSet<_>>().len() > 1
    })
    .await?;
    let (second, third) = (
        homes(&arm, clients, keys).await?,
        homes(&arm, clients, keys).await?,
    );
    let kept = first
        .iter()
        .filter(|(key, home)| second.get(key) == Some(home) && third.get(key) == Some(home));
    let sticky = kept.count() as f64 / keys as f64;

    // A reload under live sessions.
    let mut sessions: Vec<Session> = stream::iter(0..keys)
        .map(async |key| {
            let socket = arm.open(clients, key).await?;
            Ok::<_, anyhow::Error>(socket.session(Traffic::every(Duration::from_millis(200), 64)))
        })
        .buffered(16)
        .try_collect()
        .await?;
    arm.configuration.idle += 1;
    arm.apply().await?;
    let echoes: Vec<u64> = sessions
        .iter()
        .map(|session| session.record().echoes.received)
        .collect();
    wait::until_true("every session has talked on after the reload", SOON, || {
        let talked = |(session, before): (&Session, &u64)| {
            session.record().echoes.received > before + 3 || !session.is_live()
        };
        sessions.iter().zip(&echoes).all(talked)
    })
    .await?;
    let lost_by_reload = sessions.iter().filter(|session| !session.is_live()).count();

    // A server joins.
    let before = settled(&arm, clients, keys, |_| true).await?;
    let joined = arm.add_server().await?;
    // Who brings a cookie stays; a newcomer is what shows that the server is there.
    wait::until("the new server takes sessions", SOON, async || {
        arm.forget(keys);
        let newcomers = stream::iter(keys..keys + 40)
            .map(|key| arm.open(clients, key))
            .buffered(8);
        let newcomers: Vec<_> = newcomers.try_collect().await.ok()?;
        newcomers
            .iter()
            .any(|socket| socket.served_by() == joined)
            .then_some(())
    })
    .await?;
    let with_four = settled(&arm, clients, keys, |_| true).await?;
    let joins = movement(&before, &with_four, &joined);

    // A server is drained, and ends when its time is over, as pods do.
    let drained = sessions.first().context("a session")?.served_by.clone();
    arm.drain(&drained).await?;
    let (mut on_it, rest): (Vec<_>, Vec<_>) = sessions
        .drain(..)
        .partition(|session| session.served_by == drained);
    if arm.closes() {
        wait::until_true("the drain is over", SOON, || {
            on_it.iter().all(|session| !session.is_live())
        })
        .await?;
    }
    arm.server(&drained)?.die();
    let mut orderly = 0;
    for session in &mut on_it {
        orderly += usize::from(session.ended(SOON).await?.close.is_some());
    }
    drop(rest);
    arm.remove(&drained).await?;
    let after = settled(&arm, clients, keys, |homes| {
        homes.values().all(|home| *home != drained)
    })
    .await?;
    let leaves = movement(&with_four, &after, &drained);

    // Another dies, and nobody tells the balancer.
    let victim = after.values().next().context("a home")?.clone();
    arm.server(&victim)?.die();
    let orphans: Vec<usize> = after
        .iter()
        .filter(|(_, home)| **home == victim)
        .map(|(key, _)| *key)
        .collect();
    let died = Instant::now();
    let mut at_once = 0;
    for key in &orphans {
        at_once += usize::from(arm.open(clients, *key).await.is_ok());
    }
    let in_the_end = stream::iter(&orphans)
        .map(async |key| {
            let answer = wait::until("an answer", PATIENCE, async || arm.open(clients, *key).await.ok());
            usize::from(answer.await.is_ok())
        })
        .buffer_unordered(orphans.len())
        .fold(0, async |sum, one| sum + one)
        .await;
    let share = |count: usize| count as f64 / orphans.len() as f64;
    Ok(Figures {
        sticky,
        joins,
        leaves,
        lost_by_reload,
        on_drained: on_it.len(),
        orderly,
        answered_at_once: share(at_once),
        answered_in_the_end: share(in_the_end),
        recovery: died.elapsed(),
    })
}

/// Both sides, row by row.
pub(crate) fn table(kind: Kind, what: &str, keys: usize, before: &Figures, after: &Figures) -> String {
    let moved = |one: &Movement| match one.minimum {
        0 => format!("{} (none had to)", one.moved),
        minimum => format!(
            "{} / {minimum} = {:.2}",
            one.moved,
            one.moved as f64 / minimum as f64
        ),
    };
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let rows = [
        (
            "keys that kept to one server",
            percent(before.sticky),
            percent(after.sticky),
        ),
        (
            "a server joins: moved / minimum",
            moved(&before.joins),
            moved(&after.joins),
        ),
        (
            "a server leaves: moved / minimum",
            moved(&before.leaves),
            moved(&after.leaves),
        ),
        (
            "sessions lost by a reload",
            before.lost_by_reload.to_string(),
            after.lost_by_reload.to_string(),
        ),
        (
            "drained sessions that got a Close",
            format!("{} of {}", before.orderly, before.on_drained),
            format!("{} of {}", after.orderly, after.on_drained),
        ),
        (
            "a server dies: handshakes answered at once",
            percent(before.answered_at_once),
            percent(after.answered_at_once),
        ),
        (
            "… and within 10 s",
            percent(before.answered_in_the_end),
            percent(after.answered_in_the_end),
        ),
    ];
    let mut table = format!(
        "{what}, {keys} keys:\n{:<46} {:>18} {:>18}\n",
        "",
        kind.name(),
        "Clew"
    );
    for (row, one, two) in rows {
        table += &format!("{row:<46} {one:>18} {two:>18}\n");
    }
    table
        + &format!(
            "{:<46} {:>16.1} s {:>16.1} s",
            "… which took",
            before.recovery.as_secs_f64(),
            after.recovery.as_secs_f64()
        )
}
