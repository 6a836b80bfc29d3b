//! Which listeners a change touches: one changed byte of one ends all its sessions. Routes touch none, also where others write the
//! listeners: what `clew install` wrote keeps the filter in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ListenerDiff, State};
use crate::model::{Gateway, Listener};
use crate::render::envoy::{self, Settings};

/// Those that are there before and are other ones afterwards, or gone.
pub(super) fn touched(before: State<'_>, after: State<'_>, settings: &Settings) -> Vec<ListenerDiff> {
    let (old, new) = (of_envoy(before, settings), of_envoy(after, settings));
    let all = before.world.gateways.iter();
    let all = all.flat_map(|gateway| gateway.listeners.iter().map(move |listener| (gateway, listener)));
    let touched = all.filter_map(|(gateway, listener)| {
        let name = listener.address.to_string();
        let why = match (old.get(&name), new.get(&name)) {
            (old, Some(same)) if old == Some(same) => return None,
            (_, Some(_)) => "what its Gateway says of the listener changes",
            (_, None) => "the listener goes",
        };
        Some(ListenerDiff::new(gateway, listener, why))
    });
    touched.collect()
}

impl ListenerDiff {
    fn new(gateway: &Gateway, listener: &Listener, why: &str) -> Self {
        Self {
            gateway: gateway.name.to_string(),
            address: listener.address,
            why: why.to_owned(),
            rules: listener.rules().map(|rule| rule.name.to_string()).collect(),
        }
    }
}

/// The listeners of Envoys of our own, by their names.
fn of_envoy(state: State<'_>, settings: &Settings) -> BTreeMap<String, Value> {
    let rendered = envoy::render(state.world, settings, state.drains);
    let content: Value = serde_json::from_str(&rendered.listeners.content).unwrap_or_default();
    let listeners = content["resources"].as_array().cloned().unwrap_or_default();
    let named = |listener: Value| (listener["name"].as_str().unwrap_or_default().to_owned(), listener);
    listeners.into_iter().map(named).collect()
}
