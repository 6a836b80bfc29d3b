//! One session, from its upgrade request to its end: told of what passes and of the time, it answers what to do.
//!
//! While its pod drains it is closed *client first*. At its moment our Close goes to the client, at a message boundary.
//! What the client still sends passes, up to and with its own Close, so the server sees an orderly end. What the
//! server sends after our Close cannot be delivered (RFC 6455, 5.5.1): it is dropped and counted. A client that does not
//! answer is given up, and our Close goes to the server. What is left at the deadline is reset.

mod arming;
mod data;
#[cfg(test)]
mod tests;
mod way;

use clew_filter_config::rule::Draining;

use self::arming::Budget;
pub use self::arming::Pace;
use self::way::Way;
use crate::drain::{Leave, Turns};

/// How long each side has to answer a Close.
pub const PATIENCE_MS: u64 = 5_000;
/// How long our Close waits for the end of a message that has begun, before it takes the boundary in front of it.
const WAIT_FOR_MESSAGE_MS: u64 = 1_000;
/// How long before the deadline the server gets our Close at the latest.
const LAST_WORD_MS: u64 = 500;

/// A direction of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Request,
    /// From the server to the client.
    Response,
}

/// What happened.
pub enum Event<'a> {
    /// The 101 passed.
    Opened,
    /// A direction's buffer holds bytes that may pass.
    Data {
        /// Which direction.
        direction: Direction,
        /// How many: all that the buffer holds, those of earlier events that were paused included.
        len: usize,
        /// Copies bytes from an offset of the buffer, and says how many.
        read: &'a mut dyn FnMut(usize, &mut [u8]) -> usize,
    },
    /// A direction that was paused to arm it goes on.
    Resumed(Direction),
    /// Time passed.
    Tick {
        /// The window in which the session has to leave, and who deals the moments in it.
        leave: Option<(Draining, &'a mut Turns)>,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the bytes pass.
    Pass,
    /// Pause the direction and let it go on right after: from then until its next bytes, [`Action::Write`] works.
    Arm,
    /// The first `keep` bytes of the buffer pass, our Close follows, the rest is dropped.
    Close {
        /// How many bytes pass.
        keep: usize,
    },
    /// The bytes of the buffer are dropped.
    Drop,
    /// Write our Close into a direction that is armed.
    Write(Direction),
    /// Write a Ping into the request direction, which is armed: the server's Pong is an event of the other.
    Ping,
    /// Reset the stream.
    Reset,
}

/// When an event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch, as of the last tick.
    pub ms: u64,
    /// Counts the ticks.
    pub tick: u32,
    /// Whether the worker has much to do: [`Pace`].
    pub busy: bool,
}

/// What passed, for the metrics of a rule. Index 0 is the request direction, 1 the response direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole data messages.
    pub messages: [u64; 2],
    /// Bytes of frames.
    pub bytes: [u64; 2],
    /// Bytes of the server that a drain dropped.
    pub dropped: u64,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client's Close came first.
    Client,
    /// The server's Close came first.
    Server,
    /// We closed it, and it went.
    Drain,
    /// We closed it, and had to reset it.
    Reset,
    /// Without any Close.
    Aborted,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Session {
    request: Way,
    response: Way,
    phase: Phase,
    opened: bool,
    first_close: Option<Direction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Its moment is set.
    Leaving {
        window: Draining,
        leave: Leave,
        pinged: bool,
    },
    /// Our Close went to the client, which has to answer.
    Closing {
        window: Draining,
        answer_by: u64,
        deadline: u64,
    },
    /// The client answered: the server has to end it.
    Closed {
        end_by: u64,
    },
    /// The client did not answer, and the server got our Close.
    GivenUp {
        end_by: u64,
    },
    Reset,
}

impl Session {
    /// An upgrade request that was placed. `armable`: whether the proxy can write into an idle stream.
    #[must_use]
    pub fn new(armable: bool) -> Self {
        Self {
            request: Way::new(armable, Budget::REQUEST),
            response: Way::new(armable, Budget::RESPONSE),
            phase: Phase::Open,
            opened: false,
            first_close: None,
        }
    }

    /// Tells what happened; answers what to do. Whoever cannot do it says so by [`Session::failed`].
    pub fn on(&mut self, event: Event<'_>, now: Now, traffic: &mut Traffic) -> Action {
        match event {
            Event::Opened => self.opened = true,
            Event::Resumed(direction) => self.way(direction).arming.resumed(),
            Event::Tick { leave } => return self.tick(leave, now.ms),
            Event::Data {
                direction: Direction::Request,
                len,
                read,
            } => {
                return self.request(len, read, now, traffic);
            }
            Event::Data {
                direction: Direction::Response,
                len,
                read,
            } => {
                return self.response(len, read, now, traffic);
            }
        }
        Action::Pass
    }

    /// An action could not be carried out.
    pub fn failed(&mut self, action: Action, now: Now) {
        if action == Action::Reset {
            return;
        }
        self.request.arming.disarm();
        self.response.arming.disarm();
        match (action, self.phase) {
            // Nothing reached the client: the next boundary will do, and the deadline remains.
            (Action::Write(_) | Action::Close { .. }, Phase::Closing { window, deadline, .. }) => {
                self.phase = Phase::Leaving {
                    window,
                    leave: Leave {
                        close_at: now.ms,
                        deadline,
                    },
                    pinged: false,
                };
            }
            // Nothing reached the server, and there is nothing else to try.
            (Action::Write(_) | Action::Close { .. }, Phase::GivenUp { .. }) => {
                self.phase = Phase::GivenUp { end_by: now.ms };
            }
            _ => {}
        }
    }

    /// Whether a direction was paused and does not go on yet.
    #[must_use]
    pub const fn paused(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.request.arming.paused(),
            Direction::Response => self.response.arming.paused(),
        }
    }

    /// Whether ticks matter to it although its pod does not drain.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        !matches!(self.phase, Phase::Open | Phase::Reset)
    }

    /// What to count it as, now that it is over.
    #[must_use]
    pub const fn ended(&self) -> Ended {
        match (self.phase, self.first_close) {
            (Phase::Reset, _) => Ended::Reset,
            (Phase::Closing { .. } | Phase::Closed { .. } | Phase::GivenUp { .. }, _) => Ended::Drain,
            (_, Some(Direction::Request)) => Ended::Client,
            (_, Some(Direction::Response)) => Ended::Server,
            (_, None) => Ended::Aborted,
        }
    }

    const fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    fn closing(&mut self, window: Draining, leave: Leave, now: u64) {
        let last_word = leave.deadline.saturating_sub(LAST_WORD_MS).max(now);
        self.phase = Phase::Closing {
            window,
            answer_by: last_word.min(now.saturating_add(PATIENCE_MS)),
            deadline: leave.deadline,
        };
    }

    fn give_up(&mut self, deadline: u64, now: u64) {
        self.phase = Phase::GivenUp {
            end_by: deadline.min(now.saturating_add(PATIENCE_MS)),
        };
    }

    fn tick(&mut self, leave: Option<(Draining, &mut Turns)>, now: u64) -> Action {
        if !self.opened {
            return Action::Pass;
        }
        match (self.phase, leave) {
            (Phase::Open, Some((window, turns))) => {
                let leave = Leave::new(window, turns.deal(), now);
                self.phase = Phase::Leaving {
                    window,
                    leave,
                    pinged: false,
                };
            }
            // The drain was called off.
            (Phase::Leaving { .. }, None) => self.phase = Phase::Open,
            (Phase::Leaving { window, .. }, Some((other, turns))) if window != other => {
                let leave = Leave::new(other, turns.deal(), now);
                self.phase = Phase::Leaving {
                    window: other,
                    leave,
                    pinged: false,
                };
            }
            _ => {}
        }
        match self.phase {
            Phase::Leaving { leave, .. } if now >= leave.deadline => self.reset(),
            Phase::Leaving {
                window,
                leave,
                pinged,
            } if now >= leave.close_at && self.first_close.is_none() => {
                if self.response.writable() {
                    self.closing(window, leave, now);
                    return Action::Write(Direction::Response);
                }
                // It went silent in the middle of a burst. Whatever the server says next, our Close follows it.
                if !pinged && self.response.silent() && self.request.writable() {
                    self.phase = Phase::Leaving {
                        window,
                        leave,
                        pinged: true,
                    };
                    return Action::Ping;
                }
                Action::Pass
            }
            Phase::Closing {
                answer_by, deadline, ..
            } if now >= answer_by => {
                if now < deadline && self.request.writable() {
                    self.give_up(deadline, now);
                    Action::Write(Direction::Request)
                } else if now >= deadline.min(answer_by.saturating_add(LAST_WORD_MS)) {
                    self.reset()
                } else {
                    Action::Pass
                }
            }
            Phase::GivenUp { end_by } if now >= end_by => self.reset(),
            // The client had its orderly end: the stream is only cleared away, and counts as closed.
            Phase::Closed { end_by } if now >= end_by => {
                self.phase = Phase::Closed { end_by: u64::MAX };
                Action::Reset
            }
            _ => Action::Pass,
        }
    }

    const fn reset(&mut self) -> Action {
        self.phase = Phase::Reset;
        Action::Reset
    }
}
