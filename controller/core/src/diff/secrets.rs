//! What a change of Secrets does to Envoys of our own. No session ends by it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, SecretDiff};
use crate::model::{ObjectName, World};

pub(super) fn secrets(before: &World, after: &World) -> Vec<SecretDiff> {
    let certificates = by_name(
        &before.certificates,
        &after.certificates,
        "the certificate of a listener",
    );
    let key_sets = by_name(
        &before.key_sets,
        &after.key_sets,
        "keys that verify tokens of an issuer",
    );
    let mut all: Vec<_> = certificates.chain(key_sets).collect();
    all.extend(signing_keys(before, after));
    all
}

fn by_name<'a, T: PartialEq>(
    old: &'a BTreeMap<ObjectName, T>,
    new: &'a BTreeMap<ObjectName, T>,
    what: &'static str,
) -> impl Iterator<Item = SecretDiff> + 'a {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter_map(move |name| {
        let action = match (old.get(name), new.get(name)) {
            (None, _) => Action::Created,
            (Some(_), None) => Action::Deleted,
            (old, new) if old == new => return None,
            _ => Action::Changed,
        };
        Some(SecretDiff {
            action,
            name: Some(name.to_string()),
            what: what.to_owned(),
        })
    })
}

fn signing_keys(before: &World, after: &World) -> Option<SecretDiff> {
    let (old, new) = (&before.signing_keys, &after.signing_keys);
    if old == new {
        return None;
    }
    let keys = |world: &World| -> BTreeSet<String> {
        let keys = world.signing_keys.iter();
        keys.map(|key| key.secret.clone()).collect()
    };
    let gone = keys(before).difference(&keys(after)).count();
    let mut what = "keys of session tokens".to_owned();
    if gone > 0 {
        what += &format!("; tokens of {gone} that go count as none");
    }
    let action = match (old.is_empty(), new.is_empty()) {
        (true, _) => Action::Created,
        (_, true) => Action::Deleted,
        _ => Action::Changed,
    };
    Some(SecretDiff {
        action,
        name: None,
        what,
    })
}
