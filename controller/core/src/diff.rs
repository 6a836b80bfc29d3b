//! What a change of manifests does, before it is made: to objects, to listeners, to those who are connected, and to keys.

mod ends;
mod keys;
mod listeners;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use clew_filter_core::placement::Seed;
use serde::Serialize;

use crate::model::{Rule, World};
use crate::render::envoy::Settings;
use crate::render::rules::Drains;
use crate::render::{Object, gateway_api, istio};
use crate::simulate::Moved;
pub use ends::who_may_end;
use keys::Placing;
use listeners::Listeners;

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Objects in a cluster, in the order in which they are written.
    pub objects: Vec<ObjectDiff>,
    /// Listeners whose sessions end: all of them, or with TLS those of the hosts that go.
    pub listeners: Vec<ListenerDiff>,
    /// Listeners that are new or get more hosts, which ends nobody.
    pub added_listeners: Vec<ListenerDiff>,
    /// Secrets that Envoys of our own use, which ends nobody.
    pub secrets: Vec<SecretDiff>,
    /// Rules, in the order of their names.
    pub rules: Vec<RuleDiff>,
}

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Created,
    /// It is another than before.
    Changed,
    /// It goes.
    Deleted,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        })
    }
}

/// An object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectDiff {
    /// What happens to it.
    pub action: Action,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A listener of an Envoy of our own that is another one afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenerDiff {
    /// `namespace/name` of its gateway.
    pub gateway: String,
    /// What it is bound to.
    pub address: SocketAddr,
    /// What becomes of it.
    pub why: String,
    /// `namespace/route/rule` of each rule that it serves, before the change if it was there.
    pub rules: BTreeSet<String>,
}

/// What an Envoy of our own has of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretDiff {
    /// What happens to it.
    pub action: Action,
    /// `namespace/name`. None: the keys of session tokens, of whichever Secret.
    pub name: Option<String>,
    /// What it is for.
    pub what: String,
}

/// A rule of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleDiff {
    /// What happens to it.
    pub action: Action,
    /// `namespace/route/rule`.
    pub rule: String,
    /// Which of its open sessions may end, and by which field. Empty: none does.
    pub ends: Vec<String>,
    /// How the keys of its sessions move. None: no key places them, before or after.
    pub keys: Option<Moved>,
}

/// A world, and which of its pods are leaving.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// What is in force.
    pub world: &'a World,
    /// Who takes no sessions.
    pub drains: &'a Drains,
}

/// Compares what is in force with what would be. `keys`: made-up keys that are placed on each rule, before and after.
#[must_use]
pub fn diff(before: State<'_>, after: State<'_>, seed: &Seed, settings: &Settings, keys: u32) -> Diff {
    let listeners = Listeners::of(before, after, settings);
    Diff {
        objects: objects(&written(before.world), &written(after.world)),
        listeners: listeners.touched,
        added_listeners: listeners.added,
        secrets: secrets::secrets(before.world, after.world),
        rules: rules(before, after, &Placing { seed, keys }),
    }
}

fn written(world: &World) -> Vec<Object> {
    [istio::render(world), gateway_api::render(world)].concat()
}

fn objects(before: &[Object], after: &[Object]) -> Vec<ObjectDiff> {
    let (old, new) = (by_name(before), by_name(after));
    let written = after.iter().filter_map(|object| match old.get(&name(object)) {
        None => Some(ObjectDiff::new(Action::Created, object)),
        Some(old) if *old != object => Some(ObjectDiff::new(Action::Changed, object)),
        Some(_) => None,
    });
    let is_gone = |object: &&Object| !new.contains_key(&name(object));
    let gone = before.iter().rev().filter(is_gone);
    written
        .chain(gone.map(|object| ObjectDiff::new(Action::Deleted, object)))
        .collect()
}

type Name<'a> = (&'static str, &'static str, &'a str, &'a str);

fn name(object: &Object) -> Name<'_> {
    let metadata = &object.metadata;
    (
        object.api_version,
        object.kind,
        &metadata.namespace,
        &metadata.name,
    )
}

fn by_name(objects: &[Object]) -> BTreeMap<Name<'_>, &Object> {
    objects.iter().map(|object| (name(object), object)).collect()
}

impl ObjectDiff {
    fn new(action: Action, object: &Object) -> Self {
        Self {
            action,
            kind: object.kind,
            namespace: object.metadata.namespace.to_string(),
            name: object.metadata.name.to_string(),
        }
    }
}

fn rules(before: State<'_>, after: State<'_>, placing: &Placing<'_>) -> Vec<RuleDiff> {
    let (old, new) = (by_rule(before.world), by_rule(after.world));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let of = |name: &String| {
        let (action, ends, keys) = match (old.get(name), new.get(name)) {
            (None, _) => (Action::Created, Vec::new(), None),
            (Some(_), None) => (Action::Deleted, Vec::new(), None),
            (Some(old), Some(new)) => {
                let keys = placing.moved((old, before), (new, after));
                if old == new && keys.is_none_or(|moved| moved.keys == 0) {
                    return None;
                }
                (Action::Changed, who_may_end(&old.terms, &new.terms), keys)
            }
        };
        Some(RuleDiff {
            action,
            rule: name.clone(),
            ends,
            keys,
        })
    };
    names.into_iter().filter_map(of).collect()
}

fn by_rule(world: &World) -> BTreeMap<String, &Arc<Rule>> {
    world.rules().map(|rule| (rule.name.to_string(), rule)).collect()
}

#[cfg(test)]
mod tests;
