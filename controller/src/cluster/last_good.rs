//! The routes and policies as they last were good, from one turn to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use clew_core::in_force::{InForce, Kept};
use clew_core::model::{ObjectName, OwnerKind};
use clew_crds::{WebSocketPolicy, WebSocketRoute};

use super::about::About;
use super::resolve::Resolved;
use crate::memory;
use crate::packed::Packed;

/// Their texts, one with what the API server said wherever that is good.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastGood {
    routes: BTreeMap<ObjectName, Packed<WebSocketRoute>>,
    policies: Kept<WebSocketPolicy>,
    /// All but these.
    rest: InForce,
}

impl LastGood {
    /// A route.
    pub(crate) fn route(&self, name: &ObjectName) -> Option<&Packed<WebSocketRoute>> {
        self.routes.get(name)
    }

    /// A policy.
    pub(crate) fn policy(&self, name: &ObjectName) -> Option<&Arc<WebSocketPolicy>> {
        self.policies.get(name)
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
        let known = |name: ObjectName| self.policies.get(&name).cloned().map(|policy| (name, policy));
        let (routes, policies) = match about.everything {
            true => (
                self.routes.keys().filter_map(open).collect(),
                self.policies.clone(),
            ),
            false => (
                about.names(OwnerKind::Route).iter().filter_map(open).collect(),
                about
                    .names(OwnerKind::Policy)
                    .into_iter()
                    .filter_map(known)
                    .collect(),
            ),
        };
        self.rest.clone().with(routes, policies)
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&mut self) {
        memory::tighten(&mut self.routes);
    }

    fn forget(&mut self, about: &About) {
        for name in about.names(OwnerKind::Route) {
            self.routes.remove(&name);
        }
        for name in about.names(OwnerKind::Policy) {
            self.policies.remove(&name);
        }
    }

    /// What a turn has found to be in force; of other routes it stays.
    pub(crate) fn keep(&mut self, about: &About, resolved: &Resolved, mut in_force: InForce) {
        match about.everything {
            true => (self.routes, self.policies) = Default::default(),
            false => self.forget(about),
        }
        let (routes, policies) = in_force.take();
        self.policies.extend(policies);
        for (name, route) in routes {
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
