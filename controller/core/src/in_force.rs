//! What an edit may not take away: a route or policy whose new text is refused stays in force as it last was good, and whoever it kept out stays out.
//!
//! What is refused for the sake of others (a conflict, a parent or target that is gone) is not kept: the text is good, and
//! its place is not free.

mod key_sets;
mod remaps;
mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_crds::{WebSocketPolicy, WebSocketRoute};

use crate::model::{Jwks, ObjectName, Owner};
use crate::objects::Objects;
use crate::refusal::{Condition, Refusal};
use crate::validate::{RouteReport, Target, Validated, name_of, validate};
use key_sets::KeySets;
use text::{Text, Written};

/// Texts of one kind, by their names.
pub type Kept<T> = BTreeMap<ObjectName, Arc<T>>;

/// The routes and policies as they last were good. Equal ones share every text.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    routes: Kept<WebSocketRoute>,
    policies: Kept<WebSocketPolicy>,
    key_sets: KeySets,
}

impl PartialEq for InForce {
    fn eq(&self, other: &Self) -> bool {
        self.key_sets == other.key_sets
            && are_shared(&self.routes, &other.routes)
            && are_shared(&self.policies, &other.policies)
    }
}

fn are_shared<T>(one: &Kept<T>, other: &Kept<T>) -> bool {
    one.len() == other.len()
        && one
            .values()
            .zip(other.values())
            .all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Routes that were good before, such as those that an earlier process kept.
impl FromIterator<WebSocketRoute> for InForce {
    fn from_iter<T: IntoIterator<Item = WebSocketRoute>>(routes: T) -> Self {
        let named = |route: WebSocketRoute| (name_of(&route.metadata), Arc::new(route));
        Self::default().with(routes.into_iter().map(named).collect(), Kept::new())
    }
}

impl InForce {
    /// Every route as it last was good, in the order of their names.
    pub fn routes(&self) -> impl Iterator<Item = &WebSocketRoute> {
        self.routes.values().map(Arc::as_ref)
    }

    /// Every policy as it last was good, in the order of their names.
    pub fn policies(&self) -> impl Iterator<Item = &WebSocketPolicy> {
        self.policies.values().map(Arc::as_ref)
    }

    /// With these as they last were good, and no others.
    #[must_use]
    pub fn with(self, routes: Kept<WebSocketRoute>, policies: Kept<WebSocketPolicy>) -> Self {
        Self {
            routes,
            policies,
            ..self
        }
    }

    /// Takes routes and policies out, to be kept elsewhere.
    pub fn take(&mut self) -> (Kept<WebSocketRoute>, Kept<WebSocketPolicy>) {
        (
            std::mem::take(&mut self.routes),
            std::mem::take(&mut self.policies),
        )
    }

    /// What is known of other routes' key sets, too.
    pub fn add_key_sets(&mut self, other: Self) {
        self.key_sets.extend(other.key_sets);
    }

    /// The key sets as they last were good: `(namespace/name of the Secret, the JSON of each key)`.
    pub fn key_sets(&self) -> impl Iterator<Item = (String, &[String])> {
        self.key_sets
            .iter()
            .map(|(name, keys)| (name.to_string(), keys.0.as_slice()))
    }

    /// With key sets that were good before, as [`key_sets`](Self::key_sets) gave them.
    #[must_use]
    pub fn with_key_sets(mut self, sets: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let named = |(name, keys): (String, Vec<String>)| {
            let (namespace, name) = name.split_once('/')?;
            Some((ObjectName::new(namespace, name), Jwks(keys)))
        };
        self.key_sets = sets.into_iter().filter_map(named).collect();
        self
    }

    /// As [`validate`], and what an edit spoiled is in force as it was before.
    pub fn validate(&mut self, objects: &Objects, target: Target) -> Validated {
        let mut validated = validate(objects, target);
        let mut objects = Cow::Borrowed(objects);
        let mut said = Default::default();
        if let Some(kept) = key_sets::put_back(&self.key_sets, &objects, &validated, target) {
            objects = Cow::Owned(kept.0);
            (validated, said) = (kept.1, kept.2);
        }
        let routes = text::written(&objects.routes);
        let policies = text::written(&objects.policies);
        remaps::refuse(&self.routes, &routes, &mut validated);
        remaps::refuse(&self.policies, &policies, &mut validated);
        let spoiled: BTreeSet<_> = validated
            .routes
            .iter()
            .filter(|report| is_spoiled(report))
            .map(RouteReport::owner)
            .collect();
        let kept: BTreeSet<_> = spoiled
            .iter()
            .filter(|owner| text::is_known(&self.routes, owner) || text::is_known(&self.policies, owner))
            .collect();
        if !kept.is_empty() {
            self.put_back(&objects, &kept, target, &mut validated);
        }
        keep(&mut self.routes, routes, &spoiled);
        keep(&mut self.policies, policies, &spoiled);
        self.key_sets.clone_from(&validated.world.key_sets);
        key_sets::say(said, &mut validated);
        validated
    }

    /// Validates again with the old text of what is kept; what is said of its new text stays said.
    fn put_back(
        &self,
        objects: &Objects,
        kept: &BTreeSet<&Owner>,
        target: Target,
        validated: &mut Validated,
    ) {
        let mut objects = objects.clone();
        text::put_back(&self.routes, &mut objects.routes, kept);
        text::put_back(&self.policies, &mut objects.policies, kept);
        let before = validate(&objects, target);
        let reports = std::mem::take(&mut validated.routes);
        *validated = before;
        for (report, new) in validated.routes.iter_mut().zip(reports) {
            if kept.contains(&report.owner()) {
                let stays = report.parents.iter().any(|parent| parent.in_force);
                *report = new;
                let called = report.kind.called();
                if stays
                    && let Some(first) = report.refusals.iter_mut().find(|refusal| is_of_the_text(refusal))
                {
                    first.message +=
                        &format!("; until then the {called} stays in force as it was before this edit");
                }
            }
        }
    }
}

/// What is written counts from now on, but for what is spoiled.
fn keep<T: Text>(good: &mut Kept<T>, written: Written<'_, T>, spoiled: &BTreeSet<Owner>) {
    good.retain(|name, _| written.contains_key(name));
    for (name, sourced) in written {
        if !spoiled.contains(&T::owner(&name)) {
            good.insert(name, sourced.object.clone());
        }
    }
}

/// Whether its own text keeps it out.
fn is_spoiled(report: &RouteReport) -> bool {
    report.refusals.iter().any(is_of_the_text)
}

fn is_of_the_text(refusal: &Refusal) -> bool {
    refusal.parent.is_none() && matches!(refusal.code.condition(), Condition::Accepted(_))
}

#[cfg(test)]
mod tests;
