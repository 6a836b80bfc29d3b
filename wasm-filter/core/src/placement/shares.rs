//! Which of several backendRefs: weighted rendezvous hashing in whole numbers.
//!
//! Each backend draws `−log₂(u)` for the key, `u` uniform in (0, 1), divides it by its weight, and the smallest wins:
//! the race of exponential clocks, won by each in proportion to its weight. The quotients are compared crosswise and
//! exactly, so a key leaves backend `a` for `b` only if `b`'s weight grew more than `a`'s, whatever the logarithm's
//! precision; that is 2⁻⁴⁷ absolute, which makes a share wrong by at most 2⁻⁴⁷ × (sum of weights ÷ its weight) of
//! itself: 10⁻⁷ for one in sixteen million.

use clew_filter_config::rule::WeightedBackend;

use super::hash::{KeyHash, Seed, score};

/// The backendRefs of one rule with their shares, in the rule's order.
#[derive(Clone, Debug, Default)]
pub struct Shares(Vec<Share>);

#[derive(Clone, Debug)]
struct Share {
    hash: u64,
    weight: u32,
}

impl Shares {
    /// Lays out a rule's backends.
    #[must_use]
    pub fn new(seed: &Seed, backends: &[WeightedBackend]) -> Self {
        let share = |backend: &WeightedBackend| Share {
            hash: seed.name(&backend.id),
            weight: backend.weight,
        };
        Self(backends.iter().map(share).collect())
    }

    /// The backend of a key among those with weight that `usable` admits; the first of equals. When one falls out,
    /// only its own keys move.
    pub fn choose(&self, key: KeyHash, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, u32, usize)> = None;
        for (i, share) in self.0.iter().enumerate() {
            if share.weight == 0 || !usable(i) {
                continue;
            }
            let clock = minus_log2(score(key, share.hash));
            let sooner = |&(other, weight, _): &(u64, u32, usize)| {
                product(clock, weight) < product(other, share.weight)
            };
            if best.as_ref().is_none_or(sooner) {
                best = Some((clock, share.weight, i));
            }
        }
        best.map(|(_, _, i)| i)
    }
}

fn product(clock: u64, weight: u32) -> u128 {
    u128::from(clock).saturating_mul(u128::from(weight))
}

/// Fractional bits of [`minus_log2`].
const FRACTION: u32 = 48;

/// `−log₂(x / 2⁶⁴)` in units of 2⁻⁴⁸, 0 counting as 1: at most 64 × 2⁴⁸. Digit by digit: squaring the mantissa
/// doubles its logarithm, whose whole part is the next binary digit.
fn minus_log2(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    // In [2⁶³, 2⁶⁴): the mantissa, in [1, 2).
    let mut mantissa = x << zeros;
    let mut log = 0_u64;
    for _ in 0..FRACTION {
        let square = u128::from(mantissa).saturating_mul(u128::from(mantissa));
        let carry = (square >> 127) as u64;
        log = log << 1 | carry;
        mantissa = (square >> 63 >> carry) as u64;
    }
    (u64::from(zeros).wrapping_add(1) << FRACTION).saturating_sub(log)
}

#[cfg(test)]
mod tests {
    use super::{FRACTION, minus_log2};

    #[test]
    fn powers_of_two_are_exact() {
        for bit in 0..64 {
            assert_eq!(minus_log2(1 << bit), (64 - bit) << FRACTION);
        }
        assert_eq!(minus_log2(0), minus_log2(1));
    }

    /// Expected: `-(Decimal(x) / 2**64).ln() / Decimal(2).ln() * 2**48` with 60 digits, in Python.
    #[test]
    fn others_are_right_to_the_last_digit() {
        for (x, expected) in [
            (u64::MAX, 0),
            (0xc000_0000_0000_0000, 116_822_670_443_561),
            (0x8000_0000_0000_0001, 281_474_976_710_655),
            (12_345_678_901_234_567_890, 163_075_349_046_951),
            (3, 17_568_271_226_504_233),
        ] {
            assert!(minus_log2(x).abs_diff(expected) <= 1, "{x:#x}: {}", minus_log2(x));
        }
    }
}
