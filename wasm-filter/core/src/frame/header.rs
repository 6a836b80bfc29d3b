//! A frame's header (RFC 6455, 5.2).

use core::fmt;

/// The longest header: two bytes, eight of length, four of mask.
pub const MAX_HEADER: usize = 14;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame is.
    pub opcode: Opcode,
    /// Whether it is the last of its message.
    pub fin: bool,
    /// Whether its payload is masked, as a client's must be.
    pub masked: bool,
    /// Bytes of payload.
    pub len: u64,
}

/// The opcodes that RFC 6455 defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a data message.
    Continuation,
    /// Begins a message of text.
    Text,
    /// Begins a message of bytes.
    Binary,
    /// The last frame of a direction.
    Close,
    /// Asks for a Pong.
    Ping,
    /// Answers a Ping, or none.
    Pong,
}

/// Why a stream cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An opcode that RFC 6455 reserves.
    ReservedOpcode,
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame whose length is not written in 7 bits: it may have 125 bytes (RFC 6455, 5.5).
    LongControl,
    /// A length of 2⁶³ or more.
    Length,
    /// A continuation where no message is open.
    NothingToContinue,
    /// A message that begins inside another.
    MessageNotFinished,
    /// A chunk that could not be read.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedOpcode => "reserved opcode",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame with a length of more than 7 bits",
            Self::Length => "frame of 2^63 bytes or more",
            Self::NothingToContinue => "continuation of no message",
            Self::MessageNotFinished => "message inside another",
            Self::Unreadable => "unreadable chunk",
        })
    }
}

impl Opcode {
    const fn parse(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is a Close, Ping or Pong.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Reads a header from the first of `bytes`: how many it has, and what they say. `None`: it is not whole yet.
pub(super) fn parse(bytes: &[u8]) -> Option<(usize, Result<Frame, Fault>)> {
    let &[first, second, ref rest @ ..] = bytes else {
        return None;
    };
    let masked = second & 0x80 != 0;
    let (size, masked_size, len) = match second & 0x7f {
        126 => (4, 8, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, 14, u64::from_be_bytes(*rest.first_chunk()?)),
        len => (2, 6, u64::from(len)),
    };
    let size = if masked { masked_size } else { size };
    if bytes.len() < size {
        return None;
    }
    let fin = first & 0x80 != 0;
    let frame = match Opcode::parse(first & 0x0f) {
        None => Err(Fault::ReservedOpcode),
        Some(opcode) if opcode.is_control() && !fin => Err(Fault::FragmentedControl),
        Some(opcode) if opcode.is_control() && second & 0x7f > 125 => Err(Fault::LongControl),
        Some(_) if len >> 63 != 0 => Err(Fault::Length),
        Some(opcode) => Ok(Frame {
            opcode,
            fin,
            masked,
            len,
        }),
    };
    Some((size, frame))
}

/// Unmasks the code of a Close with the mask in its frame's header, if there is one. It is at 2, as a control frame's
/// length has 7 bits.
pub(super) fn unmask(code: [u8; 2], header: &[u8; MAX_HEADER]) -> [u8; 2] {
    let [_, second, first_mask, second_mask, ..] = *header;
    if second & 0x80 == 0 {
        return code;
    }
    let [first, second] = code;
    [first ^ first_mask, second ^ second_mask]
}
