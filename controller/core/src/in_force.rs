//! What an edit may not take away: a route whose new text is refused stays in force as it last was good.
//!
//! What is refused for the sake of others (a conflict, a parent that is gone) is not kept: the text is good, and its place
//! is not free.

mod key_sets;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_crds::websocket_route::{RouteRule, Verification};
use clew_crds::{ALLOW_REMAP_ANNOTATION, WebSocketRoute};

use crate::model::{Jwks, ObjectName, OwnerKind, World};
use crate::objects::{Objects, Sourced};
use crate::refusal::{Code, Condition, ObjectRef, Refusal};
use crate::validate::{RouteReport, Target, Validated, name_of, validate};
use key_sets::KeySets;

/// The routes as they last were good. Equal ones share every route, not only its text.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    routes: BTreeMap<ObjectName, Arc<WebSocketRoute>>,
    key_sets: KeySets,
}

impl PartialEq for InForce {
    fn eq(&self, other: &Self) -> bool {
        self.key_sets == other.key_sets
            && self.routes.len() == other.routes.len()
            && self
                .routes
                .iter()
                .zip(&other.routes)
                .all(|((_, one), (_, other))| Arc::ptr_eq(one, other))
    }
}

/// Routes that were good before, such as those that an earlier process kept.
impl FromIterator<WebSocketRoute> for InForce {
    fn from_iter<T: IntoIterator<Item = WebSocketRoute>>(routes: T) -> Self {
        let named = |route: WebSocketRoute| (name_of(&route.metadata), Arc::new(route));
        Self {
            routes: routes.into_iter().map(named).collect(),
            key_sets: KeySets::new(),
        }
    }
}

impl InForce {
    /// Every route as it last was good, in the order of their names.
    pub fn routes(&self) -> impl Iterator<Item = &WebSocketRoute> {
        self.routes.values().map(Arc::as_ref)
    }

    /// A route as it last was good.
    #[must_use]
    pub fn route(&self, name: &ObjectName) -> Option<&Arc<WebSocketRoute>> {
        self.routes.get(name)
    }

    /// With these routes as they last were good, and no others.
    #[must_use]
    pub fn with_routes(self, routes: impl IntoIterator<Item = (ObjectName, Arc<WebSocketRoute>)>) -> Self {
        Self {
            routes: routes.into_iter().collect(),
            ..self
        }
    }

    /// Takes the routes out, to be kept elsewhere.
    pub fn take_routes(&mut self) -> BTreeMap<ObjectName, Arc<WebSocketRoute>> {
        std::mem::take(&mut self.routes)
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
        let written = objects
            .routes
            .iter()
            .map(|sourced| (name_of(&sourced.object.metadata), sourced));
        // Of two with one name the first counts.
        let written: BTreeMap<_, _> = written.rev().collect();
        self.refuse_remaps(&written, &mut validated);
        let spoiled: BTreeSet<_> = validated
            .routes
            .iter()
            .filter(|report| is_route(report) && is_spoiled(report))
            .map(|report| report.name.clone())
            .collect();
        let kept: BTreeSet<_> = spoiled
            .iter()
            .filter(|name| self.routes.contains_key(*name))
            .collect();
        if !kept.is_empty() {
            self.put_back(&objects, &kept, target, &mut validated);
        }
        self.routes.retain(|name, _| written.contains_key(name));
        for (name, sourced) in written {
            if !spoiled.contains(&name) {
                self.routes.insert(name, sourced.object.clone());
            }
        }
        self.key_sets.clone_from(&validated.world.key_sets);
        key_sets::say(said, &mut validated);
        validated
    }

    /// Validates again with the old text of the routes that are kept; what is said of their new text stays said.
    fn put_back(
        &self,
        objects: &Objects,
        kept: &BTreeSet<&ObjectName>,
        target: Target,
        validated: &mut Validated,
    ) {
        let mut objects = objects.clone();
        for sourced in &mut objects.routes {
            let name = name_of(&sourced.object.metadata);
            if let Some(good) = self.routes.get(&name).filter(|_| kept.contains(&name)) {
                sourced.object = good.clone();
            }
        }
        let before = validate(&objects, target);
        let reports = std::mem::take(&mut validated.routes);
        *validated = before;
        for (report, new) in validated.routes.iter_mut().zip(reports) {
            if is_route(report) && kept.contains(&report.name) {
                let stays = report.parents.iter().any(|parent| parent.in_force);
                *report = new;
                if stays
                    && let Some(first) = report.refusals.iter_mut().find(|refusal| is_of_the_text(refusal))
                {
                    first.message += "; until then the route stays in force as it was before this edit";
                }
            }
        }
    }

    fn refuse_remaps(
        &self,
        written: &BTreeMap<ObjectName, &Sourced<WebSocketRoute>>,
        validated: &mut Validated,
    ) {
        for report in validated.routes.iter_mut().filter(|report| is_route(report)) {
            let (Some(before), Some(sourced)) = (self.routes.get(&report.name), written.get(&report.name))
            else {
                continue;
            };
            if Arc::ptr_eq(before, &sourced.object) {
                continue;
            }
            report
                .refusals
                .extend(remaps(before, sourced, &report.name, &validated.world));
        }
    }
}

/// Policies are not kept: without one the HTTPRoutes of its targets are what they were.
fn is_route(report: &RouteReport) -> bool {
    report.kind == OwnerKind::Route
}

/// Whether the route's own text keeps it out.
fn is_spoiled(report: &RouteReport) -> bool {
    report.refusals.iter().any(is_of_the_text)
}

fn is_of_the_text(refusal: &Refusal) -> bool {
    refusal.parent.is_none() && matches!(refusal.code.condition(), Condition::Accepted(_))
}

/// The rules whose sessions would find another pod, because their keys are read from elsewhere. Sources that are added
/// behind the old ones move nobody who had a key.
fn remaps(
    before: &WebSocketRoute,
    sourced: &Sourced<WebSocketRoute>,
    name: &ObjectName,
    world: &World,
) -> Vec<Refusal> {
    let route = &sourced.object;
    let annotations = route.metadata.annotations.as_ref();
    if annotations
        .and_then(|all| all.get(ALLOW_REMAP_ANNOTATION))
        .is_some_and(|value| value == "true")
    {
        return Vec::new();
    }
    let sources = |rule: &RouteRule| {
        let mut sources = rule
            .policy
            .session_key
            .as_ref()
            .map(|key| key.sources.clone())
            .unwrap_or_default();
        // A claim says the same when it is verified.
        for claim in sources.iter_mut().filter_map(|source| source.jwt_claim.as_mut()) {
            claim.verification = Verification::None;
        }
        sources
    };
    let mut refusals = Vec::new();
    for (i, rule) in route.spec.rules.iter().enumerate() {
        let Some(old) = before.spec.rules.iter().find(|old| old.name == rule.name) else {
            continue;
        };
        let (old, new) = (sources(old), sources(rule));
        let pods = pods(world, name, rule);
        if new.starts_with(&old) || pods < 2 {
            continue;
        }
        let message = format!(
            "the keys of a live rule would be read from elsewhere, and about {} of {pods} of them would move to another pod; \
             to let them, set the annotation {ALLOW_REMAP_ANNOTATION}: \"true\"",
            pods - 1
        );
        refusals.push(Refusal {
            code: Code::KeysWouldMove,
            object: ObjectRef {
                kind: "WebSocketRoute",
                name: name.clone(),
            },
            source: sourced.source.clone(),
            field: format!("spec.rules[{i}].sessionKey.sources"),
            message,
            parent: None,
        });
    }
    refusals
}

/// How many pods the keys of a rule lie on.
fn pods(world: &World, route: &ObjectName, rule: &RouteRule) -> usize {
    let of_this = |named: &crate::model::RuleName| {
        named.route == *route && rule.name.as_ref().is_none_or(|name| *name == named.rule)
    };
    let attached = world.rules().find(|rule| of_this(&rule.name));
    attached
        .into_iter()
        .flat_map(|rule| &rule.backends)
        .filter_map(|share| world.backends.get(&share.id))
        .map(|backend| backend.serving().count())
        .sum()
}

#[cfg(test)]
mod tests;
