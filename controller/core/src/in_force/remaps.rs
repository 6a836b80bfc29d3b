//! Edits that would have the keys of live sessions read from elsewhere.

use std::sync::Arc;

use clew_crds::ALLOW_REMAP_ANNOTATION;
use clew_crds::websocket_route::{SessionPolicy, Verification};

use super::Kept;
use super::text::{Text, Written};
use crate::model::{Owner, RuleName, World};
use crate::objects::Sourced;
use crate::refusal::{Code, ObjectRef, Refusal};
use crate::validate::Validated;

/// Refuses those that nobody has said are wanted.
pub(super) fn refuse<T: Text>(good: &Kept<T>, written: &Written<'_, T>, validated: &mut Validated) {
    for report in &mut validated.routes {
        let owner = report.owner();
        if T::owner(&owner.name) != owner {
            continue;
        }
        let (Some(before), Some(sourced)) = (good.get(&owner.name), written.get(&owner.name)) else {
            continue;
        };
        if !Arc::ptr_eq(before, &sourced.object) {
            report
                .refusals
                .extend(of(&**before, sourced, &owner, &validated.world));
        }
    }
}

/// The rules whose sessions would find another pod, because their keys are read from elsewhere. Sources that are added
/// behind the old ones move nobody who had a key.
fn of<T: Text>(before: &T, sourced: &Sourced<T>, owner: &Owner, world: &World) -> Vec<Refusal> {
    let now = &sourced.object;
    let annotations = now.metadata().annotations.as_ref();
    if annotations
        .and_then(|all| all.get(ALLOW_REMAP_ANNOTATION))
        .is_some_and(|value| value == "true")
    {
        return Vec::new();
    }
    let sources = |policy: &SessionPolicy| {
        let mut sources = policy
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
    let before = before.policies();
    let mut refusals = Vec::new();
    for (field, rule, policy) in now.policies() {
        let Some((_, _, old)) = before.iter().find(|(_, old, _)| *old == rule) else {
            continue;
        };
        if sources(policy).starts_with(&sources(old)) {
            continue;
        }
        let pods = pods(world, owner, rule);
        if pods < 2 {
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
                kind: owner.kind.as_str(),
                name: owner.name.clone(),
            },
            source: sourced.source.clone(),
            field: format!("{field}.sessionKey.sources"),
            message,
            parent: None,
        });
    }
    refusals
}

/// How many pods the keys of a rule lie on; of a policy's rules those of the one with the most.
fn pods(world: &World, owner: &Owner, rule: Option<&str>) -> usize {
    let is_it = |named: &RuleName| named.owner() == *owner && rule.is_none_or(|rule| rule == named.rule);
    let attached = world.rules().filter(|rule| is_it(&rule.name));
    let pods = attached.map(|rule| -> usize {
        let backends = rule.backends.iter();
        let backends = backends.filter_map(|share| world.backends.get(&share.id));
        backends.map(|backend| backend.serving().count()).sum()
    });
    pods.max().unwrap_or_default()
}
