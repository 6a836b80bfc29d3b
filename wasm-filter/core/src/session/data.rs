//! What passes: followed, counted, and cut where our Close is wanted.

use clew_filter_config::terms::Terms;

use super::cause::{Cause, Order};
use super::farewell::Farewell;
use super::way::Way;
use super::{Action, Direction, HANDSHAKE_PATIENCE_MS, Now, Session, Traffic, WAIT_FOR_MESSAGE_MS};
use crate::frame::{self, Opcode};

/// Copies bytes from an offset of a buffer, and says how many.
type Read<'a> = &'a mut dyn FnMut(usize, &mut [u8]) -> usize;

/// What a chunk holds. Positions are counted from the begin of the buffer.
#[derive(Default)]
struct Seen {
    /// Whole data messages.
    messages: u64,
    /// Where a message ended last, and no other began.
    boundary: Option<usize>,
    /// Where the next header begins, or began last. `None`: it is not whole, or unknown.
    header: Option<u64>,
    /// The sender's Close, and where it begins.
    close: Option<Option<u64>>,
    /// That Close's code.
    code: Option<u16>,
    /// A frame that must not pass, and where it begins.
    breach: Option<(Cause, Option<u64>)>,
}

impl Session {
    pub(super) fn data(
        &mut self,
        direction: Direction,
        len: usize,
        read: Read<'_>,
        (now, terms): (Now, &Terms),
        traffic: &mut Traffic,
    ) -> Action {
        let way = self.way(direction);
        let held = way.arming.held();
        let new = len.saturating_sub(held);
        if new > 0 {
            way.came_back();
            self.stir(now.ms);
        }
        if self.reset || self.way(direction).told.is_some() {
            return self.swallow(direction, (held, new), read, now, traffic);
        }
        let seen = self.follow(direction, (held, new), read, (now, terms));
        let [received, sent] = &mut traffic.messages;
        let messages = match direction {
            Direction::Request => received,
            Direction::Response => sent,
        };
        *messages = messages.saturating_add(seen.messages);
        if seen.close.is_some() {
            self.closing(direction, now.ms);
        }
        if seen.code.is_some() && self.first_close.is_some_and(|(first, _)| first == direction) {
            self.first_code = seen.code;
        }
        let action = match seen.breach {
            Some((cause, begins)) => self.cut_off(direction, cause, begins, now),
            None => self.let_pass(direction, len, (new, &seen), (now, terms)),
        };
        let kept = match action {
            Action::Close { keep, .. } | Action::KeepBack { keep } => keep,
            Action::Drop => held,
            _ => len,
        };
        let [received, sent] = &mut traffic.bytes;
        let bytes = match direction {
            Direction::Request => received,
            Direction::Response => sent,
        };
        *bytes = bytes.saturating_add(kept.saturating_sub(held) as u64);
        if let Action::Close { keep, cause } = action
            && cause == Cause::Drain
            && direction == Direction::Response
        {
            let end = seen
                .close
                .flatten()
                .and_then(|begins| usize::try_from(begins).ok());
            let lost = end.unwrap_or(len).saturating_sub(keep);
            traffic.dropped = traffic.dropped.saturating_add(lost as u64);
        }
        action
    }

    /// Bytes came.
    fn stir(&mut self, now: u64) {
        self.stirred = now;
        let idle = |farewell: &Farewell| farewell.cause == Cause::Idle && !farewell.pinged;
        if !self.told() && self.farewell.as_ref().is_some_and(idle) {
            self.farewell = None;
        }
    }

    /// The sender of a direction closes.
    fn closing(&mut self, direction: Direction, now: u64) {
        if self.first_close.is_none() {
            self.first_close = Some((direction, now));
            self.due = self.due.min(now.saturating_add(HANDSHAKE_PATIENCE_MS));
        }
        if !self.told() {
            // It goes by itself.
            self.farewell = None;
        } else if let (Direction::Request, Some(farewell)) = (direction, &mut self.farewell) {
            farewell.answered.get_or_insert(now);
        }
    }

    fn follow(
        &mut self,
        direction: Direction,
        (held, new): (usize, usize),
        read: Read<'_>,
        (now, terms): (Now, &Terms),
    ) -> Seen {
        let rated = direction == Direction::Request && terms.is_rated();
        let limited = is_limited(direction, terms);
        let bucket = &mut self.rate;
        let Way { tracker, message, .. } = match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        };
        let mut seen = Seen {
            header: tracker
                .left_of_frame()
                .map(|left| left.saturating_add(held as u64)),
            ..Seen::default()
        };
        let offset = |at: usize| held.saturating_add(at);
        tracker.advance(
            new,
            |at, out| read(offset(at), out),
            |at, event| match event {
                // What follows does not pass.
                _ if seen.breach.is_some() => {}
                frame::Event::Frame(frame) => {
                    let begins = seen.header;
                    seen.header = Some((offset(at) as u64).saturating_add(frame.len));
                    match frame.opcode {
                        Opcode::Close => seen.close = Some(begins),
                        Opcode::Ping | Opcode::Pong => {}
                        Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                            let begun = frame.opcode != Opcode::Continuation;
                            *message = if begun { 0 } else { *message }.saturating_add(frame.len);
                            if terms.max_message_bytes > 0 && *message > terms.max_message_bytes {
                                seen.breach = Some((Cause::MessageSize, begins));
                            } else if rated && begun && !bucket.take(terms, now.ms) {
                                seen.breach = Some((Cause::MessageRate, begins));
                            }
                        }
                    }
                }
                frame::Event::Message => seen.messages = seen.messages.saturating_add(1),
                frame::Event::Boundary => seen.boundary = Some(offset(at)),
                frame::Event::Close(code) => seen.code = code,
                frame::Event::Lost(_) if limited => seen.breach = Some((Cause::Protocol, seen.header)),
                frame::Event::Lost(_) => seen.header = None,
            },
        );
        seen
    }

    /// A frame must not pass: our Close takes its place.
    fn cut_off(&mut self, direction: Direction, cause: Cause, begins: Option<u64>, now: Now) -> Action {
        self.farewell = match self.farewell {
            // The other side has been told something else.
            Some(farewell) if self.told() => Some(Farewell {
                deadline: farewell.deadline.min(now.ms.saturating_add(cause.limit())),
                ..farewell
            }),
            _ => Some(Farewell::new(cause, now.ms)),
        };
        self.due = 0;
        let way = self.way(direction);
        way.told = Some(now.ms);
        way.arming.disarm();
        // Without its begin, which has passed, there is no place for a Close.
        match begins.map(usize::try_from) {
            Some(Ok(keep)) => Action::Close { keep, cause },
            _ => Action::Drop,
        }
    }

    fn let_pass(
        &mut self,
        direction: Direction,
        len: usize,
        (new, seen): (usize, &Seen),
        (now, terms): (Now, &Terms),
    ) -> Action {
        let before_its_101 = self.opened.is_none();
        let server_from = self.server_from();
        let farewell = self.farewell.filter(|_| !before_its_101);
        let way = self.way(direction);
        let wanted = farewell.filter(|_| match direction {
            _ if new == 0 => false,
            Direction::Request => server_from.is_some_and(|from| now.ms >= from),
            Direction::Response => true,
        });
        if let Some(farewell) = wanted
            && let Some(keep) = place(&farewell, way, len, seen, now.ms)
        {
            way.told = Some(now.ms);
            way.arming.disarm();
            return Action::Close {
                keep,
                cause: farewell.cause,
            };
        }
        if is_limited(direction, terms)
            && let kept_back @ 1.. = way.keep_back(new)
        {
            way.arming.disarm();
            let keep = len.saturating_sub(kept_back);
            return Action::KeepBack { keep };
        }
        // The server takes nothing before its 101, so the direction may as well wait for that: it is armed for free.
        let free = before_its_101 && direction == Direction::Request;
        let whatever = free || farewell.is_some();
        let other = direction == Direction::Response && self.request.arming.reachable();
        self.way(direction).pass(len, now, whatever, other)
    }

    /// What still comes where our Close went.
    fn swallow(
        &mut self,
        direction: Direction,
        (held, new): (usize, usize),
        read: Read<'_>,
        now: Now,
        traffic: &mut Traffic,
    ) -> Action {
        /// Of a server's Close: it is not masked, and at most 125 bytes long.
        const CLOSE_HEADER: usize = 2;
        let tracker = &mut self.way(direction).tracker;
        let mut lost = if tracker.closed() { 0 } else { new };
        let mut closes = false;
        tracker.advance(
            new,
            |at, out| read(held.saturating_add(at), out),
            |at, event| match event {
                // A Close needs no delivery any more.
                frame::Event::Frame(frame) if frame.opcode == Opcode::Close => {
                    lost = at.saturating_sub(CLOSE_HEADER);
                    closes = true;
                }
                _ => {}
            },
        );
        if closes {
            self.closing(direction, now.ms);
        }
        let drains = |farewell: Farewell| farewell.cause == Cause::Drain;
        if direction == Direction::Response && self.farewell.is_some_and(drains) {
            traffic.dropped = traffic.dropped.saturating_add(lost as u64);
        }
        match held.saturating_add(new) {
            0 => Action::Pass,
            _ => Action::Drop,
        }
    }
}

/// Whether frames of a direction are held against a limit.
const fn is_limited(direction: Direction, terms: &Terms) -> bool {
    terms.max_message_bytes > 0 || matches!(direction, Direction::Request) && terms.is_rated()
}

/// Where in a chunk our Close can stand. Best is an end of all that is here. A message that has begun is waited for, but
/// not for long if another has just ended, and not for ever in any case.
fn place(farewell: &Farewell, way: &Way, len: usize, seen: &Seen, now: u64) -> Option<usize> {
    let before = |at: Option<u64>| at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at <= len);
    if let Some(begins) = seen.close {
        // Both ends get the same code.
        return before(begins).filter(|_| farewell.cause.order() == Order::Both);
    }
    if way.tracker.at_boundary() {
        return Some(len);
    }
    if now >= farewell.any_frame_from() {
        // A Close may stand in the middle of a message (RFC 6455, 5.4).
        return before(seen.header);
    }
    seen.boundary
        .filter(|_| now >= farewell.since.saturating_add(WAIT_FOR_MESSAGE_MS))
}
