//! Frames as bytes.

/// A frame on the wire, masked if there is a mask.
pub(crate) fn wire(fin: bool, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    let masked = u8::from(mask.is_some()) << 7;
    match payload.len() {
        len @ ..=125 => bytes.push(masked | len as u8),
        len @ ..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.into_iter().flatten());
    let masks = mask.unwrap_or_default();
    bytes.extend(
        payload
            .iter()
            .zip(masks.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
