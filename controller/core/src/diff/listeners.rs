//! Which listeners a change touches: one changed byte of one ends all its sessions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ListenerDiff, State};
use crate::model::{ObjectName, World};
use crate::render::envoy::{self, Settings};

/// Those that are there before and are other ones afterwards, or gone.
pub(super) fn touched(before: State<'_>, after: State<'_>, settings: &Settings) -> Vec<ListenerDiff> {
    let (old, new) = (of_envoy(before, settings), of_envoy(after, settings));
    let of_envoy = old.into_iter().filter_map(|(name, listener)| {
        let why = match new.get(&name) {
            Some(same) if *same == listener => return None,
            Some(_) => "what its Gateway says of the listener changes",
            None => "the listener goes",
        };
        Some(ListenerDiff {
            gateway: name,
            why: why.to_owned(),
        })
    });
    let (old, new) = (filtered(before.world), filtered(after.world));
    let first = new.difference(&old).map(|gateway| ListenerDiff {
        gateway: gateway.to_string(),
        why: "Envoy Gateway puts the filter into a listener with its first HTTPRoute".to_owned(),
    });
    let last = old.difference(&new).map(|gateway| ListenerDiff {
        gateway: gateway.to_string(),
        why: "Envoy Gateway takes the filter out of a listener with its last HTTPRoute".to_owned(),
    });
    of_envoy.chain(first).chain(last).collect()
}

/// The listeners of Envoys of our own, by their names.
fn of_envoy(state: State<'_>, settings: &Settings) -> BTreeMap<String, Value> {
    let rendered = envoy::render(state.world, settings, state.drains);
    let content: Value = serde_json::from_str(&rendered.listeners.content).unwrap_or_default();
    let listeners = content["resources"].as_array().cloned().unwrap_or_default();
    let named = |listener: Value| (listener["name"].as_str().unwrap_or_default().to_owned(), listener);
    listeners.into_iter().map(named).collect()
}

/// The gateways of Envoy Gateway's that have a route of ours.
fn filtered(world: &World) -> BTreeSet<&ObjectName> {
    world.gateway_api.rules_by_gateway().into_keys().collect()
}
