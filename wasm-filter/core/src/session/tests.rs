//! Lists of events and actions, by subject.

use clew_filter_config::rule::DrainPolicy;
use clew_filter_config::terms::Terms;

use super::Action::{Arm, Close, Drop, KeepBack, Pass, Ping, Reset, StayArmed, Write};
use super::Direction::{Request, Response};
use super::{
    Action, Cause, Direction, Ended, Event, HANDSHAKE_PATIENCE_MS, Now, PATIENCE_MS, Pace, Session, Traffic,
};
use crate::drain::{Turns, Window};

mod drain;
mod handshake;
mod limits;
mod passing;
mod timeouts;

const WINDOW: Window = Window {
    since_ms: 1_000_000,
    timeout_ms: 100_000,
};
const DEADLINE: u64 = 1_100_000;
/// The moment of the first turn of `Turns::new(0)`: 0.618 of 95 seconds into the window.
const MOMENT: u64 = 1_058_713;

/// A session with its clock, and everything that it was told to do.
struct Scene {
    session: Session,
    now: Now,
    turns: Turns,
    window: Option<Window>,
    terms: Terms,
    traffic: Traffic,
}

impl Scene {
    fn new(armable: bool) -> Self {
        Self {
            session: Session::new(armable, 0),
            now: Now {
                ms: 1_000_000,
                unix_ms: 1_000_000,
                tick: 0,
                busy: false,
            },
            turns: Turns::new(0),
            window: None,
            terms: Terms::default(),
            traffic: Traffic::default(),
        }
    }

    /// After its 101, with both directions armed by their first, empty events.
    fn open() -> Self {
        let mut scene = Self::new(true);
        assert_eq!(scene.data(Request, b""), Arm);
        scene.on(Event::Opened);
        scene.on(Event::Resumed(Request));
        assert_eq!(scene.armed(Response, b""), Arm);
        scene
    }

    /// The same, in a pod that drains, after the session's moment; nothing was done yet.
    fn due() -> Self {
        let mut scene = Self::open();
        scene.window = Some(WINDOW);
        assert_eq!(scene.tick(), Pass);
        scene.now.ms = MOMENT;
        scene
    }

    fn on(&mut self, event: Event<'_>) -> Action {
        self.session.on(event, self.now, &self.terms, &mut self.traffic)
    }

    fn tick(&mut self) -> Action {
        self.now.tick += 1;
        let leave = self.window.map(|window| (window, &mut self.turns));
        self.session
            .on(Event::Tick { leave }, self.now, &self.terms, &mut self.traffic)
    }

    fn tick_at(&mut self, ms: u64) -> Action {
        self.now.unix_ms += ms - self.now.ms;
        self.now.ms = ms;
        self.tick()
    }

    /// Whether our Close is wanted or under way.
    fn is_leaving(&self) -> bool {
        self.session.farewell.is_some() || self.session.drain.is_some()
    }

    /// New bytes, with what was kept back in front of them.
    fn data(&mut self, direction: Direction, buffer: &[u8]) -> Action {
        let buffer = [self.session.kept_back(direction), buffer].concat();
        let mut read = |at: usize, out: &mut [u8]| {
            let from = buffer.get(at..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            n
        };
        self.on(Event::Data {
            direction,
            len: buffer.len(),
            read: &mut read,
        })
    }

    /// An event without bytes.
    fn quiet(&mut self, direction: Direction) -> Action {
        let mut read = |_: usize, _: &mut [u8]| 0;
        self.on(Event::Data {
            direction,
            len: 0,
            read: &mut read,
        })
    }

    /// Data, and if the direction was paused, it goes on.
    fn armed(&mut self, direction: Direction, buffer: &[u8]) -> Action {
        let action = self.data(direction, buffer);
        self.on(Event::Resumed(direction));
        action
    }

    /// A message so large that a direction is no longer armed behind it.
    fn disarm(&mut self, direction: Direction) {
        let mut large = match direction {
            Request => vec![0x82, 0x80 | 126, 0x40, 0, 0, 0, 0, 0],
            Response => vec![0x82, 126, 0x40, 0],
        };
        large.resize(large.len() + 0x4000, 0);
        assert_eq!(self.data(direction, &large), Pass);
    }

    /// So many messages of a busy worker that a direction is no longer armed.
    fn tire(&mut self, direction: Direction, frame: &[u8]) {
        self.now.busy = true;
        while self.armed(direction, frame) != Pass {}
    }
}

fn server(message: &[u8]) -> Vec<u8> {
    [&[0x82, message.len() as u8], message].concat()
}

fn client(message: &[u8]) -> Vec<u8> {
    [&[0x82, 0x80 | message.len() as u8, 0, 0, 0, 0], message].concat()
}

const SERVER_CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe8];
const CLIENT_CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];
