//! The text of what has rules: a route's, or a policy's.

use std::collections::{BTreeMap, BTreeSet};

use clew_crds::websocket_route::{RouteMatch, SessionPolicy};
use clew_crds::{WebSocketPolicy, WebSocketRoute};

use super::Kept;
use crate::model::{ObjectName, Owner};
use crate::objects::Sourced;
use crate::validate::{Aged, name_of};

/// What is written of one kind, by its name.
pub(super) type Written<'a, T> = BTreeMap<ObjectName, &'a Sourced<T>>;

/// What says how sessions are kept.
pub(super) trait Text: Aged {
    fn owner(name: &ObjectName) -> Owner;

    /// What it says of each of its rules, or of HTTPRoutes', which it does not know.
    fn parts(&self) -> Vec<Part<'_>>;
}

/// What is said of some rule.
pub(super) struct Part<'a> {
    /// Where.
    pub(super) field: String,
    pub(super) rule: Option<&'a str>,
    pub(super) matches: &'a [RouteMatch],
    pub(super) policy: &'a SessionPolicy,
}

impl Text for WebSocketRoute {
    fn owner(name: &ObjectName) -> Owner {
        Owner::route(name.clone())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let rules = self.spec.rules.iter().enumerate();
        rules
            .map(|(i, rule)| Part {
                field: format!("spec.rules[{i}]"),
                rule: rule.name.as_deref(),
                matches: &rule.matches,
                policy: &rule.policy,
            })
            .collect()
    }
}

impl Text for WebSocketPolicy {
    fn owner(name: &ObjectName) -> Owner {
        Owner::policy(name.clone())
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part {
            field: "spec".to_owned(),
            rule: None,
            matches: &[],
            policy: &self.spec.policy,
        }]
    }
}

/// By their names; of two with one name the first counts.
pub(super) fn written<T: Text>(objects: &[Sourced<T>]) -> Written<'_, T> {
    let named = objects
        .iter()
        .map(|sourced| (name_of(sourced.object.metadata()), sourced));
    named.rev().collect()
}

/// Whether it was good before.
pub(super) fn is_known<T: Text>(good: &Kept<T>, owner: &Owner) -> bool {
    T::owner(&owner.name) == *owner && good.contains_key(&owner.name)
}

/// Has the old text stand where the new one is.
pub(super) fn put_back<T: Text>(good: &Kept<T>, objects: &mut [Sourced<T>], kept: &BTreeSet<&Owner>) {
    for sourced in objects {
        let name = name_of(sourced.object.metadata());
        if let Some(good) = good.get(&name).filter(|_| kept.contains(&T::owner(&name))) {
            sourced.object = good.clone();
        }
    }
}
