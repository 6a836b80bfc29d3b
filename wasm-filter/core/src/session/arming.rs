//! Whether a direction can be written to while nothing passes.
//!
//! Envoy ≥ 1.40 takes bytes from outside a direction's data events only after one of these was paused and let go on, and
//! until the next. So an event is paused for the blink of an eye, lest it be the last before a long silence. The first
//! time, somebody has to come back and let it go on. In a direction that is armed already Envoy adds the bytes to its own
//! buffer before it tells of them, so they can be let go on within the event, which costs about as much as the event
//! itself and waits for nobody. A worker that has time keeps both directions of each session armed. A busy one does what
//! keeps a session reachable: by one direction at least, for as long as the session talks no more than its budget
//! allows. Who talks more is seldom silent for long, and met at its next event.

use super::{Action, Now};

/// What a worker that has time passes between two ticks, at most: less than a hundredth of its time goes into arming by
/// these.
const UNHURRIED: u32 = 1024;

/// How much a worker has to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Data events since the last tick.
    events: u32,
    /// It had much to do before that.
    hurried: bool,
}

impl Pace {
    /// A data event; whether the worker is busy.
    pub const fn event(&mut self) -> bool {
        self.events = self.events.saturating_add(1);
        self.hurried || self.events > UNHURRIED
    }

    /// A tick.
    pub const fn tick(&mut self) {
        self.hurried = self.events > UNHURRIED;
        self.events = 0;
    }
}

/// How many events of a direction a busy worker pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// In a row.
    burst: u32,
    /// More with each tick.
    per_tick: u32,
}

impl Budget {
    /// Clients seldom say much at once, and a client's direction that is armed serves both: the server answers a Ping.
    pub(super) const REQUEST: Self = Self {
        burst: 128,
        per_tick: 2,
    };
    /// Servers stream.
    pub(super) const RESPONSE: Self = Self {
        burst: 16,
        per_tick: 2,
    };
}

/// What waits to be let go on gathers in Envoy's buffer, and so does what comes in one event of an armed direction; beyond
/// the buffer's limit the stream is reset. A direction that brings much is disarmed.
const LARGEST: usize = 16 * 1024;

/// Where a stream's buffer takes no more than one read may bring, so much between two ticks ends the arming for good. What the kernel keeps for
/// a connection grows with what comes, up to many MiB, and a worker that stalls finds all of that at once: in a direction that is armed or
/// paused it would go beyond the limit.
const WIDE: u32 = 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Arming {
    budget: Budget,
    state: State,
    tokens: u32,
    tick: u32,
    narrow: bool,
    /// In this tick, if narrow.
    brought: (u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Impossible,
    Disarmed,
    /// Not yet let go on; so many bytes are in the buffer, and were looked at.
    Paused {
        held: usize,
    },
    Armed,
}

impl Arming {
    pub(super) const fn new(possible: bool, budget: Budget) -> Self {
        let state = if possible {
            State::Disarmed
        } else {
            State::Impossible
        };
        Self {
            state,
            tokens: budget.burst,
            budget,
            tick: 0,
            narrow: false,
            brought: (0, 0),
        }
    }

    /// The stream's buffer takes no more than one read may bring.
    pub(super) const fn narrow(&mut self) {
        self.narrow = true;
    }

    /// How many bytes of the buffer were seen by an earlier event.
    pub(super) const fn held(&self) -> usize {
        match self.state {
            State::Paused { held } => held,
            _ => 0,
        }
    }

    pub(super) const fn paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }

    pub(super) const fn armed(&self) -> bool {
        matches!(self.state, State::Armed)
    }

    pub(super) fn disarmed(&self) -> bool {
        self.state == State::Disarmed
    }

    pub(super) fn resumed(&mut self) {
        if let State::Paused { .. } = self.state {
            self.state = State::Armed;
        }
    }

    pub(super) fn disarm(&mut self) {
        if self.state != State::Impossible {
            self.state = State::Disarmed;
        }
    }

    /// Whether the session can be reached by this direction, now or as soon as it goes on.
    pub(super) const fn reachable(&self) -> bool {
        matches!(self.state, State::Paused { .. } | State::Armed)
    }

    /// Bytes are there, `len` in all. `hold`: they have to wait anyway. `other`: the other direction is reachable.
    pub(super) fn data(&mut self, len: usize, now: Now, hold: bool, other: bool) -> Action {
        if self.narrow && self.brings_much(len.saturating_sub(self.held()), now) {
            self.state = State::Impossible;
        }
        if self.state == State::Impossible {
            return Action::Pass;
        }
        if !hold && (len > LARGEST || !self.affordable(now, other)) {
            self.state = State::Disarmed;
            return Action::Pass;
        }
        if self.state == State::Armed {
            return Action::StayArmed;
        }
        self.state = State::Paused { held: len };
        Action::Arm
    }

    fn brings_much(&mut self, new: usize, now: Now) -> bool {
        let (tick, before) = self.brought;
        let before = if tick == now.tick { before } else { 0 };
        let brought = before.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        self.brought = (now.tick, brought);
        brought > WIDE
    }

    fn affordable(&mut self, now: Now, other: bool) -> bool {
        let refill = now
            .tick
            .wrapping_sub(self.tick)
            .saturating_mul(self.budget.per_tick);
        self.tokens = self.tokens.saturating_add(refill).min(self.budget.burst);
        self.tick = now.tick;
        if !now.busy {
            return true;
        }
        // Better to reach the client directly than by the server's Pong, if it costs little.
        let kept = if other { self.budget.burst / 2 } else { 0 };
        let affordable = self.tokens > kept;
        if affordable {
            self.tokens = self.tokens.saturating_sub(1);
        }
        affordable
    }
}
