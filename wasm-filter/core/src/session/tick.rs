//! Time passes: when a session is to leave, and how it is made to.

use clew_filter_config::terms::Terms;

use super::cause::Cause;
use super::farewell::Farewell;
use super::{Action, Direction, HANDSHAKE_PATIENCE_MS, Now, Session};
use crate::drain::{Leave, Turns, Window};

/// Sessions that are too old all at once, as the terms have changed, end within this, or within the last tenth of what
/// they may last.
const LONGEST_SPREAD_MS: u64 = 60_000;

impl Session {
    pub(super) fn tick(&mut self, leave: Option<(Window, &mut Turns)>, now: Now, terms: &Terms) -> Action {
        let (Some(opened), false) = (self.opened, self.reset) else {
            self.due = if self.reset { u64::MAX } else { 0 };
            return Action::Pass;
        };
        self.set_moment(leave, now.ms);
        self.set_end(opened, now.ms, terms);
        if !self.told() {
            self.decide(now, terms);
        }
        let action = if let Some(farewell) = self.farewell {
            self.due = 0;
            self.pursue(farewell, now.ms)
        } else {
            self.due = self.next(now, terms);
            // The two ends are closing it, but it does not come to an end.
            if now.ms < self.due {
                return Action::Pass;
            }
            self.reset()
        };
        if self.reset {
            self.due = u64::MAX;
        }
        action
    }

    /// Its moment in the window in which it has to leave.
    fn set_moment(&mut self, leave: Option<(Window, &mut Turns)>, now: u64) {
        self.drain = match (leave, self.drain) {
            // The drain was called off.
            (None, _) => None,
            (Some((window, _)), Some((before, leave))) if window == before => Some((window, leave)),
            (Some((window, turns)), _) => Some((window, Leave::new(window, turns.deal(), now))),
        };
    }

    /// The end of what it may last: in the last tenth of that, lest all who came together leave together.
    fn set_end(&mut self, opened: u64, now: u64, terms: &Terms) {
        let longest = terms.max_duration_ms;
        let (before, _) = self.duration;
        if longest == before {
            return;
        }
        let spread = |over: u64| {
            let share = u128::from(over).saturating_mul(self.lot.into()) >> 32;
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let tenth = longest / 10;
        let end = opened.saturating_add(longest).saturating_sub(spread(tenth));
        let end = match longest {
            0 => u64::MAX,
            _ if end < now => now.saturating_add(spread(tenth.min(LONGEST_SPREAD_MS))),
            _ => end,
        };
        self.duration = (longest, end);
    }

    /// Whether our Close is wanted, while nobody has been told anything: what called for it may be over.
    fn decide(&mut self, now: Now, terms: &Terms) {
        let cause = self.cause(now, terms);
        let same = |farewell: &Farewell| Some(farewell.cause) == cause;
        self.farewell = match (cause, self.farewell.filter(same), self.drain) {
            (None, ..) => None,
            (Some(Cause::Drain), before, Some((_, leave))) => Some(Farewell {
                deadline: leave.deadline,
                ..before.unwrap_or(Farewell::until(Cause::Drain, now.ms, leave.deadline))
            }),
            (Some(cause), before, _) => Some(before.unwrap_or(Farewell::new(cause, now.ms))),
        };
    }

    fn cause(&self, now: Now, terms: &Terms) -> Option<Cause> {
        let (_, end) = self.duration;
        let moment = self.drain.map_or(u64::MAX, |(_, leave)| leave.close_at);
        if self.first_close.is_some() {
            // It is closing by itself.
            None
        } else if self.expires.is_some_and(|end| now.unix_ms >= end) {
            Some(Cause::TokenExpired)
        } else if now.ms >= moment {
            Some(Cause::Drain)
        } else if now.ms >= end {
            Some(Cause::Duration)
        } else if now.ms >= self.idle_from(terms) {
            Some(Cause::Idle)
        } else {
            None
        }
    }

    fn idle_from(&self, terms: &Terms) -> u64 {
        match terms.idle_ms {
            0 => u64::MAX,
            idle => self.stirred.saturating_add(idle),
        }
    }

    /// When something is to be done next, while our Close is not wanted.
    fn next(&self, now: Now, terms: &Terms) -> u64 {
        let (_, end) = self.duration;
        match (self.first_close, self.drain) {
            (Some((_, since)), drain) => drain
                .map_or(u64::MAX, |(_, leave)| leave.deadline)
                .min(since.saturating_add(HANDSHAKE_PATIENCE_MS)),
            (None, drain) => drain
                .map_or(u64::MAX, |(_, leave)| leave.close_at)
                .min(self.expires.map_or(u64::MAX, |end| now.when(end)))
                .min(end)
                .min(self.idle_from(terms)),
        }
    }

    fn pursue(&mut self, mut farewell: Farewell, now: u64) -> Action {
        let cause = farewell.cause;
        if now >= farewell.end_by(self.response.told, self.request.told) {
            return self.reset();
        }
        let any_frame = now >= farewell.any_frame_from();
        if self.response.untold() {
            if self.response.writable(any_frame) {
                self.response.told = Some(now);
                return Action::Write(Direction::Response, cause);
            }
            // It went silent in the middle of a burst. Whatever the server says next, our Close follows it.
            let asks = !farewell.pinged && self.request.untold() && self.request.writable(any_frame);
            if asks && self.response.silent() {
                farewell.pinged = true;
                self.farewell = Some(farewell);
                return Action::Ping;
            }
        }
        let told_too = now >= farewell.server_from(self.response.told);
        if told_too && self.request.untold() && self.request.writable(any_frame) {
            self.request.told = Some(now);
            return Action::Write(Direction::Request, cause);
        }
        Action::Pass
    }

    const fn reset(&mut self) -> Action {
        self.reset = true;
        Action::Reset(match self.farewell {
            Some(farewell) => Some(farewell.cause),
            None => None,
        })
    }
}
