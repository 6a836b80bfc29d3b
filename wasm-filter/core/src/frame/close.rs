//! A Close frame of our own (RFC 6455, 5.5.1).

/// The longest Close: a header of two bytes, a mask, 125 bytes of payload.
pub const MAX_CLOSE_FRAME: usize = 2 + 4 + 2 + MAX_CLOSE_REASON;
/// The longest reason, in bytes.
pub const MAX_CLOSE_REASON: usize = 123;

/// An encoded Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    bytes: [u8; MAX_CLOSE_FRAME],
    len: usize,
}

impl AsRef<[u8]> for CloseFrame {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Encodes a Close with a code that may travel (RFC 6455, 7.4) and a reason, which loses the characters that do not
/// fit whole into 123 bytes. `mask`: for a server, which takes no frame without one; a client takes none with one.
#[must_use]
pub fn encode_close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> CloseFrame {
    let (reason, _) = reason
        .split_at_checked(reason.floor_char_boundary(MAX_CLOSE_REASON))
        .unwrap_or_default();
    let [high, low] = code.to_be_bytes();
    // At most 125.
    let payload_len = reason.len().saturating_add(2) as u8;
    let payload = [high, low].into_iter().chain(reason.bytes());
    let masks = mask.unwrap_or_default().into_iter().cycle();
    let masked = payload.zip(masks).map(|(byte, mask)| byte ^ mask);
    let masked_bit = if mask.is_some() { 0x80 } else { 0 };
    let frame = [0x88, masked_bit | payload_len]
        .into_iter()
        .chain(mask.into_iter().flatten())
        .chain(masked);

    let mut bytes = [0; MAX_CLOSE_FRAME];
    let mut len = 0_usize;
    for (slot, byte) in bytes.iter_mut().zip(frame) {
        *slot = byte;
        len = len.saturating_add(1);
    }
    CloseFrame { bytes, len }
}
