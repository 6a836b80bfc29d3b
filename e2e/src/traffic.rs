//! Sequence-numbered messages: what was lost, cut, repeated or altered is counted, never guessed.

use bytes::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Who numbered a message. Echoes come back as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// The client; the server echoes it.
    Client,
    /// The server, of its own accord.
    Server,
}

impl Author {
    fn tag(self) -> u8 {
        match self {
            Author::Client => b'C',
            Author::Server => b'S',
        }
    }
}

const HEADER: usize = 9;

/// A message of `size` bytes (at least 9): the author, the number, and a filler that depends on the number and the
/// place, so that no piece of it can be missing or doubled unseen.
pub fn message(author: Author, number: u64, size: usize) -> Bytes {
    let size = size.max(HEADER);
    let mut bytes = Vec::with_capacity(size + 8);
    bytes.push(author.tag());
    bytes.extend_from_slice(&number.to_be_bytes());
    let mut word = number;
    while bytes.len() < size {
        word = next_word(word);
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// The author and the number, if the message is one of ours and whole.
pub fn parse(payload: &[u8]) -> Option<(Author, u64)> {
    let author = match payload.first()? {
        b'C' => Author::Client,
        b'S' => Author::Server,
        _ => return None,
    };
    let number = u64::from_be_bytes(payload.get(1..HEADER)?.try_into().ok()?);
    let mut word = number;
    let intact = payload[HEADER..].chunks(8).all(|chunk| {
        word = next_word(word);
        chunk == &word.to_be_bytes()[..chunk.len()]
    });
    intact.then_some((author, number))
}

fn next_word(word: u64) -> u64 {
    word.wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

/// What arrived of one author's messages, numbered from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Arrived in order.
    pub received: u64,
    /// Skipped.
    pub missing: u64,
    /// Arrived again, or late.
    pub repeated: u64,
}

impl Ledger {
    /// Enters an arrival.
    pub fn enter(&mut self, number: u64) {
        let expected = self.received + self.missing;
        if number < expected {
            self.repeated += 1;
        } else {
            self.missing += number - expected;
            self.received += 1;
        }
    }

    /// Nothing is missing or repeated among what arrived.
    pub fn is_whole(&self) -> bool {
        self.missing == 0 && self.repeated == 0
    }
}

/// Puts fragments together.
#[derive(Debug, Default)]
pub struct Assembly {
    open: Option<(bool, Vec<u8>)>,
}

impl Assembly {
    /// Takes a data frame; a message when it was the last one.
    ///
    /// # Errors
    /// When the frame cannot follow the ones before it (RFC 6455 section 5.4).
    pub fn take(&mut self, header: &FrameHeader, payload: Bytes) -> anyhow::Result<Option<(bool, Bytes)>> {
        let text = match (header.opcode, &mut self.open) {
            (OpCode::Data(Data::Continue), Some((text, bytes))) => {
                bytes.extend_from_slice(&payload);
                if header.is_final {
                    let whole = (*text, Bytes::from(std::mem::take(bytes)));
                    self.open = None;
                    return Ok(Some(whole));
                }
                return Ok(None);
            }
            (OpCode::Data(Data::Text), None) => true,
            (OpCode::Data(Data::Binary), None) => false,
            (opcode, open) => anyhow::bail!("a frame {opcode} while a message is open: {}", open.is_some()),
        };
        if header.is_final {
            return Ok(Some((text, payload)));
        }
        self.open = Some((text, payload.to_vec()));
        Ok(None)
    }

    /// A message has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_lost_or_changed_a_byte_is_not_ours() {
        let whole = message(Author::Client, 7, 300);
        assert_eq!(parse(&whole), Some((Author::Client, 7)));
        for at in 9..300 {
            let mut bytes = whole.to_vec();
            bytes.remove(at);
            // The last byte's absence alone is a shorter message, which the receiver sees as a different size.
            assert!(parse(&bytes).is_none() || at == 299, "byte {at} removed unseen");
        }
    }

    #[test]
    fn a_ledger_counts_gaps_and_repeats() {
        let mut ledger = Ledger::default();
        [0, 1, 4, 4, 2, 5].into_iter().for_each(|n| ledger.enter(n));
        assert_eq!(
            ledger,
            Ledger {
                received: 4,
                missing: 2,
                repeated: 2
            }
        );
    }
}
