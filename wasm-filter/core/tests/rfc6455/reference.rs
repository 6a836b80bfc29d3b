//! A parser that has the whole stream before it, written from RFC 6455, 5.2 alone.

use clew_filter_core::frame::{Event, Fault, Frame, Opcode};

use super::follow::Seen;

/// All that a stream says.
pub(crate) fn reference(stream: &[u8]) -> Vec<Seen> {
    let mut events = Vec::new();
    let (mut at, mut open) = (0, false);
    let take = |at: &mut usize, n: usize| {
        let bytes = stream.get(*at..at.checked_add(n)?)?;
        *at += n;
        Some(bytes)
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    let mut frame = || -> Option<bool> {
        let bits = number(take(&mut at, 2)?);
        let (fin, opcode, masked) = (bits & 0x8000 != 0, bits >> 8 & 0xf, bits & 0x80 != 0);
        let len = match bits & 0x7f {
            126 => number(take(&mut at, 2)?),
            127 => number(take(&mut at, 8)?),
            len => len,
        };
        let mask = if masked { take(&mut at, 4)? } else { &[0; 4] };
        let (kind, fault) = match opcode {
            0 => (Opcode::Continuation, (!open).then_some(Fault::NothingToContinue)),
            1 => (Opcode::Text, open.then_some(Fault::MessageNotFinished)),
            2 => (Opcode::Binary, open.then_some(Fault::MessageNotFinished)),
            8 => (Opcode::Close, None),
            9 => (Opcode::Ping, None),
            10 => (Opcode::Pong, None),
            _ => (Opcode::Ping, Some(Fault::ReservedOpcode)),
        };
        let own_fault = match (opcode, fault) {
            (_, Some(Fault::ReservedOpcode)) => fault,
            (8.., _) if !fin => Some(Fault::FragmentedControl),
            (8.., _) if bits & 0x7f > 125 => Some(Fault::LongControl),
            _ if len >= 1 << 63 => Some(Fault::Length),
            _ => fault,
        };
        if let Some(fault) = own_fault {
            events.push((at, Event::Lost(fault)));
            return None;
        }
        let frame = Frame {
            opcode: kind,
            fin,
            masked,
            len,
        };
        events.push((at, Event::Frame(frame)));
        if kind == Opcode::Close {
            let code = if len < 2 {
                None
            } else {
                let code = take(&mut at, 2)?;
                Some(u16::from_be_bytes([code[0] ^ mask[0], code[1] ^ mask[1]]))
            };
            events.push((at, Event::Close(code)));
            return None;
        }
        let data = !kind.is_control();
        open |= data;
        take(&mut at, usize::try_from(len).ok()?)?;
        if data && fin {
            open = false;
            events.push((at, Event::Message));
        }
        if !open {
            events.push((at, Event::Boundary));
        }
        Some(true)
    };
    while frame().is_some() {}
    events
}
