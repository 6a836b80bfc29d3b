//! Edits that would have the keys of live sessions read from elsewhere.

use std::sync::Arc;

use clew_crds::ALLOW_REMAP_ANNOTATION;
use clew_crds::websocket_route::{KeySource, SessionPolicy, Verification};

use super::Kept;
use super::text::{Part, Text, Written};
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
    let (before, now_parts) = (before.parts(), now.parts());
    let mut refusals = Vec::new();
    for part in &now_parts {
        let Some(old) = predecessor(part, &before, &now_parts) else {
            continue;
        };
        if sources(part.policy).starts_with(&sources(old.policy)) {
            continue;
        }
        let pods = pods(world, owner, part.rule);
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
            field: format!("{}.sessionKey.sources", part.field),
            message,
            parent: None,
        });
    }
    refusals
}

/// What was said of a rule: under its name, or under one that is no more, for the same requests.
fn predecessor<'a>(part: &Part<'_>, before: &'a [Part<'a>], now: &[Part<'_>]) -> Option<&'a Part<'a>> {
    let is_gone = |old: &Part<'_>| now.iter().all(|part| part.rule != old.rule);
    let same_name = before.iter().find(|old| old.rule == part.rule);
    same_name.or_else(|| {
        before
            .iter()
            .find(|old| old.matches == part.matches && is_gone(old))
    })
}

/// Where keys are read, so that equal keys are equal.
fn sources(policy: &SessionPolicy) -> Vec<KeySource> {
    let key = policy.session_key.as_ref();
    let mut sources = key.map(|key| key.sources.clone()).unwrap_or_default();
    for source in &mut sources {
        // A claim says the same when it is verified, and a header is the same in any case (RFC 9110, 5.1).
        if let Some(claim) = &mut source.jwt_claim {
            claim.verification = Verification::None;
            claim.header = claim.header.to_ascii_lowercase();
        }
        if let Some(header) = &mut source.header {
            header.name = header.name.to_ascii_lowercase();
        }
    }
    sources
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
