//! What both sides go through, and what is counted of their sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balancer::Kind;
use crate::statistics::peak;
use crate::wait;
use crate::ws_client::{Session, Traffic};
use anyhow::{Context, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::arm::{Arm, Clients};

const SOON: Duration = Duration::from_secs(30);
/// And for each key more, for all are looked at several times.
const EACH: Duration = Duration::from_millis(200);
/// How long a handshake is tried again after its server died.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keys that went to another server.
#[derive(Debug, Clone, Copy)]
pub struct Movement {
    /// How many did.
    pub moved: usize,
    /// The keys of the server that joined or left: no fewer can move.
    pub minimum: usize,
    /// Keys that moved between servers that stayed.
    pub innocent: usize,
}

/// What became of the sessions of one side.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The share of keys whose sessions were all on one server.
    pub sticky: f64,
    /// A server joins.
    pub joins: Movement,
    /// A server leaves.
    pub leaves: Movement,
    /// Live sessions that were gone when the server that joined was seen to be there.
    pub lost_by_reload: usize,
    /// Sessions on a server that was drained and then ended.
    pub on_drained: usize,
    /// Those of them that got a Close.
    pub orderly: usize,
    /// Messages of theirs that were sent whole and had no answer.
    pub unanswered: u64,
    /// The most of them that ended within a tenth of the drain's time ÷ an even tenth.
    pub peak: f64,
    /// The share of a dead server's keys whose first handshake was answered.
    pub answered_at_once: f64,
    /// The same, when it had been tried again for a while.
    pub answered_in_the_end: f64,
    /// How long that took.
    pub recovery: Duration,
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
    let mut last = String::new();
    let limit = SOON + EACH * u32::try_from(keys)?;
    let settled = wait::until("sessions land as the change says", limit, async || {
        let now = match homes(arm, clients, keys).await {
            Ok(now) => now,
            Err(error) => {
                last = format!("{error:#}");
                return None;
            }
        };
        let is_same = now == before;
        let differ = now.iter().filter(|(key, home)| before.get(key) != Some(home));
        last = format!("{} landed elsewhere than before", differ.count());
        before = now.clone();
        (is_same && is_seen(&now)).then_some(now)
    })
    .await;
    settled.with_context(|| format!("with {}: {last}\n{}", arm.name(), arm.log()))
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

/// Sends an arm through all of it.
///
/// # Errors
/// When something of it does not come about.
pub async fn measure(mut arm: Arm, clients: Clients, keys: usize) -> Result<Outcome> {
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

    let mut sessions: Vec<Session> = stream::iter(0..keys)
        .map(async |key| {
            let socket = arm.open(clients, key).await?;
            Ok::<_, anyhow::Error>(socket.session(Traffic::every(Duration::from_millis(200), 64)))
        })
        .buffered(16)
        .try_collect()
        .await?;
    // A server joins, by a reload under live sessions.
    let before = settled(&arm, clients, keys, |_| true).await?;
    arm.configuration.idle += 1;
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
    let echoes: Vec<u64> = sessions
        .iter()
        .map(|session| session.record().echoes.received)
        .collect();
    wait::until_true(
        "every session has talked on with the new configuration",
        SOON,
        || {
            let talked = |(session, before): (&Session, &u64)| {
                session.record().echoes.received > before + 3 || !session.is_live()
            };
            sessions.iter().zip(&echoes).all(talked)
        },
    )
    .await?;
    let lost_by_reload = sessions.iter().filter(|session| !session.is_live()).count();

    let with_four = settled(&arm, clients, keys, |_| true).await?;
    let joins = movement(&before, &with_four, &joined);

    // A server is drained and ends: Clew gets its time, the others know no drain of who is there.
    let drained = sessions.first().context("a session")?.served_by.clone();
    let drained_at = Instant::now();
    arm.drain(&drained).await?;
    let (mut on_it, rest): (Vec<_>, Vec<_>) = sessions
        .drain(..)
        .partition(|session| session.served_by == drained);
    if arm.closes() {
        wait::until_true("the drain is over", arm.drain + SOON, || {
            on_it.iter().all(|session| !session.is_live())
        })
        .await?;
    }
    arm.server(&drained)?.die();
    let (mut orderly, mut unanswered, mut ends) = (0, 0, Vec::new());
    for session in &mut on_it {
        let record = session.ended(SOON).await?;
        orderly += usize::from(record.close.is_some());
        unanswered += record.sent.saturating_sub(record.echoes.received);
        let closed = record.close.map(|(.., at)| at);
        let ended = closed.or(record.end.map(|(_, at)| at)).context("an end")?;
        ends.push((ended - drained_at).as_secs_f64());
    }
    let tenth = arm.drain.as_secs_f64() / 10.0;
    let peak = peak(&ends, tenth) as f64 / (ends.len() as f64 / 10.0);
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
    Ok(Outcome {
        sticky,
        joins,
        leaves,
        lost_by_reload,
        on_drained: on_it.len(),
        orderly,
        unanswered,
        peak,
        answered_at_once: share(at_once),
        answered_in_the_end: share(in_the_end),
        recovery: died.elapsed(),
    })
}

/// Both sides, row by row.
pub fn table(kind: Kind, what: &str, keys: usize, before: &Outcome, after: &Outcome) -> String {
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
            "… their messages without an answer",
            before.unanswered.to_string(),
            after.unanswered.to_string(),
        ),
        (
            "… who ended at once at most ÷ evenly",
            format!("{:.1}", before.peak),
            format!("{:.1}", after.peak),
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
