//! Envoy's Maglev table, bit for bit: which value of the hash header reaches which host.
//!
//! Read in Envoy 1.40 and compared with it (`decoder/capture.py`): a header value is hashed by xxHash64 with seed 0, and
//! the hash modulo the table's size is its slot. The hosts, sorted by their key `ip:port`, take slots in turn, one each;
//! a host's k-th wish is slot `(offset + k · skip) mod size` with `offset = xxHash64(key) mod size` and `skip =
//! xxHash64(key, seed 1) mod (size − 1) + 1`, and it takes the first wish that is still free.
//!
//! So a host's first wish is the very slot that its own `ip:port` hashes to: as a header value, an address reaches its
//! host, unless another host took that slot in the first round. Only the first round can take it, because in that round
//! every host gets a slot: whether an address decodes to its host needs no table, just one turn of each host.

use std::collections::HashMap;

use xxhash_rust::xxh64::xxh64;

/// The table size that is rendered: Envoy's default, a prime.
pub const TABLE_SIZE: u32 = 65_537;

/// A whole table.
#[derive(Clone, Debug)]
pub struct Table {
    hosts: Vec<String>,
    /// Index into the hosts; empty where there are none.
    slots: Vec<u32>,
}

/// The wishes of one host.
#[derive(Clone, Copy)]
struct Wishes {
    next: u64,
    skip: u64,
    size: u64,
}

impl Wishes {
    fn of(host: &str, size: u64) -> Self {
        Self {
            next: xxh64(host.as_bytes(), 0) % size,
            skip: xxh64(host.as_bytes(), 1) % (size - 1) + 1,
            size,
        }
    }

    /// The first wish that is free, and on to the next one.
    fn take(&mut self, free: impl Fn(u64) -> bool) -> u64 {
        loop {
            let slot = self.next;
            self.next = (slot + self.skip) % self.size;
            if free(slot) {
                return slot;
            }
        }
    }
}

impl Table {
    /// The table of hosts, each `ip:port` as Envoy prints it, of one weight. `size` is a prime.
    ///
    /// # Panics
    /// When `size` is below 2.
    #[must_use]
    pub fn new(hosts: &[String], size: u32) -> Self {
        const FREE: u32 = u32::MAX;
        let hosts = sorted(hosts);
        if hosts.is_empty() {
            return Self {
                hosts,
                slots: Vec::new(),
            };
        }
        let mut wishes: Vec<_> = hosts.iter().map(|host| Wishes::of(host, size.into())).collect();
        let mut slots = vec![FREE; size as usize];
        for turn in 0..slots.len() {
            let host = turn % wishes.len();
            let slot = wishes[host].take(|slot| slots[slot as usize] == FREE);
            slots[slot as usize] = host as u32;
        }
        Self { hosts, slots }
    }

    /// The host that a header value reaches. None: there are no hosts.
    #[must_use]
    pub fn host_of(&self, value: &str) -> Option<&str> {
        let size = self.slots.len() as u64;
        let slot = xxh64(value.as_bytes(), 0).checked_rem(size)?;
        self.hosts
            .get(self.slots[slot as usize] as usize)
            .map(String::as_str)
    }
}

/// For each host, in the order given, the header value that reaches it: None where that is its own `ip:port`, which it
/// nearly always is, else another one. Hosts beyond the table's size are not reached by anything.
#[must_use]
pub fn steer(hosts: &[String], size: u32) -> Vec<Option<String>> {
    let mut owners: HashMap<u64, &str> = HashMap::with_capacity(hosts.len());
    let mut elsewhere: HashMap<String, u64> = HashMap::new();
    let sorted = sorted(hosts);
    for host in sorted.iter().take(size as usize) {
        let mut wishes = Wishes::of(host, size.into());
        let wanted = wishes.next;
        let slot = wishes.take(|slot| !owners.contains_key(&slot));
        owners.insert(slot, host);
        if slot != wanted {
            elsewhere.insert(host.clone(), slot);
        }
    }
    hosts
        .iter()
        .map(|host| elsewhere.get(host).map(|slot| value_for(host, *slot, size)))
        .collect()
}

/// A value that hashes to a slot; one in `size` does.
fn value_for(host: &str, slot: u64, size: u32) -> String {
    (0_u64..)
        .map(|n| format!("{host}#{n}"))
        .find(|value| xxh64(value.as_bytes(), 0) % u64::from(size) == slot)
        .unwrap_or_default()
}

/// As Envoy orders them; one address is one host.
fn sorted(hosts: &[String]) -> Vec<String> {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests;
