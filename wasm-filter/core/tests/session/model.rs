//! A proxy that does what a session answers, in the simplest way, and checks what comes of it: what reaches each end is
//! what the other end sent, up to a place where a Close of ours may stand.

use clew_filter_config::terms::Terms;
use clew_filter_core::drain::{Turns, Window};
use clew_filter_core::frame::{Event as Seen, Frame, Opcode};
use clew_filter_core::session::{Action, Cause, Direction, Ended, Event, Now, Session, Traffic};

use super::reference::reference;

const START: u64 = 1_000_000;
const TICK: u64 = 250;

/// One direction.
#[derive(Default)]
struct Way {
    /// All that the sender said.
    said: Vec<u8>,
    /// How much of it has come to the proxy.
    came: usize,
    /// Bytes that are paused in the buffer.
    buffer: Vec<u8>,
    /// What of the sender's reached the receiver.
    passed: Vec<u8>,
    /// Where our frames stand in that.
    pings: Vec<usize>,
    close: Option<(usize, Cause)>,
    paused: bool,
    armed: bool,
}

struct Proxy {
    session: Session,
    now: Now,
    terms: Terms,
    window: Option<Window>,
    turns: Turns,
    expires: bool,
    /// Something may have called for a Close of ours.
    called: bool,
    ways: [Way; 2],
    traffic: Traffic,
    opened: bool,
    reset: bool,
}

const fn index(direction: Direction) -> usize {
    match direction {
        Direction::Request => 0,
        Direction::Response => 1,
    }
}

/// Runs a life of a session that is written in bytes, and checks it.
pub(crate) fn run(input: &[u8]) {
    let mut input = input.iter().copied();
    let mut byte = || input.next();
    let Some(first) = byte() else { return };
    let limited = first & 1 != 0;
    let rated = first & 2 != 0;
    let mut proxy = Proxy {
        session: Session::new(first & 4 == 0, u32::from(first) << 24),
        now: Now {
            ms: START,
            unix_ms: START,
            tick: 0,
            busy: first & 8 != 0,
        },
        terms: Terms {
            max_message_bytes: if limited { 300 } else { 0 },
            rate_messages: if rated { 4 } else { 0 },
            rate_interval_ms: 1_000,
            rate_burst: 3,
            ..Terms::default()
        },
        window: None,
        turns: Turns::new(first.into()),
        expires: false,
        called: false,
        ways: Default::default(),
        traffic: Traffic::default(),
        opened: false,
        reset: false,
    };
    while let (Some(what), Some(more)) = (byte(), byte()) {
        let direction = if what & 1 == 0 {
            Direction::Request
        } else {
            Direction::Response
        };
        match what >> 1 & 7 {
            0 | 1 => proxy.say(direction, more),
            2 | 3 => proxy.come(direction, more),
            4 => proxy.resume(direction),
            5 => {
                for _ in 0..=more & 7 {
                    proxy.tick(TICK << (more >> 5), false);
                }
            }
            6 if !proxy.opened => {
                proxy.opened = true;
                proxy.event(Event::Opened);
            }
            6 => {
                proxy.session.expires_at(proxy.now.ms + 1_000 * u64::from(more));
                proxy.expires = true;
                proxy.called = true;
            }
            _ => proxy.news(more),
        }
    }
    proxy.check();
    proxy.ends();
}

impl Proxy {
    fn event(&mut self, event: Event<'_>) -> Action {
        self.session.on(event, self.now, &self.terms, &mut self.traffic)
    }

    /// A frame, or any byte.
    fn say(&mut self, direction: Direction, what: u8) {
        let way = &mut self.ways[index(direction)];
        let masked = direction == Direction::Request;
        let lengths = [0_u64, 1, 2, 100, 125, 126, 200, 300, 301, 70_000];
        let (opcode, len) = match what {
            0..=39 => (0x82, lengths[usize::from(what) % 10]),
            40..=59 => (0x01, lengths[usize::from(what) % 10]),
            60..=79 => (0x00, lengths[usize::from(what) % 10]),
            80..=99 => (0x80, lengths[usize::from(what) % 10]),
            100..=119 => (0x89 + what % 2, u64::from(what) % 5),
            120..=139 => (0x88, u64::from(what) % 5),
            any => {
                way.said.push(any.wrapping_mul(37));
                return;
            }
        };
        let bit = if masked { 0x80 } else { 0 };
        match len {
            0..126 => way.said.extend([opcode, bit | len as u8]),
            126..=0xffff => {
                way.said.extend([opcode, bit | 126]);
                way.said.extend((len as u16).to_be_bytes());
            }
            _ => {
                way.said.extend([opcode, bit | 127]);
                way.said.extend(len.to_be_bytes());
            }
        }
        if masked {
            way.said.extend([7; 4]);
        }
        // Of the longest only a part is said.
        way.said.extend(std::iter::repeat_n(9, len.min(2_000) as usize));
    }

    /// Some of what was said comes.
    fn come(&mut self, direction: Direction, how_much: u8) {
        let at = index(direction);
        let way = &mut self.ways[at];
        let left = way.said.len() - way.came;
        let n = if how_much >= 128 {
            left
        } else {
            left.min(how_much.into())
        };
        if self.reset {
            return;
        }
        let mut buffer = std::mem::take(&mut way.buffer);
        if n > 0 {
            buffer.extend_from_slice(self.session.kept_back(direction));
        }
        let way = &mut self.ways[at];
        buffer.extend_from_slice(&way.said[way.came..way.came + n]);
        way.came += n;
        // Bytes from outside may go in front of what comes next no more.
        let was_armed = std::mem::take(&mut way.armed);
        way.paused = false;
        let bytes = buffer.clone();
        let mut read = |at: usize, out: &mut [u8]| {
            let from = bytes.get(at..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            n
        };
        let action = self.event(Event::Data {
            direction,
            len: buffer.len(),
            read: &mut read,
        });
        let way = &mut self.ways[at];
        if way.close.is_some() {
            assert!(
                matches!(action, Action::Drop) || buffer.is_empty() && action == Action::Pass,
                "{action:?} behind our Close"
            );
            return;
        }
        match action {
            Action::Pass => way.passed.append(&mut buffer),
            Action::StayArmed => {
                assert!(was_armed, "nobody lets it go on");
                way.armed = true;
                way.passed.append(&mut buffer);
            }
            Action::Arm => {
                way.buffer = buffer;
                way.paused = true;
                assert!(self.session.paused(direction));
            }
            Action::KeepBack { keep } => {
                way.passed.extend_from_slice(&buffer[..keep]);
                assert_eq!(&buffer[keep..], self.session.kept_back(direction));
            }
            Action::Close { keep, cause } => {
                way.passed.extend_from_slice(&buffer[..keep]);
                way.close = Some((way.passed.len(), cause));
            }
            Action::Drop | Action::Write(..) | Action::Ping | Action::Reset(_) => {
                panic!("{action:?} of what may pass")
            }
        }
    }

    fn resume(&mut self, direction: Direction) {
        let way = &mut self.ways[index(direction)];
        if std::mem::take(&mut way.paused) {
            way.passed.append(&mut way.buffer);
            way.armed = true;
            self.event(Event::Resumed(direction));
        }
    }

    /// Time passes; `heard`: and something is known that was not.
    fn tick(&mut self, ms: u64, heard: bool) {
        self.now.tick += 1;
        self.now.ms += ms;
        self.now.unix_ms += ms;
        let due = self.session.due();
        let leave = self.window.map(|window| (window, &mut self.turns));
        let event = Event::Tick { leave };
        let action = self.session.on(event, self.now, &self.terms, &mut self.traffic);
        if action == Action::Pass {
            return;
        }
        assert!(self.opened && !self.reset, "{action:?}");
        assert!(heard || due <= self.now.ms, "{action:?} before {due}");
        match action {
            Action::Write(direction, cause) => {
                let way = &mut self.ways[index(direction)];
                assert!(way.armed && way.close.is_none());
                way.close = Some((way.passed.len(), cause));
            }
            Action::Ping => {
                let [way, _] = &mut self.ways;
                assert!(way.armed && way.close.is_none());
                way.pings.push(way.passed.len());
            }
            Action::Reset(_) => self.reset = true,
            _ => panic!("{action:?} for a tick"),
        }
    }

    /// Other terms, or a drain.
    fn news(&mut self, what: u8) {
        let ms = 1_000 * u64::from(what >> 2);
        match what & 3 {
            0 => self.terms.idle_ms = ms,
            1 => self.terms.max_duration_ms = ms,
            2 => {
                self.window = Some(Window {
                    since_ms: self.now.ms,
                    timeout_ms: ms,
                });
            }
            _ => self.window = None,
        }
        self.called |= what & 3 < 3;
        self.tick(0, true);
    }

    fn check(&self) {
        for (at, way) in self.ways.iter().enumerate() {
            assert!(way.said.starts_with(&way.passed), "passed as it was said");
            let events = reference(&way.passed);
            let frame = |(at, event): &(usize, Seen)| match event {
                Seen::Frame(frame) => Some((*at as u64 + frame.len, *frame)),
                _ => None,
            };
            let aligned = |end: usize| {
                let events = reference(&way.passed[..end]);
                let closed = events.iter().any(|(_, event)| matches!(event, Seen::Close(_)));
                let last = events.iter().rev().find_map(frame);
                !closed && last.map_or(0, |(end, _)| end) == end as u64
            };
            for ping in &way.pings {
                assert!(aligned(*ping), "a Ping inside a frame");
            }
            if let Some((end, _)) = way.close {
                assert_eq!(end, way.passed.len(), "nothing follows our Close");
                assert!(aligned(end), "our Close inside a frame");
            }
            self.check_limits(at, events.iter().filter_map(frame).map(|(_, frame)| frame));
            let held = [&way.passed[..], &way.buffer].concat();
            let messages = reference(&held)
                .iter()
                .filter(|(_, event)| *event == Seen::Message)
                .count();
            assert_eq!(self.traffic.messages[at], messages as u64);
            assert_eq!(self.traffic.bytes[at], held.len() as u64);
            if !self.called && self.terms.max_message_bytes == 0 && !self.terms.is_rated() {
                assert!(
                    way.close.is_none() && way.pings.is_empty(),
                    "nothing called for it"
                );
            }
        }
        if self.ways.iter().any(|way| way.close.is_some()) {
            assert!(matches!(self.session.ended(), Ended::Ours { .. }));
        }
    }

    fn check_limits(&self, at: usize, frames: impl Iterator<Item = Frame>) {
        let (mut size, mut messages) = (0, 0);
        for frame in frames {
            match frame.opcode {
                Opcode::Text | Opcode::Binary => {
                    size = frame.len;
                    messages += 1;
                }
                Opcode::Continuation => size += frame.len,
                _ => {}
            }
            let most = self.terms.max_message_bytes;
            assert!(most == 0 || size <= most, "a message of {size} bytes passed");
        }
        if at == 0 && self.terms.is_rated() {
            let most = self.terms.rate_burst + self.terms.rate_messages * (self.now.ms - START) / 1_000;
            assert!(messages <= most, "{messages} messages passed");
        }
    }

    /// Whatever has to end does, however deaf the two ends are.
    fn ends(&mut self) {
        let closes = |way: &Way| {
            let events = reference(&way.passed);
            way.close.is_some() || events.iter().any(|(_, event)| matches!(event, Seen::Close(_)))
        };
        let terms = self.terms.idle_ms > 0 || self.terms.max_duration_ms > 0;
        let has_to = terms || self.window.is_some() || self.expires || self.ways.iter().any(closes);
        let end = self.now.ms + 4_000 * TICK;
        while self.now.ms < end {
            // Nothing is due before its time: the last moment before it stands for all the ticks until then.
            let wait = self.session.due().min(end).saturating_sub(self.now.ms);
            if wait > 1 {
                self.tick(wait - 1, false);
            }
            self.tick(TICK, false);
        }
        assert!(self.reset || !self.opened || !has_to, "it lives on");
        self.check();
    }
}
