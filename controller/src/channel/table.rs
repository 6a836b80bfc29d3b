//! What one gateway's filters must know, with the version at which each entry last changed, so that a proxy that holds
//! an older version gets only the difference.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clew_filter_config::channel::{PROTOCOL, Update};
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::{Backend, Draining, Rule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::memory;
use crate::packed::Packed;

/// So many changes are remembered; a proxy that held an older version than the forgotten ones gets everything.
const CHANGES: usize = 1024;
/// So many snapshots are known again when another controller has told a proxy the same.
const REMEMBERED: usize = 64;

/// Everything that one gateway's filters must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// By the first part of the route name, or by the key of somebody else's.
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
    /// Of everything but the entries.
    rest: u64,
    /// The last changes of entries, the oldest first.
    changes: VecDeque<Change>,
}

/// The entries of one kind.
type Entries<T> = BTreeMap<String, Entry<T>>;

#[derive(Debug)]
struct Entry<T> {
    changed_at: u64,
    /// Of the key and the value; 0: gone.
    digest: u64,
    /// `None`: gone.
    value: Option<Packed<T>>,
}

impl<T: Serialize + DeserializeOwned> Entry<T> {
    /// None: gone.
    fn open(&self) -> Option<T> {
        self.value.as_ref()?.open()
    }
}

/// Which entry became another one, and with which version.
#[derive(Debug)]
struct Change {
    at: u64,
    what: What,
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Rule,
    Backend,
}

/// The entries that a snapshot speaks of: what it does not have of them is gone, and the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// By the first part of the route name.
    pub(crate) rules: BTreeSet<String>,
    /// By `namespace/name:port`.
    pub(crate) backends: BTreeSet<String>,
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
            rest: 0,
            changes: VecDeque::new(),
        }
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&mut self) {
        memory::tighten(&mut self.rules);
        memory::tighten(&mut self.backends);
        self.changes.shrink_to_fit();
        let rules = self.rules.values_mut().filter_map(|entry| entry.value.as_mut());
        rules.for_each(Packed::tighten);
        let backends = self
            .backends
            .values_mut()
            .filter_map(|entry| entry.value.as_mut());
        backends.for_each(Packed::tighten);
    }

    /// The number of the newest snapshot; 0 before the first.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Makes `snapshot` what the proxies get. The version moves only when something differs.
    pub(crate) fn publish(&mut self, snapshot: Snapshot) -> u64 {
        let all = Scope {
            rules: self.rules.keys().cloned().collect(),
            backends: self.backends.keys().cloned().collect(),
        };
        self.publish_part(&all, snapshot)
    }

    /// As [`publish`](Self::publish), of the entries of a scope and no others: it costs what these cost.
    pub(crate) fn publish_part(&mut self, scope: &Scope, snapshot: Snapshot) -> u64 {
        let next = self.version + 1;
        let is_other = self.version == 0
            || self.draining != snapshot.draining
            || self.signing_keys != snapshot.signing_keys;
        if is_other {
            self.draining = snapshot.draining;
            self.signing_keys = snapshot.signing_keys;
            let rest = digest("", &(&self.seed, &self.signing_keys, &self.draining));
            self.digest = self.digest.wrapping_sub(self.rest).wrapping_add(rest);
            self.rest = rest;
        }
        let rules = replace(&mut self.rules, &scope.rules, snapshot.rules, next);
        let backends = replace(&mut self.backends, &scope.backends, snapshot.backends, next);
        let (of_rules, of_backends) = (rules.sum, backends.sum);
        self.digest = self.digest.wrapping_add(of_rules).wrapping_add(of_backends);
        let change = |what| move |key| Change { at: next, what, key };
        let before = self.changes.len();
        self.changes
            .extend(rules.changed.into_iter().map(change(What::Rule)));
        self.changes
            .extend(backends.changed.into_iter().map(change(What::Backend)));
        if is_other || self.changes.len() > before {
            self.version = next;
            self.digests.push_front((self.digest, next));
            self.digests.truncate(REMEMBERED);
            self.forget();
        }
        self.version
    }

    /// The entries of a scope, as they are told now.
    pub(crate) fn part(&self, scope: &Scope) -> Snapshot {
        Snapshot {
            rules: part(&self.rules, &scope.rules),
            backends: part(&self.backends, &scope.backends),
            signing_keys: self.signing_keys.clone(),
            draining: self.draining,
        }
    }

    /// Whether the newest snapshot has a rule.
    pub(crate) fn has_rule(&self, id: &str) -> bool {
        self.rules.get(id).is_some_and(|entry| entry.value.is_some())
    }

    /// Whether the newest snapshot has a backend.
    pub(crate) fn has_backend(&self, id: &str) -> bool {
        self.backends.get(id).is_some_and(|entry| entry.value.is_some())
    }

    /// Whether it has a backend, or had until not long ago.
    pub(crate) fn has_had_backend(&self, id: &str) -> bool {
        self.backends.contains_key(id)
    }

    /// A backend of the newest snapshot.
    pub(crate) fn backend(&self, id: &str) -> Option<Backend> {
        self.backends.get(id)?.open()
    }

    /// The backends of the newest snapshot.
    pub(crate) fn backends(&self) -> BTreeMap<String, Backend> {
        let there = |(id, entry): (&String, &Entry<Backend>)| Some((id.clone(), entry.open()?));
        self.backends.iter().filter_map(there).collect()
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
            rules: self.changed_after(&self.rules, What::Rule, after),
            backends: self.changed_after(&self.backends, What::Backend, after),
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

    /// Without `after`, everything that is there; with it, what changed later, the gone included.
    fn changed_after<T: Serialize + DeserializeOwned>(
        &self,
        entries: &Entries<T>,
        what: What,
        after: Option<u64>,
    ) -> BTreeMap<String, Option<T>> {
        let Some(after) = after else {
            let there = entries.iter().filter(|(_, entry)| entry.value.is_some());
            return there.map(|(key, entry)| (key.clone(), entry.open())).collect();
        };
        let later = self.changes.iter().rev().take_while(|change| change.at > after);
        later
            .filter(|change| change.what == what)
            .filter_map(|change| Some((change.key.clone(), entries.get(&change.key)?.open())))
            .collect()
    }

    fn forget(&mut self) {
        while self.changes.len() > CHANGES {
            let Some(Change { at, what, key }) = self.changes.pop_front() else {
                return;
            };
            self.oldest_delta = at;
            match what {
                What::Rule => forget(&mut self.rules, &key, at),
                What::Backend => forget(&mut self.backends, &key, at),
            }
        }
    }
}

/// What of a gone entry nobody needs any more.
fn forget<T>(entries: &mut Entries<T>, key: &str, at: u64) {
    if entries
        .get(key)
        .is_some_and(|entry| entry.value.is_none() && entry.changed_at == at)
    {
        entries.remove(key);
    }
}

fn part<T: Serialize + DeserializeOwned>(
    entries: &Entries<T>,
    keys: &BTreeSet<String>,
) -> BTreeMap<String, T> {
    keys.iter()
        .filter_map(|key| Some((key.clone(), entries.get(key)?.open()?)))
        .collect()
}

/// What has become of entries: which are others, and by how much the sum of their digests is larger.
struct Replaced {
    changed: Vec<String>,
    sum: u64,
}

/// Makes `new` what there is of `scope`.
fn replace<T: Serialize + DeserializeOwned>(
    entries: &mut Entries<T>,
    scope: &BTreeSet<String>,
    new: BTreeMap<String, T>,
    at: u64,
) -> Replaced {
    let mut replaced = Replaced {
        changed: Vec::new(),
        sum: 0,
    };
    for key in scope.iter().filter(|key| !new.contains_key(*key)) {
        if let Some(entry) = entries.get_mut(key).filter(|entry| entry.value.is_some()) {
            replaced.sum = replaced.sum.wrapping_sub(entry.digest);
            replaced.changed.push(key.clone());
            *entry = Entry {
                changed_at: at,
                digest: 0,
                value: None,
            };
        }
    }
    for (key, value) in new {
        let before = entries.get(&key);
        let packed = Packed::new(&value).ok();
        if before.is_some_and(|entry| entry.value == packed) {
            continue;
        }
        let digest = digest(&key, &value);
        let gone = before.map_or(0, |entry| entry.digest);
        replaced.sum = replaced.sum.wrapping_sub(gone).wrapping_add(digest);
        replaced.changed.push(key.clone());
        let entry = Entry {
            changed_at: at,
            digest,
            value: packed,
        };
        entries.insert(key, entry);
    }
    replaced
}

fn digest(key: &str, value: &impl Serialize) -> u64 {
    // What is sent as JSON can be written as JSON.
    let bytes = serde_json::to_vec(&(key, value)).unwrap_or_default();
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
