//! Which Envoy this is: the property `xds.node.user_agent_build_version`, a protobuf `BuildVersion`.

/// Major, minor and patch.
pub type Version = (u64, u64, u64);

/// The first version that takes bytes into an idle stream, and loses none when a paused one goes on.
pub const ARMABLE: Version = (1, 40, 0);

/// `None`: the bytes do not say.
#[must_use]
pub fn parse(build_version: &[u8]) -> Option<Version> {
    // BuildVersion.version is field 1, a SemanticVersion: major_number is field 1, minor_number field 2, patch field 3.
    let mut version = field(build_version, 1)?.1;
    let mut numbers = (0, 0, 0);
    while let Some((tag, rest)) = varint(version) {
        let (value, rest) = varint(rest)?;
        match tag {
            0x08 => numbers.0 = value,
            0x10 => numbers.1 = value,
            0x18 => numbers.2 = value,
            _ => break,
        }
        version = rest;
    }
    Some(numbers)
}

/// A length-delimited field that comes first, and what it holds.
fn field(message: &[u8], number: u64) -> Option<(u64, &[u8])> {
    let (tag, rest) = varint(message)?;
    if tag != number << 3 | 2 {
        return None;
    }
    let (len, rest) = varint(rest)?;
    Some((tag, rest.get(..usize::try_from(len).ok()?)?))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << u32::try_from(i).ok()?.checked_mul(7)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i.checked_add(1)?..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// The first bytes of what Envoy 1.40.0 says of itself.
    #[test]
    fn reads_what_envoy_says() {
        let envoy = [0x0a, 4, 8, 1, 16, 40, 18, 141, 1, 10, 26];
        assert_eq!(parse(&envoy), Some((1, 40, 0)));
        assert_eq!(parse(&[0x0a, 6, 8, 1, 16, 36, 24, 7, 18]), Some((1, 36, 7)));
    }

    #[test]
    fn anything_else_says_nothing() {
        for bytes in [
            &b""[..],
            b"\x0a",
            b"\x0a\xff",
            b"\x12\x00",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
