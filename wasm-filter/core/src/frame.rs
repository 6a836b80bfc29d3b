//! Follows the frames of one direction of a WebSocket (RFC 6455, 5) without looking at a payload.
//!
//! A [`Tracker`] is told of chunks as they pass, however they are cut, and reads of them at most 14 bytes a frame, and
//! the code of a Close. It says where messages end, which is where a frame of our own may cut in. Extensions pass
//! untouched: RSV bits mean nothing to it, and a compressed message is a message.
//!
//! It does not judge: frames may or may not be masked, text need not be UTF-8, the length of a message's frame need not
//! be minimal. But what leaves it unsure of what is open makes it [lost](Tracker::lost), for good: from then on it
//! claims nothing rather than guess.

mod close;
mod header;

pub use self::close::{CloseFrame, MAX_CLOSE_FRAME, MAX_CLOSE_REASON, encode_close};
pub use self::header::{Fault, Frame, MAX_HEADER, Opcode};

/// What a [`Tracker`] saw in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A header is whole; its payload begins here.
    Frame(Frame),
    /// A Close gives its code, or has none. Nothing that follows it is looked at, and no boundary comes any more.
    Close(Option<u16>),
    /// A data message ends here. A boundary follows.
    Message,
    /// Neither a frame nor a data message is open here: a frame of our own may cut in.
    Boundary,
    /// Nothing can be said of the bytes from here on.
    Lost(Fault),
}

/// The state of one direction.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    at: At,
    /// What came of the current header, as far as [`At::Header`] says.
    header: [u8; MAX_HEADER],
    /// A data message has begun and not ended. Control frames may stand between its frames.
    open: bool,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum At {
    Header { seen: usize },
    Payload { remaining: u64, of: Of },
    CloseCode { first: Option<u8> },
    Closed,
    Lost(Fault),
}

/// What a payload belongs to.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// A Close without a code.
    Close,
    Control,
    Fragment,
    LastFragment,
}

impl Default for At {
    fn default() -> Self {
        Self::Header { seen: 0 }
    }
}

impl Tracker {
    /// A direction that has just become a WebSocket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether neither a frame nor a data message is open. Never again once a Close has passed.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        matches!(self.at, At::Header { seen: 0 }) && !self.open
    }

    /// Whether a Close has passed.
    #[must_use]
    pub const fn closed(&self) -> bool {
        matches!(self.at, At::Closed)
    }

    /// How many bytes are still to come of the frame that is open: 0 between two frames, also those of one message.
    /// `None`: unknown, as its header or a Close's code is not whole yet, or for good.
    #[must_use]
    pub const fn left_of_frame(&self) -> Option<u64> {
        match self.at {
            At::Header { seen: 0 } => Some(0),
            At::Payload { remaining, .. } => Some(remaining),
            At::Header { .. } | At::CloseCode { .. } | At::Closed | At::Lost(_) => None,
        }
    }

    /// Forgets what came of a header that is not whole, if that is at most `most` bytes, and says how many: they will
    /// come again. [`Tracker::rewound`] has them until then.
    pub const fn rewind(&mut self, most: usize) -> usize {
        match self.at {
            At::Header { seen } if seen <= most => {
                self.at = At::Header { seen: 0 };
                seen
            }
            _ => 0,
        }
    }

    /// The first `len` bytes that [`Tracker::rewind`] forgot.
    #[must_use]
    pub fn rewound(&self, len: usize) -> &[u8] {
        self.header.get(..len).unwrap_or_default()
    }

    /// Why nothing can be said any more.
    #[must_use]
    pub const fn lost(&self) -> Option<Fault> {
        match self.at {
            At::Lost(fault) => Some(fault),
            _ => None,
        }
    }

    /// Follows the next `len` bytes. `read(at, out)` copies the chunk's bytes from `at` on into `out` and says how
    /// many; `out` never reaches beyond the chunk, so fewer than it holds are a [`Fault::Unreadable`]. `see(at, event)`
    /// is told in order, `at` counted from the chunk's begin. How a stream is cut into chunks changes no event.
    pub fn advance(
        &mut self,
        len: usize,
        mut read: impl FnMut(usize, &mut [u8]) -> usize,
        mut see: impl FnMut(usize, Event),
    ) {
        let mut at = 0;
        while let left @ 1.. = len.saturating_sub(at) {
            let (taken, event) = match self.at {
                At::Header { seen } => self.header(seen, left, |out| read(at, out)),
                At::Payload { remaining, of } => (self.payload(remaining, of, left), None),
                At::CloseCode { first } => self.close_code(first, |out| read(at, out)),
                At::Closed | At::Lost(_) => return,
            };
            at = at.saturating_add(taken);
            if let Some(event) = event {
                see(at, event);
            }
            // A payload that is over, or never was, ends its frame.
            if let At::Payload { remaining: 0, of } = self.at {
                self.end(of, |event| see(at, event));
            }
        }
    }

    fn header(
        &mut self,
        seen: usize,
        left: usize,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> (usize, Option<Event>) {
        // Reading past a short header does no harm and saves a second read of a long one.
        let end = MAX_HEADER.min(seen.saturating_add(left));
        let Some(out) = self.header.get_mut(seen..end) else {
            return self.lose(0, Fault::Unreadable);
        };
        if read(out) != out.len() {
            return self.lose(0, Fault::Unreadable);
        }
        let Some((size, frame)) = header::parse(self.header.get(..end).unwrap_or_default()) else {
            self.at = At::Header { seen: end };
            return (end.saturating_sub(seen), None);
        };
        let taken = size.saturating_sub(seen);
        match frame.and_then(|frame| self.begin(frame)) {
            Ok(event) => (taken, Some(event)),
            Err(fault) => self.lose(taken, fault),
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<Event, Fault> {
        let of = match (frame.opcode, self.open) {
            (Opcode::Continuation, false) => return Err(Fault::NothingToContinue),
            (Opcode::Text | Opcode::Binary, true) => return Err(Fault::MessageNotFinished),
            (Opcode::Close, _) => Of::Close,
            (Opcode::Ping | Opcode::Pong, _) => Of::Control,
            (Opcode::Continuation | Opcode::Text | Opcode::Binary, _) => {
                self.open = true;
                if frame.fin { Of::LastFragment } else { Of::Fragment }
            }
        };
        self.at = match of {
            Of::Close if frame.len >= 2 => At::CloseCode { first: None },
            Of::Close => At::Payload { remaining: 0, of },
            _ => At::Payload {
                remaining: frame.len,
                of,
            },
        };
        Ok(Event::Frame(frame))
    }

    fn payload(&mut self, remaining: u64, of: Of, left: usize) -> usize {
        let taken = usize::try_from(remaining).map_or(left, |remaining| remaining.min(left));
        let remaining = remaining.saturating_sub(taken as u64);
        self.at = At::Payload { remaining, of };
        taken
    }

    fn close_code(
        &mut self,
        first: Option<u8>,
        read: impl FnOnce(&mut [u8]) -> usize,
    ) -> (usize, Option<Event>) {
        let mut byte = [0];
        if read(&mut byte) != byte.len() {
            return self.lose(0, Fault::Unreadable);
        }
        let [byte] = byte;
        let Some(first) = first else {
            self.at = At::CloseCode { first: Some(byte) };
            return (1, None);
        };
        let [high, low] = header::unmask([first, byte], &self.header);
        self.at = At::Closed;
        (1, Some(Event::Close(Some(u16::from_be_bytes([high, low])))))
    }

    fn end(&mut self, of: Of, mut see: impl FnMut(Event)) {
        self.at = At::default();
        match of {
            Of::Close => {
                self.at = At::Closed;
                return see(Event::Close(None));
            }
            Of::LastFragment => {
                self.open = false;
                see(Event::Message);
            }
            Of::Control | Of::Fragment => {}
        }
        if !self.open {
            see(Event::Boundary);
        }
    }

    fn lose(&mut self, taken: usize, fault: Fault) -> (usize, Option<Event>) {
        self.at = At::Lost(fault);
        (taken, Some(Event::Lost(fault)))
    }
}
