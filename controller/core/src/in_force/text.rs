//! The text of what has rules: a route's, or a policy's.

use std::collections::{BTreeMap, BTreeSet};

use clew_crds::websocket_route::SessionPolicy;
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

    /// What it says, the fields in which it does, and the names of the rules that this is for: of the route's own, or of
    /// HTTPRoutes', which it does not know.
    fn policies(&self) -> Vec<(String, Option<&str>, &SessionPolicy)>;
}

impl Text for WebSocketRoute {
    fn owner(name: &ObjectName) -> Owner {
        Owner::route(name.clone())
    }

    fn policies(&self) -> Vec<(String, Option<&str>, &SessionPolicy)> {
        let rules = self.spec.rules.iter().enumerate();
        rules
            .map(|(i, rule)| (format!("spec.rules[{i}]"), rule.name.as_deref(), &rule.policy))
            .collect()
    }
}

impl Text for WebSocketPolicy {
    fn owner(name: &ObjectName) -> Owner {
        Owner::policy(name.clone())
    }

    fn policies(&self) -> Vec<(String, Option<&str>, &SessionPolicy)> {
        vec![("spec".to_owned(), None, &self.spec.policy)]
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
