//! One session, from its upgrade request to its end: told of what passes and of the time, it answers what to do.
//!
//! Whoever begins to close, it ends. A closing handshake that the two ends begin passes untouched, and is cut only when
//! it does not come to an end. What *we* close has a [`Cause`], and goes in one of two orders.
//!
//! *Client first*: our Close goes to the client, at a message boundary. What the client still sends passes, up to and with
//! its own Close, so the server sees an orderly end. What the server sends after our Close cannot be delivered (RFC 6455,
//! 5.5.1): it is dropped and counted. A client that does not answer is given up, and our Close goes to the server.
//!
//! *Both*, where nothing may pass any more: our Close goes to each side at the next end of a message, or soon of a frame. A
//! frame that breaks a limit is cut off in front of its header; whatever its sender says after that is dropped.
//!
//! What is left at the deadline is reset.

mod arming;
mod cause;
mod data;
mod farewell;
mod rate;
#[cfg(test)]
mod tests;
mod tick;
mod way;

use clew_filter_config::rule::DrainPolicy;
use clew_filter_config::terms::Terms;

use self::arming::Budget;
pub use self::arming::Pace;
pub use self::cause::Cause;
use self::farewell::Farewell;
use self::rate::Bucket;
use self::way::Way;
use crate::drain::{Leave, Turns, Window};

/// How long each side has to answer a Close of ours.
pub const PATIENCE_MS: u64 = 5_000;
/// How long the two ends have for a closing handshake of their own, from its first Close on.
pub const HANDSHAKE_PATIENCE_MS: u64 = 30_000;
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
    /// Time passed, or something else is known: see [`Session::due`].
    Tick {
        /// The window in which the session has to leave, and who deals the moments in it.
        leave: Option<(Window, &'a mut Turns)>,
    },
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the bytes pass.
    Pass,
    /// Pause the direction and let it go on right after: from then until its next bytes, [`Action::Write`] works.
    Arm,
    /// The direction is armed, and stays so: its bytes go on within the event, and it is paused behind them.
    StayArmed,
    /// The first `keep` bytes of the buffer pass. The rest is dropped, and goes in front of the direction's next bytes:
    /// [`Session::kept_back`] has it until then.
    KeepBack {
        /// How many bytes pass.
        keep: usize,
    },
    /// The first `keep` bytes of the buffer pass, our Close follows, the rest is dropped.
    Close {
        /// How many bytes pass.
        keep: usize,
        /// What our Close says.
        cause: Cause,
    },
    /// The bytes of the buffer are dropped.
    Drop,
    /// Write our Close into a direction that is armed.
    Write(Direction, Cause),
    /// Write a Ping into the request direction, which is armed: the server's Pong is an event of the other.
    Ping,
    /// Reset the stream. With the cause, if it was closing for one of ours.
    Reset(Option<Cause>),
}

/// When an event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the worker's clock, which never steps, as of the last tick; for bytes of a client whose messages have
    /// a rate, as of now.
    pub ms: u64,
    /// Milliseconds since the Unix epoch, as of the last tick. Somebody may set that clock at any time: it is for moments
    /// that others name.
    pub unix_ms: u64,
    /// Counts the ticks.
    pub tick: u32,
    /// Whether the worker has much to do: [`Pace`].
    pub busy: bool,
}

impl Now {
    /// When a moment since the Unix epoch is by the worker's clock, as far as the clocks say now.
    #[must_use]
    pub const fn when(&self, unix_ms: u64) -> u64 {
        match unix_ms.checked_sub(self.unix_ms) {
            Some(later) => self.ms.saturating_add(later),
            None => self.ms.saturating_sub(self.unix_ms.saturating_sub(unix_ms)),
        }
    }

    /// How far the clocks are apart: what changes when somebody sets one.
    #[must_use]
    pub const fn apart(&self) -> i64 {
        self.unix_ms.wrapping_sub(self.ms).cast_signed()
    }
}

/// What passed. Index 0 is the request direction, 1 the response direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole data messages.
    pub messages: [u64; 2],
    /// Bytes of frames.
    pub bytes: [u64; 2],
    /// Bytes of the server that a drain dropped.
    pub dropped: u64,
}

impl Traffic {
    /// More passed.
    pub fn add(&mut self, more: &Self) {
        let sum = |to: &mut [u64; 2], of: &[u64; 2]| {
            for (to, of) in to.iter_mut().zip(of) {
                *to = to.saturating_add(*of);
            }
        };
        sum(&mut self.messages, &more.messages);
        sum(&mut self.bytes, &more.bytes);
        self.dropped = self.dropped.saturating_add(more.dropped);
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client's Close came first.
    Client,
    /// The server's Close came first.
    Server,
    /// We closed it.
    Ours {
        /// Why.
        cause: Cause,
        /// It did not go, and had to be reset.
        reset: bool,
    },
    /// Without any Close.
    Aborted,
}

/// One session. Its times are [`Now::ms`], but for the end of its token.
#[derive(Clone, Debug)]
pub struct Session {
    request: Way,
    response: Way,
    opened: Option<u64>,
    /// When a byte last came.
    stirred: u64,
    /// Spreads what happens to many sessions: a fraction, in units of 2⁻³².
    lot: u32,
    /// The longest duration under which its end was set, and the end.
    duration: (u64, u64),
    /// Milliseconds since the Unix epoch.
    expires: Option<u64>,
    /// The window in which it has to leave, and its moment in it.
    drain: Option<(Window, Leave)>,
    farewell: Option<Farewell>,
    /// Whose Close came first, and when.
    first_close: Option<(Direction, u64)>,
    /// The code of that one, once it is known.
    first_code: Option<u16>,
    rate: Bucket,
    reset: bool,
    due: u64,
}

impl Session {
    /// An upgrade request that was placed. `armable`: whether the proxy can write into an idle stream. `lot`: any number,
    /// by which sessions of one age do not end in one moment.
    #[must_use]
    pub fn new(armable: bool, lot: u32) -> Self {
        Self {
            request: Way::new(armable, Budget::REQUEST),
            response: Way::new(armable, Budget::RESPONSE),
            opened: None,
            stirred: 0,
            lot,
            duration: (0, u64::MAX),
            expires: None,
            drain: None,
            farewell: None,
            first_close: None,
            first_code: None,
            rate: Bucket::default(),
            reset: false,
            due: 0,
        }
    }

    /// A stream's buffer takes no more than one read of its client's connection may bring: the direction of a client that sends much is not kept
    /// armed.
    pub const fn narrow(&mut self) {
        self.request.arming.narrow();
    }

    /// The client's token is good until this moment since the Unix epoch: then the session is closed.
    pub const fn expires_at(&mut self, unix_ms: u64) {
        self.expires = Some(unix_ms);
        self.due = 0;
    }

    /// Tells what happened; answers what to do. `terms`: those of its rule, as they are now. Whoever cannot do it says so
    /// by [`Session::failed`].
    pub fn on(&mut self, event: Event<'_>, now: Now, terms: &Terms, traffic: &mut Traffic) -> Action {
        match event {
            Event::Opened => {
                self.opened = Some(now.ms);
                self.stirred = now.ms;
                Action::Pass
            }
            Event::Resumed(direction) => {
                self.way(direction).arming.resumed();
                Action::Pass
            }
            Event::Tick { leave } => self.tick(leave, now, terms),
            Event::Data { direction, len, read } => self.data(direction, len, read, (now, terms), traffic),
        }
    }

    /// An action could not be carried out.
    pub fn failed(&mut self, action: Action, now: Now) {
        let direction = match action {
            Action::Reset(_) => return,
            Action::Write(direction, _) => Some(direction),
            _ => None,
        };
        self.request.arming.disarm();
        self.response.arming.disarm();
        self.due = 0;
        if let Some(direction) = direction {
            // Nothing reached it: the next boundary will do, and the deadline remains.
            self.way(direction).told = None;
        } else if matches!(
            action,
            Action::Close { .. } | Action::Drop | Action::KeepBack { .. }
        ) {
            // What must not pass has passed, or what must has not: nothing does any more.
            let cause = self.farewell.map_or(Cause::Protocol, |farewell| farewell.cause);
            self.farewell = Some(Farewell::until(cause, now.ms, now.ms));
            self.request.told = Some(now.ms);
            self.response.told = Some(now.ms);
        }
    }

    /// What was kept back of a direction and goes in front of its next bytes.
    #[must_use]
    pub fn kept_back(&self, direction: Direction) -> &[u8] {
        match direction {
            Direction::Request => self.request.kept_back(),
            Direction::Response => self.response.kept_back(),
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

    /// No tick before this moment concerns it, unless its terms or the window in which it leaves change, or somebody sets
    /// the clock.
    #[must_use]
    pub const fn due(&self) -> u64 {
        self.due
    }

    /// What to count it as, now that it is over.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match (&self.farewell, self.first_close) {
            (Some(farewell), _) if self.reset || self.told() => Ended::Ours {
                cause: farewell.cause,
                reset: self.reset && farewell.answered.is_none(),
            },
            (_, Some((Direction::Request, _))) => Ended::Client,
            (_, Some((Direction::Response, _))) => Ended::Server,
            (_, None) => Ended::Aborted,
        }
    }

    /// The code with which it was closed, now that it is over; what has none of its own is named as RFC 6455, 7.4.1 has
    /// it. `drain`: what our Close said to those who leave a pod.
    #[must_use]
    pub fn close_code(&self, drain: &DrainPolicy) -> u16 {
        const NO_STATUS: u16 = 1005;
        const ABNORMAL: u16 = 1006;
        match self.ended() {
            Ended::Ours { cause, .. } if self.told() => cause.says(drain).0,
            Ended::Client | Ended::Server => self.first_code.unwrap_or(NO_STATUS),
            Ended::Ours { .. } | Ended::Aborted => ABNORMAL,
        }
    }

    const fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Whether a Close of ours went anywhere.
    #[must_use]
    pub const fn told(&self) -> bool {
        self.request.told.is_some() || self.response.told.is_some()
    }

    /// When the server is to get our Close too.
    fn server_from(&self) -> Option<u64> {
        Some(self.farewell?.server_from(self.response.told))
    }
}
