//! The limits of rules: what the core counts, in entries that the workers share.

use clew_filter_config::rule::Reason;
use clew_filter_core::handshake::Random;
use clew_filter_core::limits::{self, Bucket, Subject};
use clew_filter_core::live::Members;
use clew_filter_core::placement::{KeyHash, Seed};
use clew_filter_core::store::Names;
use clew_filter_core::world::{LaidRule, World};

use super::read;
use crate::host;
use crate::vm::Dice;

/// How often an entry is swapped that others swap at the same time. Each time somebody else has come further.
const MOST_SWAPS: u32 = 1_000;

/// One worker's seats, and what it tells the others of them.
pub(super) struct Seats {
    names: Names,
    mine: limits::Seats,
}

/// What a handshake asks the limits for.
pub(super) struct Asked<'a> {
    pub(super) rule: &'a LaidRule,
    pub(super) seed: &'a Seed,
    /// The key, where its sessions are counted.
    pub(super) key: Option<KeyHash>,
    pub(super) me: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
}

/// What a session holds from its handshake to its end.
#[derive(Debug)]
pub(crate) struct Held {
    rule: Subject,
    key: Option<Subject>,
}

/// A handshake that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// Seconds until it may come again, where that is known.
    pub(crate) retry_after: Option<u64>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }
}

impl Seats {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            mine: limits::Seats::default(),
        }
    }

    /// First the key's limit, then the rule's, last the rate: who is refused by one takes nothing from the next, so a key
    /// that hammers at its own limit costs nobody else a place or a token.
    pub(super) fn admit(&mut self, asked: &Asked<'_>, dice: &mut Dice) -> Result<Held, Refusal> {
        let limits = &asked.rule.rule.limits;
        let mut held = Held {
            rule: asked.rule.subject,
            key: None,
        };
        if limits.sessions_per_key > 0
            && let Some(key) = asked.key
        {
            let subject = asked.rule.subject.key(asked.seed, key);
            self.enter(subject, limits.sessions_per_key, asked)?;
            held.key = Some(subject);
        }
        let entered = if limits.sessions > 0 {
            self.enter(held.rule, limits.sessions, asked)
        } else {
            self.mine.enter(held.rule);
            if self.mine.is_shared(held.rule) {
                // It was limited, and may be again.
                self.mine.tell(held.rule);
            }
            Ok(())
        };
        if let Err(refusal) = entered {
            if let Some(key) = held.key {
                self.give_back(key, asked.me);
            }
            return Err(refusal);
        }
        if limits.handshake_interval_ns > 0
            && let Err(refusal) = self.take_token(asked, dice)
        {
            self.leave(held, asked.me);
            return Err(refusal);
        }
        Ok(held)
    }

    /// A session is over, or its handshake has failed.
    pub(super) fn leave(&mut self, held: Held, me: u64) {
        self.give_back(held.rule, me);
        if let Some(key) = held.key {
            self.give_back(key, me);
        }
    }

    /// Rules are not what they were: others are to be told of the sessions of those that were not limited before.
    pub(super) fn limited(&mut self, world: &World) {
        for rule in world.rules().filter(|rule| rule.rule.limits.sessions > 0) {
            if self.mine.of(rule.subject) > 0 && !self.mine.is_shared(rule.subject) {
                self.mine.tell(rule.subject);
            }
        }
    }

    /// Tells others what they do not know.
    pub(super) fn tick(&mut self, me: u64) {
        for subject in self.mine.take_stale() {
            self.tell(subject, me);
        }
    }

    /// Others took this worker for dead, and may have dropped its rows.
    pub(super) fn tell_all(&mut self) {
        self.mine.tell_all();
    }

    fn enter(&mut self, subject: Subject, most: u32, asked: &Asked<'_>) -> Result<(), Refusal> {
        let mine = self.mine.of(subject);
        let name = self.names.seats(subject.bucket());
        swap(&name, &mut |bytes| {
            let mut bucket = Bucket::decode(bytes);
            if !bucket.admit(subject, asked.me, mine, most) {
                // Only now does it matter whether somebody of those is dead.
                let members = read(&self.names.members()).unwrap_or_default();
                let alive: Vec<_> = Members::decode(&members).alive(asked.now).collect();
                bucket.bury(asked.me, &alive);
                if !bucket.admit(subject, asked.me, mine, most) {
                    return None;
                }
            }
            Some(bucket.encode())
        })
        .map_err(|Unswapped| Refusal::from(Reason::TooManySessions))?;
        self.mine.enter(subject);
        self.mine.told(subject);
        Ok(())
    }

    fn give_back(&mut self, subject: Subject, me: u64) {
        self.mine.leave(subject);
        if self.mine.is_shared(subject) {
            self.tell(subject, me);
        }
    }

    fn tell(&mut self, subject: Subject, me: u64) {
        let mine = self.mine.of(subject);
        let name = self.names.seats(subject.bucket());
        let told = swap(&name, &mut |bytes| {
            let mut bucket = Bucket::decode(bytes);
            bucket.set(subject, me, mine);
            Some(bucket.encode())
        });
        match told {
            Ok(()) => self.mine.told(subject),
            // Again with the next tick.
            Err(Unswapped) => self.mine.tell(subject),
        }
    }

    fn take_token(&self, asked: &Asked<'_>, dice: &mut Dice) -> Result<(), Refusal> {
        let limits = &asked.rule.rule.limits;
        // The time of the last tick is too old to count tokens by.
        let now = host::unix_ns().unwrap_or_else(|_| asked.now.saturating_mul(1_000_000));
        let mut wait = 0;
        swap(
            &self.names.rate(&asked.rule.rule.name),
            &mut |bytes| match limits::take(limits, bytes, now) {
                Ok(entry) => Some(entry.to_vec()),
                Err(until) => {
                    wait = until;
                    None
                }
            },
        )
        .map_err(|Unswapped| Refusal {
            reason: Reason::RateLimited,
            retry_after: Some(limits::retry_after(wait, dice.draw())),
        })
    }
}

/// An entry stayed as it was.
#[derive(Debug)]
pub(super) struct Unswapped;

/// Changes a shared entry; `change` answers what it shall be, from what it is (empty where there is none), or that it
/// shall stay. It may be asked several times.
pub(super) fn swap(name: &str, change: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> Result<(), Unswapped> {
    for _ in 0..MOST_SWAPS {
        let (bytes, number) = match host::shared(name) {
            Ok(Some(entry)) => entry,
            // Envoy creates an entry under any number, and refuses this one if somebody else created it meanwhile.
            Ok(None) => (Vec::new(), u32::MAX),
            Err(_) => return Err(Unswapped),
        };
        let new = change(&bytes).ok_or(Unswapped)?;
        if new == bytes || host::set_shared(name, &new, number).is_ok() {
            return Ok(());
        }
    }
    Err(Unswapped)
}
