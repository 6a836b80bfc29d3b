use std::collections::{BTreeMap, BTreeSet};

use clew_crds::status::GeneratedObject;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::Value;
use xxhash_rust::xxh64::xxh64;

use super::{MANAGED_BY, MANAGER};
use crate::model::{ObjectName, Owner};
use smol_str::SmolStr;

/// An object that is to be in a cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Group and version.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Name, namespace and whose it is.
    pub metadata: Metadata,
    /// In JSON, which takes a tenth of the memory of a [`Value`].
    #[serde(serialize_with = "as_value")]
    spec: Box<str>,
    /// Whose it is: of routes it stands for these.
    #[serde(skip)]
    pub owners: BTreeSet<Owner>,
}

/// What of an object's metadata is ours to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The name.
    pub name: SmolStr,
    /// The namespace.
    pub namespace: SmolStr,
    /// With [`MANAGED_BY`].
    pub labels: BTreeMap<&'static str, &'static str>,
    /// Rarely any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'static str, String>,
}

impl Object {
    pub(super) fn new(
        api_version: &'static str,
        kind: &'static str,
        name: ObjectName,
        spec: &impl Serialize,
        owners: impl IntoIterator<Item = Owner>,
    ) -> Self {
        Self {
            api_version,
            kind,
            metadata: Metadata {
                name: name.name,
                namespace: name.namespace,
                labels: [(MANAGED_BY, MANAGER)].into(),
                annotations: BTreeMap::new(),
            },
            spec: serde_json::to_string(spec)
                .unwrap_or_else(|error| unreachable!("a spec is text, numbers, lists and objects: {error}"))
                .into(),
            owners: owners.into_iter().collect(),
        }
    }

    /// As the kind's schema has it.
    #[must_use]
    pub fn spec(&self) -> Value {
        serde_json::from_str(&self.spec)
            .unwrap_or_else(|error| unreachable!("what was written as JSON is JSON: {error}"))
    }

    /// The API group; empty for core kinds.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

fn as_value<S: Serializer>(spec: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let value: Value = serde_json::from_str(spec).map_err(S::Error::custom)?;
    value.serialize(serializer)
}

/// The objects that stand for a route, as its status names them.
#[must_use]
pub fn generated(objects: &[Object], owner: &Owner) -> Vec<GeneratedObject> {
    let of_owner = objects.iter().filter(|object| object.owners.contains(owner));
    of_owner
        .map(|object| GeneratedObject {
            group: object.group().to_owned(),
            kind: object.kind.to_owned(),
            namespace: object.metadata.namespace.to_string(),
            name: object.metadata.name.to_string(),
        })
        .collect()
}

/// Eight hex digits that stand for something.
pub(super) fn digits(of: &str) -> String {
    format!("{:08x}", xxh64(of.as_bytes(), 0) >> 32)
}

/// A name with an end of ours, within a kind's bound: a long one is cut, and what was cut is told apart by digits.
pub(super) fn name(stem: &str, end: &str, most: usize) -> String {
    if stem.len() + end.len() < most {
        return format!("{stem}-{end}");
    }
    // A dash, eight digits, a dash and the end.
    let cut = stem.floor_char_boundary(most.saturating_sub(end.len() + 10));
    let kept = stem[..cut].trim_end_matches(['-', '.']);
    format!("{kept}-{}-{end}", digits(stem))
}

/// The most bytes of a Service's name (RFC 1035).
pub(super) const LABEL: usize = 63;
/// The most bytes of the names of most kinds (RFC 1123).
pub(super) const SUBDOMAIN: usize = 253;

#[cfg(test)]
mod tests {
    use super::{LABEL, name};

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        assert_eq!(name("chat", "clew", LABEL), "chat-clew");
        let long = |last: &str| name(&format!("{}{last}", "a".repeat(62)), "clew", LABEL);
        assert_eq!(long("x").len(), LABEL);
        assert_ne!(long("x"), long("y"));
        assert_eq!(name(&"a".repeat(58), "clew", LABEL).len(), LABEL);
    }
}
