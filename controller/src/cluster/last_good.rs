//! The routes as they last were good, from one turn to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use clew_core::in_force::InForce;
use clew_core::model::ObjectName;
use clew_crds::WebSocketRoute;

use super::about::About;
use super::resolve::Resolved;
use crate::packed::Packed;

/// Their texts, one with what the API server said wherever that is good.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastGood {
    routes: BTreeMap<ObjectName, Packed<WebSocketRoute>>,
    /// All but the routes.
    rest: InForce,
}

impl LastGood {
    /// A route.
    pub(crate) fn route(&self, name: &ObjectName) -> Option<&Packed<WebSocketRoute>> {
        self.routes.get(name)
    }

    /// Those that a turn is about.
    pub(crate) fn of(&self, about: &About, resolved: &Resolved) -> InForce {
        let open = |name: &ObjectName| {
            let kept = self.routes.get(name)?;
            let route = match resolved.texts.get(name) {
                Some((text, route)) if text.is(kept) => route.clone(),
                _ => Arc::new(kept.open()?),
            };
            Some((name.clone(), route))
        };
        let routes: Vec<_> = match about.everything {
            true => self.routes.keys().filter_map(open).collect(),
            false => about.names_of_routes().iter().filter_map(open).collect(),
        };
        self.rest.clone().with_routes(routes)
    }

    fn forget(&mut self, about: &About) {
        for name in about.names_of_routes() {
            self.routes.remove(&name);
        }
    }

    /// What a turn has found to be in force; of other routes it stays.
    pub(crate) fn keep(&mut self, about: &About, resolved: &Resolved, mut in_force: InForce) {
        match about.everything {
            true => self.routes.clear(),
            false => self.forget(about),
        }
        for (name, route) in in_force.take_routes() {
            let text = match resolved.texts.get(&name) {
                Some((text, there)) if Arc::ptr_eq(there, &route) => Some(text.clone()),
                _ => Packed::new(&*route).ok(),
            };
            self.routes.extend(text.map(|text| (name, text)));
        }
        match about.everything {
            true => self.rest = in_force,
            false => self.rest.add_key_sets(in_force),
        }
    }
}
