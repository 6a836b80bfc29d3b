//! One session, from its upgrade request to its end: told of what passes and of the time, it answers what to do.
//!
//! While its pod drains it is closed *client first*. At its moment our Close goes to the client, at a message boundary.
//! What the client still sends passes, up to and with its own Close, so the server sees an orderly end. What the
//! server sends after our Close cannot be delivered (RFC 6455, 5.5.1): it is dropped and counted. A client that does not
//! answer is given up, and our Close goes to the server. What is left at the deadline is reset.

mod arming;
#[cfg(test)]
mod tests;

use clew_filter_config::rule::Draining;

use self::arming::Arming;
use crate::drain::{Leave, Turns};
use crate::frame::{self, Opcode, Tracker};

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

/// One direction.
#[derive(Clone, Debug)]
struct Way {
    tracker: Tracker,
    arming: Arming,
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
        let way = Way {
            tracker: Tracker::new(),
            arming: Arming::new(armable),
        };
        Self {
            request: way.clone(),
            response: way,
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

    fn request(
        &mut self,
        len: usize,
        read: &mut dyn FnMut(usize, &mut [u8]) -> usize,
        now: Now,
        traffic: &mut Traffic,
    ) -> Action {
        let held = self.request.arming.held();
        let new = len.saturating_sub(held);
        if matches!(self.phase, Phase::GivenUp { .. } | Phase::Reset) {
            // The server had its last word from us.
            return if len == 0 { Action::Pass } else { Action::Drop };
        }
        let [messages, _] = &mut traffic.messages;
        let [bytes, _] = &mut traffic.bytes;
        *bytes = bytes.saturating_add(new as u64);
        let mut closes = false;
        self.request.tracker.advance(
            new,
            |at, out| read(held.saturating_add(at), out),
            |_, event| match event {
                frame::Event::Message => *messages = messages.saturating_add(1),
                frame::Event::Close(_) => closes = true,
                _ => {}
            },
        );
        if closes {
            self.first_close.get_or_insert(Direction::Request);
        }
        match self.phase {
            Phase::Closing { deadline, .. } if closes => {
                self.phase = Phase::Closed {
                    end_by: deadline.min(now.ms.saturating_add(PATIENCE_MS)),
                };
            }
            // It talks on instead of answering.
            Phase::Closing {
                answer_by, deadline, ..
            } if now.ms >= answer_by && self.request.tracker.at_boundary() => {
                self.give_up(deadline, now.ms);
                self.request.arming.disarm();
                return Action::Close { keep: len };
            }
            _ => {}
        }
        // The server takes nothing before its 101, so the direction may as well wait for that: it is armed for free.
        let whatever = !self.opened || matches!(self.phase, Phase::Closing { .. });
        self.request.pass(len, now, whatever)
    }

    fn response(
        &mut self,
        len: usize,
        read: &mut dyn FnMut(usize, &mut [u8]) -> usize,
        now: Now,
        traffic: &mut Traffic,
    ) -> Action {
        let held = self.response.arming.held();
        let new = len.saturating_sub(held);
        match self.phase {
            Phase::Open | Phase::Leaving { .. } => {}
            Phase::Closing { .. } | Phase::Closed { .. } | Phase::GivenUp { .. } | Phase::Reset => {
                let undelivered = self.undeliverable(held, new, read);
                traffic.dropped = traffic.dropped.saturating_add(undelivered);
                return if len == 0 { Action::Pass } else { Action::Drop };
            }
        }
        let [_, messages] = &mut traffic.messages;
        let [_, bytes] = &mut traffic.bytes;
        *bytes = bytes.saturating_add(new as u64);
        let mut boundary = None;
        let mut closes = false;
        self.response.tracker.advance(
            new,
            |at, out| read(held.saturating_add(at), out),
            |at, event| match event {
                frame::Event::Message => *messages = messages.saturating_add(1),
                frame::Event::Boundary => boundary = Some(held.saturating_add(at)),
                frame::Event::Close(_) => closes = true,
                _ => {}
            },
        );
        if closes {
            self.first_close.get_or_insert(Direction::Response);
        }
        let mut due = false;
        if let Phase::Leaving { window, leave, .. } = self.phase
            && now.ms >= leave.close_at
            && self.first_close.is_none()
            && self.opened
        {
            due = true;
            // Best is an end of all that is here. A message that has begun is waited for, but not for long.
            let keep = if self.response.tracker.at_boundary() {
                Some(len)
            } else {
                boundary.filter(|_| now.ms >= leave.close_at.saturating_add(WAIT_FOR_MESSAGE_MS))
            };
            if let Some(keep) = keep {
                traffic.dropped = traffic.dropped.saturating_add(len.saturating_sub(keep) as u64);
                self.response.arming.disarm();
                self.closing(window, leave, now.ms);
                return Action::Close { keep };
            }
        }
        self.response.pass(len, now, due)
    }

    /// How many of the server's bytes are lost to the client: all but its Close, which needs no delivery any more.
    fn undeliverable(
        &mut self,
        held: usize,
        new: usize,
        read: &mut dyn FnMut(usize, &mut [u8]) -> usize,
    ) -> u64 {
        /// Of a server's Close: it is not masked, and at most 125 bytes long.
        const CLOSE_HEADER: usize = 2;
        let mut lost = if self.response.tracker.closed() { 0 } else { new };
        self.response.tracker.advance(
            new,
            |at, out| read(held.saturating_add(at), out),
            |at, event| {
                if let frame::Event::Frame(frame) = event
                    && frame.opcode == Opcode::Close
                {
                    lost = at.saturating_sub(CLOSE_HEADER);
                }
            },
        );
        lost as u64
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

impl Way {
    /// Lets bytes pass, and arms the direction with them: `whatever` it costs, or if it is not too busy.
    fn pass(&mut self, len: usize, now: Now, whatever: bool) -> Action {
        if self.tracker.closed() {
            // Nothing of ours may follow a Close.
            self.arming.disarm();
            return Action::Pass;
        }
        self.arming.data(len, now.tick, whatever)
    }

    /// Whether a frame of ours could be written, were the direction armed.
    fn silent(&self) -> bool {
        self.arming.disarmed() && self.tracker.at_boundary()
    }

    /// Whether a frame of ours can be written from outside the direction's own events.
    const fn writable(&self) -> bool {
        self.arming.armed() && self.tracker.at_boundary()
    }
}
