//! Whether a direction can be written to while nothing passes.
//!
//! Envoy ≥ 1.40 takes bytes from outside a direction's data events only after one of these was paused and let go on, and
//! until the next. So each event of a quiet direction is paused for the blink of an eye, lest it be the last before a
//! long silence. A busy one is spared: it runs out of tokens, and its next event is never far.

use super::Action;

/// How many events are paused.
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
        burst: 64,
        per_tick: 16,
    };
    /// Servers stream.
    pub(super) const RESPONSE: Self = Self {
        burst: 16,
        per_tick: 2,
    };
}

/// A paused event holds its bytes in Envoy's buffer, whose limit is for all that gathers there: large ones pass.
const LARGEST: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Arming {
    budget: Budget,
    state: State,
    tokens: u32,
    tick: u32,
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
        }
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

    /// Bytes are there, `len` in all. `hold`: they have to wait anyway.
    pub(super) fn data(&mut self, len: usize, tick: u32, hold: bool) -> Action {
        if self.state == State::Impossible {
            return Action::Pass;
        }
        let refill = tick.wrapping_sub(self.tick).saturating_mul(self.budget.per_tick);
        self.tokens = self.tokens.saturating_add(refill).min(self.budget.burst);
        self.tick = tick;
        if hold {
            self.state = State::Paused { held: len };
            return Action::Arm;
        }
        match self.tokens.checked_sub(1) {
            Some(tokens) if len <= LARGEST => {
                self.tokens = tokens;
                self.state = State::Paused { held: len };
                Action::Arm
            }
            _ => {
                self.state = State::Disarmed;
                Action::Pass
            }
        }
    }
}
