//! Tables by names that the controller gave, by numbers that Envoy counts up, or by keyed hashes. Nobody outside makes such
//! keys, so they need no hash that withstands an attack, which would cost more than everything else that is done with them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map. Never by what a client sends, as it was sent.
pub type Table<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// A set. Never of what a client sends, as it was sent.
pub type Names<K> = HashSet<K, BuildHasherDefault<Spread>>;

/// Spreads keys over all bits of the hash, eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::Spread;

    #[test]
    fn numbers_and_names_that_differ_little_lie_apart() {
        let build = BuildHasherDefault::<Spread>::default();
        // What decides about a place in a table: the low bits, and the highest seven.
        let place = |hash: u64| (hash & 0xff, hash >> 57);
        let numbers: BTreeSet<_> = (0..256_u32).map(|id| place(build.hash_one(id))).collect();
        let names: BTreeSet<_> = (0..256)
            .map(|i| place(build.hash_one(format!("shop/chat/rule-{i}"))))
            .collect();
        assert!(
            numbers.len() > 250 && names.len() > 250,
            "{} {}",
            numbers.len(),
            names.len()
        );
    }
}
