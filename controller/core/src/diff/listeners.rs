//! Which listeners a change touches: one changed byte of one ends all its sessions, unless all that it does is to add a host with TLS
//! (Envoy 1.40 takes new filter chains in place). Routes touch none, also where others write the listeners: what `clew install` wrote
//! keeps the filter in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ListenerDiff, State};
use crate::model::{Gateway, Listener, World};
use crate::render::envoy::{self, Settings};

/// Those that are other ones afterwards.
pub(super) struct Listeners {
    /// Whose sessions end.
    pub(super) touched: Vec<ListenerDiff>,
    /// Whose sessions, if there are any, stay.
    pub(super) added: Vec<ListenerDiff>,
}

impl Listeners {
    pub(super) fn of(before: State<'_>, after: State<'_>, settings: &Settings) -> Self {
        let (old, new) = (of_envoy(before, settings), of_envoy(after, settings));
        let mut all = Self {
            touched: Vec::new(),
            added: Vec::new(),
        };
        for (gateway, listener) in listeners(before.world) {
            let name = listener.address.to_string();
            let (to, why) = match (old.get(&name), new.get(&name)) {
                (old, Some(same)) if old == Some(same) => continue,
                (Some(old), Some(new)) if keeps_all(old, new) => match chains(new) > chains(old) {
                    true => (&mut all.added, "it gets more hosts"),
                    false => continue,
                },
                (_, Some(_)) => (&mut all.touched, "what its Gateway says of the listener changes"),
                (_, None) => (&mut all.touched, "the listener goes"),
            };
            to.push(ListenerDiff::new(gateway, listener, why));
        }
        let is_new = |(_, listener): &(&Gateway, &Listener)| !old.contains_key(&listener.address.to_string());
        let new = listeners(after.world).filter(is_new);
        all.added
            .extend(new.map(|(gateway, listener)| ListenerDiff::new(gateway, listener, "it is new")));
        all
    }
}

fn listeners(world: &World) -> impl Iterator<Item = (&Gateway, &Listener)> {
    let of = |gateway| move |listener| (gateway, listener);
    let all = world.gateways.iter();
    all.flat_map(move |gateway| gateway.listeners.iter().map(of(gateway)))
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

/// Whether whoever is connected to one stays with the other: it has every filter chain of the old, and is the same but for those.
fn keeps_all(old: &Value, new: &Value) -> bool {
    let parts = |listener: &Value| {
        let mut rest = listener.clone();
        let chains = rest["filter_chains"].take();
        (chains.as_array().cloned().unwrap_or_default(), rest)
    };
    let ((old, rest), (new, new_rest)) = (parts(old), parts(new));
    rest == new_rest && old.iter().all(|chain| new.contains(chain))
}

fn chains(listener: &Value) -> usize {
    listener["filter_chains"].as_array().map_or(0, Vec::len)
}

/// The listeners of Envoys of our own, by their names.
fn of_envoy(state: State<'_>, settings: &Settings) -> BTreeMap<String, Value> {
    let rendered = envoy::render(state.world, settings, state.drains);
    let content: Value = serde_json::from_str(&rendered.listeners.content).unwrap_or_default();
    let listeners = content["resources"].as_array().cloned().unwrap_or_default();
    let named = |listener: Value| (listener["name"].as_str().unwrap_or_default().to_owned(), listener);
    listeners.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::keeps_all;
    use serde_json::{Value, json};

    #[test]
    fn only_more_hosts_with_tls_keep_all_who_are_connected() {
        let chain = |host: &str, filter: u8| json!({"filter_chain_match": {"server_names": [host]}, "filters": [filter]});
        let listener = |chains: &[Value], limit: u32| json!({"filter_chains": chains, "limit": limit});
        let old = listener(&[chain("a", 1)], 1);
        for (kept, new) in [
            (true, listener(&[chain("a", 1), chain("b", 1)], 1)),
            (true, listener(&[chain("b", 2), chain("a", 1)], 1)),
            (false, listener(&[chain("b", 1)], 1)),
            (false, listener(&[chain("a", 2), chain("b", 1)], 1)),
            (false, listener(&[chain("a", 1), chain("b", 1)], 2)),
        ] {
            assert_eq!(keeps_all(&old, &new), kept, "{new}");
        }
    }
}
