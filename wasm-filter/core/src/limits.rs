//! How many sessions and handshakes one proxy lets through, counted exactly over all its workers.
//!
//! What has a limit is a [`Subject`]: a rule, or a session key under a rule. Each worker knows its own sessions of each
//! subject, [`Seats`], and writes their number into a [`Bucket`], an entry that all workers share and change by
//! compare-and-swap; a session is admitted by the very swap that counts it. What a worker writes is always its own true
//! number, never a difference: a write that was lost is mended by the next one, and nothing is given back twice.
//!
//! The number of buckets is fixed, for Envoy never frees an entry; what stands in them is as long as there are sessions.
//! Keys are in them only as keyed hashes.

use clew_filter_config::limits::Limits;

use crate::placement::{KeyHash, Seed};
use crate::table::Table;

/// How many entries a gateway's subjects are spread over.
const BUCKETS: u64 = 4_096;
/// Bytes of a row: subject, member, sessions.
const ROW_BYTES: usize = 20;
/// Clients that were sent away together come back over so many seconds at least.
const SPREAD_S: u64 = 4;

/// What has a limit: a keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subject(u64);

impl Subject {
    /// The sessions of a rule (`namespace/route/rule`).
    #[must_use]
    pub fn rule(seed: &Seed, name: &str) -> Self {
        Self(seed.key(name.as_bytes()).0)
    }

    /// Those of them that have a key.
    #[must_use]
    pub fn key(self, seed: &Seed, key: KeyHash) -> Self {
        let both: Vec<u8> = [self.0, key.0].into_iter().flat_map(u64::to_le_bytes).collect();
        Self(seed.key(&both).0)
    }

    /// Which bucket it is counted in.
    #[must_use]
    pub const fn bucket(self) -> u64 {
        self.0 % BUCKETS
    }
}

/// An entry: how many sessions of a subject each worker has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket(Vec<Row>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    subject: Subject,
    member: u64,
    sessions: u32,
}

impl Bucket {
    /// Reads an entry; what is not a whole row is no row.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let row = |row: &[u8]| {
            let (subject, rest) = row.split_first_chunk::<8>()?;
            let (member, rest) = rest.split_first_chunk::<8>()?;
            Some(Row {
                subject: Subject(u64::from_le_bytes(*subject)),
                member: u64::from_le_bytes(*member),
                sessions: u32::from_le_bytes(*rest.first_chunk::<4>()?),
            })
        };
        Self(bytes.chunks_exact(ROW_BYTES).filter_map(row).collect())
    }

    /// 20 bytes a row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len().saturating_mul(ROW_BYTES));
        for row in &self.0 {
            bytes.extend(row.subject.0.to_le_bytes());
            bytes.extend(row.member.to_le_bytes());
            bytes.extend(row.sessions.to_le_bytes());
        }
        bytes
    }

    /// The sessions of a subject that other workers have.
    #[must_use]
    pub fn others(&self, subject: Subject, me: u64) -> u64 {
        self.0
            .iter()
            .filter(|row| row.subject == subject && row.member != me)
            .fold(0, |sum, row| sum.saturating_add(row.sessions.into()))
    }

    /// Writes how many sessions of a subject this worker has.
    pub fn set(&mut self, subject: Subject, me: u64, sessions: u32) {
        self.0.retain(|row| row.subject != subject || row.member != me);
        if sessions > 0 {
            self.0.push(Row {
                subject,
                member: me,
                sessions,
            });
        }
    }

    /// Drops what workers have left that are not there any more.
    pub fn bury(&mut self, me: u64, alive: &[u64]) {
        self.0
            .retain(|row| row.member == me || alive.contains(&row.member));
    }

    /// Takes one more session of a subject, of which this worker has `mine`. False: there are `most` of them.
    #[must_use]
    pub fn admit(&mut self, subject: Subject, me: u64, mine: u32, most: u32) -> bool {
        let more = mine.saturating_add(1);
        let fits = self.others(subject, me).saturating_add(more.into()) <= most.into();
        if fits {
            self.set(subject, me, more);
        }
        fits
    }
}

/// One worker's own sessions, by subject.
#[derive(Debug, Default)]
pub struct Seats {
    counts: Table<u64, u32>,
    /// The numbers that others were told.
    told: Table<u64, u32>,
    /// What they are to be told again.
    stale: Vec<u64>,
}

impl Seats {
    /// How many it has.
    #[must_use]
    pub fn of(&self, subject: Subject) -> u32 {
        self.counts.get(&subject.0).copied().unwrap_or_default()
    }

    /// One more.
    pub fn enter(&mut self, subject: Subject) {
        let count = self.counts.entry(subject.0).or_default();
        *count = count.saturating_add(1);
    }

    /// One less.
    pub fn leave(&mut self, subject: Subject) {
        let Some(count) = self.counts.get_mut(&subject.0) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&subject.0);
        }
    }

    /// Whether others were told that it has any.
    #[must_use]
    pub fn is_shared(&self, subject: Subject) -> bool {
        self.told.contains_key(&subject.0)
    }

    /// Others know the number as it is now.
    pub fn told(&mut self, subject: Subject) {
        match self.of(subject) {
            0 => self.told.remove(&subject.0),
            sessions => self.told.insert(subject.0, sessions),
        };
    }

    /// Others are to be told, with the next [`Self::take_stale`].
    pub fn tell(&mut self, subject: Subject) {
        if !self.stale.contains(&subject.0) {
            self.stale.push(subject.0);
        }
    }

    /// Others may have forgotten all of it.
    pub fn tell_all(&mut self) {
        self.stale = self.told.keys().copied().collect();
    }

    /// Of what others are to be told.
    #[must_use]
    pub fn take_stale(&mut self) -> Vec<Subject> {
        let stale = core::mem::take(&mut self.stale);
        stale.into_iter().map(Subject).collect()
    }
}

/// Takes a token from the bucket of a rule's handshakes. The entry is the moment until which tokens are spent, in
/// nanoseconds since the Unix epoch; the new one is returned.
///
/// # Errors
/// Nanoseconds until there is a token.
pub fn take(limits: &Limits, entry: &[u8], now_ns: u64) -> Result<[u8; 8], u64> {
    let every = limits.handshake_interval_ns.max(1);
    let full = every.saturating_mul(limits.handshake_burst.max(1).into());
    let latest = now_ns.saturating_add(full);
    let spent = entry
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // Where a clock was set back, the bucket is empty and fills from now on.
    let spent = spent.clamp(now_ns, latest).saturating_add(every);
    match spent.checked_sub(latest) {
        None | Some(0) => Ok(spent.to_le_bytes()),
        Some(wait) => Err(wait),
    }
}

/// The value of `Retry-After`, in seconds: when there is a token, and at random up to as long again, so that clients that
/// were sent away together do not come back together.
#[must_use]
pub fn retry_after(wait_ns: u64, draw: u64) -> u64 {
    let wait = wait_ns.div_ceil(1_000_000_000).max(1);
    let spread = wait.max(SPREAD_S);
    wait.saturating_add(draw.checked_rem(spread).unwrap_or_default())
}

#[cfg(test)]
mod tests;
