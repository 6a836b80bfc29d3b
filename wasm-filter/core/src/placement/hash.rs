//! The keyed hashes that decide where sessions go.

use core::fmt;

use siphasher::sip::SipHasher24;

/// The secret that makes placement unguessable from outside. Made once, shared by a fleet, never rotated: another
/// seed is another placement of every key.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 16]);

/// A session key as placement sees it: `SipHash-2-4(seed, key)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub u64);

impl Seed {
    /// A seed of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads 32 hex digits of either case. `None`: it is not that.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let &[high, low] = pair else { return None };
            *byte = hex_digit(high)? << 4 | hex_digit(low)?;
        }
        Some(Self(bytes))
    }

    /// Hashes a session key.
    #[must_use]
    pub fn key(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.hash(key))
    }

    /// Hashes the name of what keys compete for: a pod's, or a backendRef's `namespace/name:port`.
    pub(super) fn name(&self, name: &str) -> u64 {
        self.hash(name.as_bytes())
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        SipHasher24::new_with_key(&self.0).hash(bytes)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

impl KeyHash {
    /// The header value that stands for the key where no pod list is known: 16 lowercase hex digits.
    #[must_use]
    pub fn header(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// What a key is worth to a pod or a backend: the highest wins. A sum keeps a key that is spelled like a name from
/// cancelling out; the finalizer is Stafford's Mix13 (the one of SplitMix64), a bijection.
pub(super) fn score(key: KeyHash, candidate: u64) -> u64 {
    let z = key.0.wrapping_add(candidate);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyHash, Seed};

    /// Appendix A of the SipHash paper: key 00..0f, input 00..0e.
    #[test]
    fn is_siphash_2_4() {
        let seed = Seed::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(seed.key(&input), KeyHash(0xa129_ca61_49be_45e5));
    }

    #[test]
    fn a_seed_is_32_hex_digits_and_stays_secret() {
        let seed = Seed::parse("000102030405060708090A0b0c0d0eFf").unwrap();
        assert_eq!(
            seed,
            Seed::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255])
        );
        assert_eq!(format!("{seed:?}"), "Seed(secret)");
        let short = "0".repeat(31);
        let long = "0".repeat(33);
        let sign = format!("+{short}");
        let wide = format!("{}é", "0".repeat(30));
        for not in ["", &short, &long, &sign, &wide] {
            assert_eq!(Seed::parse(not), None, "{not:?}");
        }
    }

    #[test]
    fn the_header_has_a_fixed_width() {
        assert_eq!(KeyHash(0xab).header(), "00000000000000ab");
    }
}
