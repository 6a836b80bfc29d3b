//! Backends that no rule leads to any more while sessions are on them. Filters go on being told of their pods, so that they drain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::model::{BackendId, World};
use clew_core::objects;
use clew_crds::websocket_route::Drain;

use super::neighbours::{Topic, of_service};
use super::told::Told;
use crate::channel::{Channel, Left};

/// Of each gateway, by what its proxies call it.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    backends: BTreeMap<String, BTreeMap<String, Left>>,
    /// Gateways, and backends that rules lead to though proxies are not told of them.
    carried: BTreeSet<(String, String)>,
    /// What filters were ever told of without a rule.
    spoken: Told,
    /// The drain timeouts of rules that name another than the usual one, in milliseconds.
    timeouts: BTreeMap<String, u64>,
}

impl Lingering {
    /// As proxies say it now. True: there is something to do.
    pub(crate) fn look(&mut self, channel: &Channel) -> bool {
        let name = |gateway: &str, backend: &str| (gateway.to_owned(), backend.to_owned());
        let is_left = |gateway: &str, backend: &str| {
            let of_it = self.backends.get(gateway);
            of_it.is_some_and(|backends| backends.contains_key(backend))
        };
        let mut now =
            channel.left(|gateway, id| is_left(gateway, id) || self.carried.contains(&name(gateway, id)));
        let mut carried = BTreeSet::new();
        for (gateway, backends) in &mut now {
            backends.retain(|id, left| {
                let name = name(gateway, id);
                if !self.carried.contains(&name) {
                    return true;
                }
                if !left.is_told {
                    carried.insert(name);
                }
                false
            });
        }
        now.retain(|_, backends| !backends.is_empty());
        let is_news = now != self.backends;
        self.backends = now;
        self.carried = carried;
        is_news
    }

    /// Each gateway and its backends.
    pub(crate) fn of_gateways(&self) -> BTreeMap<String, BTreeSet<BackendId>> {
        let read = |backends: &BTreeMap<String, Left>| -> BTreeSet<BackendId> {
            backends.keys().filter_map(|id| BackendId::read(id)).collect()
        };
        let of = |(gateway, backends): (&String, &_)| (gateway.clone(), read(backends));
        self.backends.iter().map(of).collect()
    }

    /// How the sessions on each came there.
    pub(crate) fn all(&self) -> BTreeMap<BackendId, objects::Lingering> {
        let mut all = BTreeMap::<_, objects::Lingering>::new();
        for (id, left) in self.backends.values().flatten() {
            let Some(id) = BackendId::read(id) else { continue };
            let of_it = all.entry(id).or_default();
            of_it.rules.extend(left.rules.iter().cloned());
            let timeouts = left.rules.iter().filter_map(|rule| self.timeouts.get(rule));
            of_it.drain_timeout_ms = timeouts.copied().chain(of_it.drain_timeout_ms).min();
        }
        all
    }

    /// Rules as they are now; where these are all, what is kept of others is what those need by which sessions that are `open` came.
    pub(crate) fn remember(&mut self, open: Option<&BTreeSet<String>>, world: &World) {
        let usual = Drain::default().timeout.as_millis();
        if let Some(open) = open {
            self.timeouts.retain(|rule, _| open.contains(rule));
        }
        for rule in world.rules() {
            match rule.drain_timeout_ms {
                timeout if timeout == usual => drop(self.timeouts.remove(&rule.name.to_string())),
                timeout => drop(self.timeouts.insert(rule.name.to_string(), timeout)),
            }
        }
    }

    /// What a change of their Services and pods has in common with them.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        let ids = self.backends.values().flat_map(BTreeMap::keys);
        ids.filter_map(|id| BackendId::read(id))
            .map(|id| of_service(&id.service))
    }

    /// What filters may be told of those that linger, or did.
    pub(crate) fn told(&self) -> &Told {
        &self.spoken
    }

    /// To all others some rule leads.
    pub(crate) fn retain(&mut self, left: &BTreeSet<(String, String)>) {
        for (gateway, backends) in &mut self.backends {
            backends.retain(|id, _| {
                let name = (gateway.clone(), id.clone());
                let is_left = left.contains(&name);
                if !is_left {
                    self.carried.insert(name);
                }
                is_left
            });
        }
        self.backends.retain(|_, backends| !backends.is_empty());
        for (gateway, backends) in &self.backends {
            self.spoken
                .add_backends(&Arc::from(gateway.as_str()), backends.keys());
        }
    }
}
