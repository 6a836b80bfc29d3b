//! Which of several backendRefs: weighted rendezvous hashing in whole numbers.
//!
//! Each backend draws `−log₂(u)` for the key, `u` uniform in (0, 1), divides it by its weight, and the smallest wins:
//! the race of exponential clocks, won by each in proportion to its weight. The quotients are compared crosswise and
//! exactly, so a key leaves backend `a` for `b` only if `b`'s weight grew more than `a`'s, whatever the logarithm's
//! precision. That is 2⁻⁴⁶ absolute, which makes a share wrong by at most 2⁻⁴⁶ × (sum of weights ÷ its weight) of
//! itself: a quarter of 10⁻⁶ for one in sixteen million.

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
/// `log₂(1 + 2⁻ᵏ)` in units of 2⁻⁴⁸, for k from 1.
const FACTORS: [u64; 24] = [
    164_652_306_267_095,
    90_614_703_010_926,
    47_829_635_823_533,
    24_618_601_203_987,
    12_495_833_712_511,
    6_295_979_651_253,
    3_160_191_458_785,
    1_583_169_853_355,
    792_356_452_436,
    396_371_483_920,
    198_234_103_539,
    99_129_148_066,
    49_567_598_845,
    24_784_555_718,
    12_392_466_944,
    6_196_280_745,
    3_098_152_191,
    1_549_079_050,
    774_540_264,
    387_270_317,
    193_635_204,
    96_817_614,
    48_408_810,
    24_204_406,
];
/// `log₂(e)` in units of 2⁻³².
const LOG2_E: u64 = 6_196_328_019;

/// `−log₂(x / 2⁶⁴)` in units of 2⁻⁴⁸, 0 counting as 1: at most 64 × 2⁴⁸. By shifts and additions, as 128-bit products
/// are slow in wasm: the mantissa is a product of factors 1 + 2⁻ᵏ, each at most once, and a rest so near to 1 that its
/// logarithm is linear.
fn minus_log2(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    // Both in units of 2⁻⁶², in [1, 2).
    let mantissa = x << zeros >> 1;
    let mut product = 1_u64 << 62;
    let mut log = 0_u64;
    for (k, factor) in (1_u32..).zip(FACTORS) {
        let more = product.wrapping_add(product >> k);
        if more <= mantissa {
            product = more;
            log = log.wrapping_add(factor);
        }
    }
    // Less than 2³⁹, so no bit is lost; `product` is never 0.
    let rest = mantissa.wrapping_sub(product) << 24;
    let rest = rest.checked_div(product >> 24).unwrap_or(0);
    let log = log.wrapping_add(rest.wrapping_mul(LOG2_E) >> 32);
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
    fn others_are_right_to_2_to_the_minus_46() {
        for (x, expected) in [
            (u64::MAX, 0),
            (0xc000_0000_0000_0000, 116_822_670_443_561),
            (0x8000_0000_0000_0001, 281_474_976_710_655),
            (12_345_678_901_234_567_890, 163_075_349_046_951),
            (3, 17_568_271_226_504_233),
        ] {
            assert!(minus_log2(x).abs_diff(expected) <= 4, "{x:#x}: {}", minus_log2(x));
        }
    }
}
