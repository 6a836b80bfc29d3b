//! What the workers of one Envoy process share: a table of small entries, so that nobody ever reads or writes all of it.
//!
//! The worker that polls the channel writes each rule and each backend of an update to an entry of its own, then the
//! index of what there is, and last the head with the version. Any worker finds a rule there from the moment it is
//! written, so an acknowledged version is one that all workers serve; and a poller that dies half-way leaves the old
//! head, with which the next one asks for the same update again.

use std::collections::BTreeSet;

use clew_filter_config::channel::News;
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::Draining;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The names of the entries. A gateway's are its own: a process may serve several, and modules of others.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Those of a gateway (`namespace/name`).
    #[must_use]
    pub fn new(gateway: &str) -> Self {
        Self {
            prefix: format!("clew.{gateway}."),
        }
    }

    /// A rule, as JSON; empty: gone.
    #[must_use]
    pub fn rule(&self, id: &str) -> String {
        self.name("rule.", id)
    }

    /// A backend, as JSON; empty: gone.
    #[must_use]
    pub fn backend(&self, id: &str) -> String {
        self.name("backend.", id)
    }

    /// The [`Head`].
    #[must_use]
    pub fn head(&self) -> String {
        self.name("head", "")
    }

    /// The [`Index`].
    #[must_use]
    pub fn index(&self) -> String {
        self.name("index", "")
    }

    /// Who polls ([`crate::lease`]).
    #[must_use]
    pub fn lease(&self) -> String {
        self.name("lease", "")
    }

    /// The process's name towards the controller.
    #[must_use]
    pub fn proxy(&self) -> String {
        self.name("proxy", "")
    }

    /// The [members](crate::live::Members).
    #[must_use]
    pub fn members(&self) -> String {
        self.name("members", "")
    }

    /// A member's sessions, as the JSON of `Poll::live`.
    #[must_use]
    pub fn live(&self, member: &str) -> String {
        self.name("live.", member)
    }

    /// A member's sessions by pod of one backend ([`crate::live::Load`]).
    #[must_use]
    pub fn load(&self, member: &str, backend: &str) -> String {
        format!("{}load.{member}.{backend}", self.prefix)
    }

    /// A [bucket](crate::limits::Bucket) of the sessions that are limited.
    #[must_use]
    pub fn seats(&self, bucket: u64) -> String {
        format!("{}seats.{bucket:x}", self.prefix)
    }

    /// The token bucket of a rule's handshakes ([`crate::limits::take`]).
    #[must_use]
    pub fn rate(&self, rule: &str) -> String {
        self.name("rate.", rule)
    }

    /// The queue by which a context of a member wakes itself.
    #[must_use]
    pub fn queue(&self, member: &str, context: u32) -> String {
        format!("{}wake.{member}.{context}", self.prefix)
    }

    fn name(&self, kind: &str, id: &str) -> String {
        format!("{}{kind}{id}", self.prefix)
    }
}

/// Which version the entries hold, and what is not of a single rule or backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// `Update::version`.
    pub version: String,
    /// `Update::seed`.
    pub seed: String,
    /// `Update::signing_keys`.
    #[serde(default)]
    pub signing_keys: Vec<SigningKey>,
    /// `Update::draining`.
    #[serde(default)]
    pub draining: Option<Draining>,
}

/// A [`Head`] as it is written: of what came.
#[derive(Serialize)]
struct NewHead<'a> {
    version: String,
    seed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_keys: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<&'a RawValue>,
}

/// What entries there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Rules.
    pub rules: BTreeSet<String>,
    /// Backends.
    pub backends: BTreeSet<String>,
}

/// One entry to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub name: String,
    /// What it shall hold.
    pub bytes: Vec<u8>,
}

/// The entries to write, in this order, so that the table holds `update`. `index` is what it says it holds.
#[must_use]
pub fn writes(names: &Names, update: News<'_>, mut index: Index) -> Vec<Write> {
    let mut writes = Vec::new();
    let before = index.clone();
    if update.full {
        index = Index::default();
    }
    for (id, rule) in update.rules {
        let bytes = raw(rule);
        writes.push(Write {
            name: names.rule(&id),
            bytes,
        });
        if rule.is_some() {
            index.rules.insert(id);
        } else {
            index.rules.remove(&id);
        }
    }
    for (id, backend) in update.backends {
        let bytes = raw(backend);
        writes.push(Write {
            name: names.backend(&id),
            bytes,
        });
        if backend.is_some() {
            index.backends.insert(id);
        } else {
            index.backends.remove(&id);
        }
    }
    let gone = |name| Write {
        name,
        bytes: Vec::new(),
    };
    if update.full {
        writes.extend(
            before
                .rules
                .difference(&index.rules)
                .map(|id| gone(names.rule(id))),
        );
        writes.extend(
            before
                .backends
                .difference(&index.backends)
                .map(|id| gone(names.backend(id))),
        );
    }
    writes.push(Write {
        name: names.index(),
        bytes: json(&index),
    });
    let head = NewHead {
        version: update.version,
        seed: update.seed,
        signing_keys: update.signing_keys,
        draining: update.draining,
    };
    writes.push(Write {
        name: names.head(),
        bytes: json(&head),
    });
    writes
}

/// Reads an entry; what cannot be read counts as absent.
#[must_use]
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    if bytes.is_empty() {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

fn raw(entry: Option<&RawValue>) -> Vec<u8> {
    entry
        .map(|value| value.get().as_bytes().to_vec())
        .unwrap_or_default()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps with string keys and plain values always encode.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clew_filter_config::channel::{News, Update};
    use clew_filter_config::rule::Backend;

    use super::{Head, Index, Names, Write, parse, writes};

    fn index(backends: &[&str]) -> Index {
        Index {
            backends: backends.iter().map(|id| (*id).to_owned()).collect(),
            ..Index::default()
        }
    }

    fn update(full: bool, backends: &[(&str, bool)]) -> Vec<u8> {
        let backends = backends
            .iter()
            .map(|(id, is)| ((*id).to_owned(), is.then(Backend::default)));
        let update = Update {
            version: "v2".to_owned(),
            full,
            backends: backends.collect::<BTreeMap<_, _>>(),
            ..Update::default()
        };
        serde_json::to_vec(&update).unwrap()
    }

    fn names(writes: &[Write]) -> Vec<(&str, bool)> {
        writes
            .iter()
            .map(|w| (w.name.as_str(), w.bytes.is_empty()))
            .collect()
    }

    #[test]
    fn a_delta_touches_what_it_names_and_the_head_comes_last() {
        let names_of = Names::new("infra/edge");
        let all = writes(
            &names_of,
            News::parse(&update(false, &[("a", true), ("b", false)])).unwrap(),
            index(&["b", "c"]),
        );
        assert_eq!(
            names(&all),
            [
                ("clew.infra/edge.backend.a", false),
                ("clew.infra/edge.backend.b", true),
                ("clew.infra/edge.index", false),
                ("clew.infra/edge.head", false)
            ]
        );
        assert_eq!(parse::<Index>(&all[2].bytes), Some(index(&["a", "c"])));
        assert_eq!(parse::<Head>(&all[3].bytes).unwrap().version, "v2");
    }

    #[test]
    fn a_full_update_blanks_what_it_does_not_name() {
        let update = update(true, &[("a", true)]);
        let all = writes(
            &Names::new("g"),
            News::parse(&update).unwrap(),
            index(&["a", "c"]),
        );
        let names = names(&all);
        assert_eq!(
            names.get(..2),
            Some(&[("clew.g.backend.a", false), ("clew.g.backend.c", true)][..])
        );
        assert_eq!(parse::<Index>(&all[2].bytes), Some(index(&["a"])));
    }

    #[test]
    fn what_is_not_known_here_is_passed_on() {
        let update = br#"{"protocol":9,"version":"v","full":true,"seed":"","rules":{"r":{"config":"c","new":[1]}},"draining":null,"more":1}"#;
        let all = writes(&Names::new("g"), News::parse(update).unwrap(), Index::default());
        assert_eq!(all[0].bytes, br#"{"config":"c","new":[1]}"#);
        assert_eq!(all[2].bytes, br#"{"version":"v","seed":""}"#);
    }

    #[test]
    fn what_is_empty_or_broken_is_absent() {
        assert_eq!(parse::<Head>(b""), None);
        assert_eq!(parse::<Head>(b"{"), None);
        assert_eq!(parse::<Head>(b"\xff\x00"), None);
    }
}
