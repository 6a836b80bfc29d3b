//! What one gateway's filters must know, with the version at which each entry last changed, so that a proxy that holds
//! an older version gets only the difference.

use std::collections::{BTreeMap, VecDeque};

use clew_filter_config::channel::{PROTOCOL, Update};
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::{Backend, Draining, Rule};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Entries that are gone are remembered up to this many; a proxy that held an older version than the forgotten ones
/// gets everything.
const TOMBSTONES: usize = 1024;
/// So many snapshots are known again when another controller has told a proxy the same.
const REMEMBERED: usize = 64;

/// Everything that one gateway's filters must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// By the first part of the route name.
    pub(crate) rules: BTreeMap<String, Rule>,
    /// By `namespace/name:port`.
    pub(crate) backends: BTreeMap<String, Backend>,
    /// The keys of persistence tokens.
    pub(crate) signing_keys: Vec<SigningKey>,
    /// Set while the whole proxy drains.
    pub(crate) draining: Option<Draining>,
}

/// The versions of one gateway's snapshots.
#[derive(Debug)]
pub(crate) struct Table {
    /// One for each life of the controller: numbers of another life say nothing.
    epoch: String,
    /// The hash seed.
    seed: String,
    version: u64,
    /// What all of it comes to: the same for every controller that says the same.
    digest: u64,
    /// Of the last snapshots, and their numbers.
    digests: VecDeque<(u64, u64)>,
    /// A proxy that holds less than this gets everything.
    oldest_delta: u64,
    rules: BTreeMap<String, Entry<Rule>>,
    backends: BTreeMap<String, Entry<Backend>>,
    signing_keys: Vec<SigningKey>,
    draining: Option<Draining>,
}

#[derive(Debug)]
struct Entry<T> {
    changed_at: u64,
    /// Of the key and the value; 0: gone.
    digest: u64,
    /// `None`: gone.
    value: Option<T>,
}

impl Table {
    pub(crate) fn new(epoch: String, seed: String) -> Self {
        Self {
            epoch,
            seed,
            version: 0,
            digest: 0,
            digests: VecDeque::new(),
            oldest_delta: 0,
            rules: BTreeMap::new(),
            backends: BTreeMap::new(),
            signing_keys: Vec::new(),
            draining: None,
        }
    }

    /// The number of the newest snapshot; 0 before the first.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Makes `snapshot` what the proxies get. The version moves only when something differs.
    pub(crate) fn publish(&mut self, snapshot: Snapshot) -> u64 {
        let next = self.version + 1;
        let mut changed = self.version == 0
            || self.draining != snapshot.draining
            || self.signing_keys != snapshot.signing_keys;
        self.draining = snapshot.draining;
        self.signing_keys = snapshot.signing_keys;
        changed |= replace(&mut self.rules, snapshot.rules, next);
        changed |= replace(&mut self.backends, snapshot.backends, next);
        if changed {
            self.version = next;
            self.digest = self.sum();
            self.digests.push_front((self.digest, next));
            self.digests.truncate(REMEMBERED);
            self.forget();
        }
        self.version
    }

    /// The backends of the newest snapshot.
    pub(crate) fn backends(&self) -> BTreeMap<String, Backend> {
        let there = |(id, entry): (&String, &Entry<Backend>)| Some((id.clone(), entry.value.clone()?));
        self.backends.iter().filter_map(there).collect()
    }

    fn sum(&self) -> u64 {
        let entries = self.rules.values().map(|entry| entry.digest);
        let entries = entries.chain(self.backends.values().map(|entry| entry.digest));
        let rest = digest("", &(&self.seed, &self.signing_keys, &self.draining));
        entries.fold(rest, u64::wrapping_add)
    }

    /// What a proxy that holds `have` lacks; `None` when that is nothing, or when nothing was ever published.
    pub(crate) fn since(&self, have: Option<&str>) -> Option<Update> {
        if self.version == 0 {
            return None;
        }
        let held = have.and_then(|have| self.number(have));
        if held == Some(self.version) {
            return None;
        }
        let after = held.filter(|held| *held >= self.oldest_delta);
        Some(Update {
            protocol: PROTOCOL,
            version: format!("{}:{}:{:016x}", self.epoch, self.version, self.digest),
            full: after.is_none(),
            seed: self.seed.clone(),
            signing_keys: self.signing_keys.clone(),
            rules: changed_after(&self.rules, after),
            backends: changed_after(&self.backends, after),
            draining: self.draining,
        })
    }

    /// The number of the snapshot with which the last of these rules became what it is; at least the first.
    pub(crate) fn changed_at<'a>(&self, rules: impl IntoIterator<Item = &'a str>) -> u64 {
        let known = rules.into_iter().filter_map(|rule| self.rules.get(rule));
        known.map(|entry| entry.changed_at).max().unwrap_or(1)
    }

    /// The number of a version: of this life of the controller, or of one that says the same as one of this life.
    pub(crate) fn number(&self, version: &str) -> Option<u64> {
        let (epoch, rest) = version.split_once(':')?;
        let (number, digest) = rest.split_once(':').unwrap_or((rest, ""));
        if epoch == self.epoch {
            return number.parse().ok().filter(|n| *n <= self.version);
        }
        let digest = u64::from_str_radix(digest, 16).ok()?;
        let known = self.digests.iter().find(|(known, _)| *known == digest)?;
        Some(known.1)
    }

    fn forget(&mut self) {
        let gone = self.rules.values().filter(|e| e.value.is_none()).count()
            + self.backends.values().filter(|e| e.value.is_none()).count();
        if gone > TOMBSTONES {
            self.rules.retain(|_, entry| entry.value.is_some());
            self.backends.retain(|_, entry| entry.value.is_some());
            self.oldest_delta = self.version;
        }
    }
}

/// Whether anything differed.
fn replace<T: PartialEq + Serialize>(
    entries: &mut BTreeMap<String, Entry<T>>,
    new: BTreeMap<String, T>,
    at: u64,
) -> bool {
    let mut changed = false;
    for (key, entry) in entries.iter_mut() {
        if entry.value.is_some() && !new.contains_key(key) {
            *entry = Entry {
                changed_at: at,
                digest: 0,
                value: None,
            };
            changed = true;
        }
    }
    for (key, value) in new {
        match entries.get_mut(&key) {
            Some(entry) if entry.value.as_ref() == Some(&value) => {}
            _ => {
                let entry = Entry {
                    changed_at: at,
                    digest: digest(&key, &value),
                    value: Some(value),
                };
                entries.insert(key, entry);
                changed = true;
            }
        }
    }
    changed
}

fn digest(key: &str, value: &impl Serialize) -> u64 {
    // What is sent as JSON can be written as JSON.
    let bytes = serde_json::to_vec(&(key, value)).unwrap_or_default();
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Without `after`, everything that is there; with it, what changed later, the gone included.
fn changed_after<T: Clone>(
    entries: &BTreeMap<String, Entry<T>>,
    after: Option<u64>,
) -> BTreeMap<String, Option<T>> {
    entries
        .iter()
        .filter(|(_, entry)| after.map_or(entry.value.is_some(), |after| entry.changed_at > after))
        .map(|(key, entry)| (key.clone(), entry.value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Snapshot, TOMBSTONES, Table};
    use clew_filter_config::persistence::SigningKey;
    use clew_filter_config::rule::{Backend, Draining, Pod};

    fn backends(names: &[&str]) -> Snapshot {
        Snapshot {
            backends: names
                .iter()
                .map(|name| ((*name).to_owned(), Backend::default()))
                .collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn nothing_is_said_before_the_first_snapshot() {
        assert_eq!(Table::new("e".into(), "s".into()).since(None), None);
    }

    #[test]
    fn a_new_proxy_gets_everything_and_then_nothing() {
        let mut table = Table::new("e".into(), "s".into());
        table.publish(backends(&["a", "b"]));
        let update = table.since(None).unwrap();
        assert!(update.full);
        assert_eq!(update.seed, "s");
        assert_eq!(update.backends.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(table.since(Some(&update.version)), None);
    }

    #[test]
    fn an_empty_first_snapshot_is_an_answer() {
        let mut table = Table::new("e".into(), "s".into());
        table.publish(Snapshot::default());
        assert!(table.since(None).unwrap().full);
    }

    #[test]
    fn equal_snapshots_are_one_version() {
        let mut table = Table::new("e".into(), "s".into());
        assert_eq!(table.publish(backends(&["a"])), 1);
        assert_eq!(table.publish(backends(&["a"])), 1);
    }

    #[test]
    fn an_older_proxy_gets_the_difference() {
        let mut table = Table::new("e".into(), "s".into());
        table.publish(backends(&["a", "b"]));
        let mut next = backends(&["a", "c"]);
        next.backends.get_mut("a").unwrap().pods.push(Pod {
            name: "p".into(),
            uid: String::new(),
            address: "127.0.0.1:1".into(),
            steer: None,
            draining: None,
        });
        table.publish(next);
        let delta = table.since(Some("e:1")).unwrap();
        assert!(!delta.full);
        assert!(delta.version.starts_with("e:2:"), "{}", delta.version);
        assert_eq!(delta.backends["a"].as_ref().unwrap().pods.len(), 1);
        assert_eq!(delta.backends["b"], None);
        assert!(delta.backends["c"].is_some());
    }

    #[test]
    fn a_version_of_another_life_counts_as_none() {
        let mut table = Table::new("e".into(), "s".into());
        table.publish(backends(&["a"]));
        for have in ["f:1", "e:2", "e:", "1", ""] {
            assert!(table.since(Some(have)).unwrap().full, "{have}");
        }
    }

    #[test]
    fn a_version_of_another_controller_that_says_the_same_is_known() {
        let mut ours = Table::new("e".into(), "s".into());
        let mut theirs = Table::new("f".into(), "s".into());
        ours.publish(backends(&["a", "b"]));
        ours.publish(backends(&["a"]));
        theirs.publish(backends(&["a"]));
        let same = theirs.since(None).unwrap().version;
        assert_eq!((ours.number(&same), ours.since(Some(&same))), (Some(2), None));
        theirs.publish(backends(&["b", "a"]));
        let older = theirs.since(None).unwrap().version;
        let delta = ours.since(Some(&older)).unwrap();
        assert!(!delta.full && delta.backends["b"].is_none());
        theirs.publish(backends(&["c"]));
        assert_eq!(ours.number(&theirs.since(None).unwrap().version), None);
        let mut reseeded = Table::new("g".into(), "t".into());
        reseeded.publish(backends(&["a"]));
        assert_eq!(reseeded.number(&same), None, "another seed");
    }

    #[test]
    fn a_drain_of_the_whole_proxy_is_a_new_version() {
        let mut table = Table::new("e".into(), "s".into());
        table.publish(backends(&["a"]));
        let mut next = backends(&["a"]);
        next.draining = Some(Draining {
            since_ms: 1,
            timeout_ms: 2,
        });
        table.publish(next);
        let delta = table.since(Some("e:1")).unwrap();
        assert_eq!((delta.full, delta.backends.len()), (false, 0));
        assert_eq!(
            delta.draining,
            Some(Draining {
                since_ms: 1,
                timeout_ms: 2
            })
        );
    }

    #[test]
    fn signing_keys_are_a_new_version_and_come_with_each() {
        let mut table = Table::new("e".into(), "s".into());
        let with = |signs| Snapshot {
            signing_keys: vec![SigningKey {
                secret: "ab".into(),
                signs,
            }],
            ..backends(&["a"])
        };
        table.publish(with(false));
        assert_eq!(table.publish(with(true)), 2);
        let delta = table.since(Some("e:1")).unwrap();
        assert_eq!((delta.full, delta.signing_keys), (false, with(true).signing_keys));
    }

    #[test]
    fn forgotten_removals_become_a_full_answer() {
        let mut table = Table::new("e".into(), "s".into());
        for i in 0..=TOMBSTONES + 1 {
            table.publish(backends(&["a", &format!("b{i}")]));
        }
        let update = table.since(Some("e:1")).unwrap();
        assert!(update.full);
        assert_eq!(update.backends.len(), 2);
        assert!(update.backends.values().all(Option::is_some));
    }
}
