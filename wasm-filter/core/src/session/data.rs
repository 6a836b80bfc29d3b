//! What passes: followed, counted, and cut where a session leaves.

use super::{Action, Direction, Now, PATIENCE_MS, Phase, Session, Traffic, WAIT_FOR_MESSAGE_MS};
use crate::frame::{self, Opcode};

impl Session {
    pub(super) fn request(
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
        self.request.pass(len, now, whatever, false)
    }

    pub(super) fn response(
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
        let other = self.request.arming.reachable();
        self.response.pass(len, now, due, other)
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
}
