//! The tracker against RFC 6455: its examples, every way to cut a stream, and a parser that sees the stream whole.

use clew_filter_core::frame::{
    Event, Fault, Frame, MAX_CLOSE_FRAME, MAX_HEADER, Opcode, Tracker, encode_close,
};
use proptest::prelude::*;

#[path = "rfc6455/follow.rs"]
mod follow;
#[path = "rfc6455/reference.rs"]
mod reference;
#[path = "rfc6455/wire.rs"]
mod wire;

use follow::{Seen, follow};
use reference::reference;
use wire::wire;

fn frame(opcode: Opcode, fin: bool, masked: bool, len: u64) -> Event {
    Event::Frame(Frame {
        opcode,
        fin,
        masked,
        len,
    })
}

/// Section 5.7, byte for byte.
#[test]
fn the_examples_of_the_rfc() {
    let hello = [0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let cases: Vec<(Vec<u8>, Vec<Seen>)> = vec![
        (
            [&[0x81, 0x05][..], &hello].concat(),
            vec![
                (2, frame(Opcode::Text, true, false, 5)),
                (7, Event::Message),
                (7, Event::Boundary),
            ],
        ),
        (
            vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
            vec![
                (6, frame(Opcode::Text, true, true, 5)),
                (11, Event::Message),
                (11, Event::Boundary),
            ],
        ),
        (
            vec![0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f],
            vec![
                (2, frame(Opcode::Text, false, false, 3)),
                (7, frame(Opcode::Continuation, true, false, 2)),
                (9, Event::Message),
                (9, Event::Boundary),
            ],
        ),
        (
            [&[0x89, 0x05][..], &hello].concat(),
            vec![(2, frame(Opcode::Ping, true, false, 5)), (7, Event::Boundary)],
        ),
        (
            vec![0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58],
            vec![(6, frame(Opcode::Pong, true, true, 5)), (11, Event::Boundary)],
        ),
        (
            [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat(),
            vec![
                (4, frame(Opcode::Binary, true, false, 256)),
                (260, Event::Message),
                (260, Event::Boundary),
            ],
        ),
        (
            [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536]].concat(),
            vec![
                (10, frame(Opcode::Binary, true, false, 65536)),
                (65546, Event::Message),
                (65546, Event::Boundary),
            ],
        ),
    ];
    for (stream, events) in cases {
        assert_eq!(follow(&stream, []).1, events);
        assert_eq!(reference(&stream), events);
    }
}

/// Streams with everything in them that a cut can hurt.
fn streams() -> Vec<Vec<u8>> {
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    let mut streams = Vec::new();
    for mask in [None, mask] {
        let close = encode_close(1012, "moving", mask);
        streams.push(
            [
                wire(true, 0x1, mask, b"Hello"),
                wire(true, 0x2, mask, b""),
                wire(true, 0x41, mask, b"compressed: RSV1"),
                wire(false, 0x41, mask, b"frag"),
                wire(true, 0x9, mask, b"ping between fragments"),
                wire(false, 0x0, mask, b""),
                wire(true, 0xa, mask, b""),
                wire(true, 0x0, mask, b"ments"),
                wire(true, 0x2, mask, &[7; 126]),
                wire(true, 0x9, mask, &[8; 125]),
                wire(true, 0x2, mask, &[9; 0x1_0000]),
                close.as_ref().to_vec(),
                b"whatever comes after".to_vec(),
            ]
            .concat(),
        );
        for payload in [&b""[..], b"\x03", b"\x03\xe8"] {
            streams.push([wire(true, 0x1, mask, b"x"), wire(true, 0x8, mask, payload)].concat());
        }
    }
    // A length of 64 bits that need not be, which nobody may write and some do.
    streams.push(vec![0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0x8a, 0]);
    streams.extend(faults().into_iter().map(|(stream, _)| stream));
    streams
}

/// What makes a stream impossible to follow.
fn faults() -> Vec<(Vec<u8>, Fault)> {
    let message = wire(true, 0x1, None, b"x");
    let fragment = wire(false, 0x2, None, b"x");
    let long = [&[0x89, 0x7e, 0x00, 0x7e][..], &[0; 126]].concat();
    let mut faults = vec![
        (
            [message.clone(), wire(false, 0x9, None, b"x")].concat(),
            Fault::FragmentedControl,
        ),
        (
            [message.clone(), wire(false, 0x8, None, b"")].concat(),
            Fault::FragmentedControl,
        ),
        ([message.clone(), long].concat(), Fault::LongControl),
        // Short enough, but its length and so its mask are where no control frame has them.
        (
            vec![0x88, 0xfe, 0x00, 0x02, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2],
            Fault::LongControl,
        ),
        (
            [message.clone(), wire(true, 0x0, None, b"x")].concat(),
            Fault::NothingToContinue,
        ),
        (
            [fragment.clone(), message.clone()].concat(),
            Fault::MessageNotFinished,
        ),
        ([fragment.clone(), fragment].concat(), Fault::MessageNotFinished),
        (vec![0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], Fault::Length),
        (
            vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
            Fault::Length,
        ),
    ];
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        faults.push((
            [message.clone(), wire(true, opcode, None, b"x")].concat(),
            Fault::ReservedOpcode,
        ));
    }
    faults
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    for stream in streams() {
        let expected = reference(&stream);
        assert_eq!(follow(&stream, []).1, expected);
        for split in 0..=stream.len() {
            assert_eq!(follow(&stream, [split]).1, expected, "split at {split}");
        }
        assert_eq!(follow(&stream, vec![1; stream.len()]).1, expected, "byte by byte");
    }
}

#[test]
fn a_stream_that_makes_no_sense_is_lost_for_good() {
    for (mut stream, fault) in faults() {
        let sense = reference(&stream);
        stream.extend(wire(true, 0x1, None, b"looks like a message"));
        let (tracker, events) = follow(&stream, [3, 5, 2]);
        assert_eq!(tracker.lost(), Some(fault));
        assert!(!tracker.at_boundary());
        assert_eq!(events, sense, "nothing after the fault");
        assert_eq!(events.last().map(|&(_, event)| event), Some(Event::Lost(fault)));
    }
}

#[test]
fn a_chunk_that_cannot_be_read_loses_the_stream() {
    for stream in [
        wire(true, 0x1, None, b"x"),
        encode_close(1000, "", None).as_ref().to_vec(),
    ] {
        for readable in 0..stream.len() {
            let mut tracker = Tracker::new();
            let mut last = None;
            tracker.advance(
                stream.len(),
                |at, out| {
                    let n = readable.saturating_sub(at).min(out.len());
                    out[..n].copy_from_slice(&stream[at..at + n]);
                    n
                },
                |_, event| last = Some(event),
            );
            assert_eq!(
                tracker.lost(),
                Some(Fault::Unreadable),
                "{readable} of {stream:x?}"
            );
            assert_eq!(last, Some(Event::Lost(Fault::Unreadable)));
        }
    }
}

#[test]
fn nothing_is_a_boundary_after_a_close() {
    for code in [&b""[..], b"\x03\xe8", b"\x03\xe8bye"] {
        let stream = [wire(true, 0x8, None, code), wire(true, 0x1, None, b"late")].concat();
        let (tracker, events) = follow(&stream, [1]);
        assert!(tracker.closed() && !tracker.at_boundary() && tracker.lost().is_none());
        let code = code.first_chunk().map(|&code| u16::from_be_bytes(code));
        assert_eq!(events.last().map(|&(_, event)| event), Some(Event::Close(code)));
    }
}

#[test]
fn payload_is_not_read() {
    let payload = vec![7; 1 << 20];
    let stream = [
        wire(true, 0x2, Some([1, 2, 3, 4]), &payload),
        wire(false, 0x2, None, &payload),
        wire(true, 0x0, None, &payload),
    ]
    .concat();
    let (mut calls, mut bytes, mut messages) = (0, 0, 0);
    Tracker::new().advance(
        stream.len(),
        |at, out| {
            calls += 1;
            bytes += out.len();
            out.copy_from_slice(&stream[at..at + out.len()]);
            out.len()
        },
        |_, event| messages += usize::from(event == Event::Message),
    );
    assert_eq!((messages, calls), (2, 3));
    assert!(bytes <= 3 * MAX_HEADER);
}

/// A length that a 32-bit machine cannot address is still a length.
#[test]
fn a_payload_beyond_all_memory_is_waited_for() {
    let mut stream = vec![0x82, 0x7f];
    stream.extend((u64::MAX >> 1).to_be_bytes());
    stream.extend([0; 1000]);
    let (tracker, events) = follow(&stream, [500, 300]);
    assert_eq!(events, [(10, frame(Opcode::Binary, true, false, u64::MAX >> 1))]);
    assert!(!tracker.at_boundary() && tracker.lost().is_none());
}

#[test]
fn a_close_of_ours_is_a_close() {
    assert_eq!(
        encode_close(1012, "moving", None).as_ref(),
        b"\x88\x08\x03\xf4moving"
    );
    assert_eq!(
        encode_close(1000, "a", Some([1, 2, 3, 4])).as_ref(),
        [0x88, 0x83, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2, b'a' ^ 3]
    );
    let full = encode_close(1001, &"x".repeat(1000), Some([0; 4]));
    assert_eq!(full.as_ref().len(), MAX_CLOSE_FRAME);
    assert_eq!(MAX_CLOSE_FRAME, 131);
    // 62 characters of two bytes do not fit into 123.
    let umlauts = encode_close(1001, &"ü".repeat(100), None);
    assert_eq!(
        std::str::from_utf8(&umlauts.as_ref()[4..]),
        Ok("ü".repeat(61).as_str())
    );
    for mask in [None, Some([9, 8, 7, 6])] {
        let (tracker, events) = follow(encode_close(3000, "reason", mask).as_ref(), []);
        assert!(tracker.closed());
        assert_eq!(events[1].1, Event::Close(Some(3000)));
    }
}

/// A frame, more often than not one that may come.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        10 => Just(0x0_u8), 10 => Just(0x1), 10 => Just(0x2), 10 => Just(0x41),
        10 => Just(0x9), 10 => Just(0xa), 1 => Just(0x8), 1 => any::<u8>().prop_map(|opcode| opcode & 0x7f),
    ];
    let len = prop_oneof![20 => 0..130_usize, 2 => 130..700_usize, 1 => 65_500..65_600_usize];
    let wide = prop::bool::weighted(0.1);
    (
        prop::bool::weighted(0.8),
        opcode,
        any::<Option<[u8; 4]>>(),
        len,
        wide,
    )
        .prop_map(|(fin, opcode, mask, len, wide)| {
            let mut bytes = wire(fin, opcode, mask, &vec![0x5a; len]);
            if wide && len < 126 {
                // In 16 bits what 7 would hold.
                bytes[1] = bytes[1] & 0x80 | 126;
                bytes.splice(2..2, [0, len as u8]);
            }
            bytes
        })
}

/// Messages in fragments with control frames between them, never wrong.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let control = prop::option::of((prop_oneof![Just(0x9_u8), Just(0xa)], 0..=125_usize));
    let fragment = (0..300_usize, any::<Option<[u8; 4]>>(), control);
    prop::collection::vec(fragment, 1..6).prop_map(|fragments| {
        let last = fragments.len() - 1;
        let mut bytes = Vec::new();
        for (i, (len, mask, control)) in fragments.into_iter().enumerate() {
            bytes.extend(wire(
                i == last,
                if i == 0 { 0x1 } else { 0x0 },
                mask,
                &vec![0x81; len],
            ));
            if let Some((opcode, len)) = control {
                bytes.extend(wire(true, opcode, mask, &vec![0x88; len]));
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn chunks_do_not_matter(
        frames in prop::collection::vec(prop_oneof![any_frame(), any_message()], 0..12),
        cuts in prop::collection::vec(prop_oneof![0..20_usize, 0..5000_usize], 0..60),
    ) {
        let stream = frames.concat();
        prop_assert_eq!(follow(&stream, cuts).1, reference(&stream));
    }

    #[test]
    fn every_message_counts(
        messages in prop::collection::vec(any_message(), 0..8),
        cuts in prop::collection::vec(0..200_usize, 0..60),
    ) {
        let (tracker, events) = follow(&messages.concat(), cuts);
        let count = events.iter().filter(|(_, event)| *event == Event::Message).count();
        prop_assert_eq!(count, messages.len());
        prop_assert!(tracker.at_boundary());
    }

    #[test]
    fn noise_is_read_as_the_reference_reads_it(
        stream in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(0..30_usize, 0..30),
    ) {
        prop_assert_eq!(follow(&stream, cuts).1, reference(&stream));
    }
}
