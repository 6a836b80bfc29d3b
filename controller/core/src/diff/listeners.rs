//! Which listeners a change touches: one changed byte of one ends all its sessions. Routes touch none, also where others write the
//! listeners: what `clew install` wrote keeps the filter in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ListenerDiff, State};
use crate::render::envoy::{self, Settings};

/// Those that are there before and are other ones afterwards, or gone.
pub(super) fn touched(before: State<'_>, after: State<'_>, settings: &Settings) -> Vec<ListenerDiff> {
    let (old, new) = (of_envoy(before, settings), of_envoy(after, settings));
    let touched = old.into_iter().filter_map(|(name, listener)| {
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
    touched.collect()
}

/// The listeners of Envoys of our own, by their names.
fn of_envoy(state: State<'_>, settings: &Settings) -> BTreeMap<String, Value> {
    let rendered = envoy::render(state.world, settings, state.drains);
    let content: Value = serde_json::from_str(&rendered.listeners.content).unwrap_or_default();
    let listeners = content["resources"].as_array().cloned().unwrap_or_default();
    let named = |listener: Value| (listener["name"].as_str().unwrap_or_default().to_owned(), listener);
    listeners.into_iter().map(named).collect()
}
