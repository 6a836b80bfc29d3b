//! The keys with which tokens are verified, as they last were good: a Secret that is spoiled or gone takes no session's
//! token away. Who wants every key gone writes a set without keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{Jwks, ObjectName, Owner};
use crate::objects::{Objects, Sourced};
use crate::refusal::{Code, Refusal};
use crate::validate::{KEY_SET, RouteReport, Target, Validated, name_of, validate};

/// By the name of their Secret.
pub(super) type KeySets = BTreeMap<ObjectName, Jwks>;

/// What was said of key sets that older ones stand in for.
pub(super) type Said = BTreeMap<Owner, Vec<Refusal>>;

/// The objects with the key sets that were good where now there is none, and what became of them; None where nothing is
/// missing.
pub(super) fn put_back(
    good: &KeySets,
    objects: &Objects,
    validated: &Validated,
    target: Target,
) -> Option<(Objects, Validated, Said)> {
    let lost: KeySets = good
        .iter()
        .filter(|(name, _)| !validated.world.key_sets.contains_key(*name))
        .map(|(name, keys)| (name.clone(), keys.clone()))
        .collect();
    if lost.is_empty()
        || !validated
            .routes
            .iter()
            .any(|route| route.refusals.iter().any(of_keys))
    {
        return None;
    }
    let mut objects = objects.clone();
    objects
        .secrets
        .retain(|secret| !lost.contains_key(&name_of(&secret.object.metadata)));
    objects
        .secrets
        .extend(lost.into_iter().map(|(name, keys)| secret(name, keys)));
    let again = validate(&objects, target);
    let said = validated.routes.iter().zip(&again.routes).map(mended).collect();
    Some((objects, again, said))
}

/// Says what was said, and what holds until it is mended.
pub(super) fn say(said: Said, validated: &mut Validated) {
    for report in &mut validated.routes {
        for refusal in said.get(&report.owner()).into_iter().flatten() {
            let mut refusal = refusal.clone();
            refusal.message += "; until then the keys stay in force as they last were good";
            report.refusals.push(refusal);
        }
    }
}

fn of_keys(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::SecretMissing | Code::KeySetInvalid)
}

/// What the first look at a route said of keys and the second did not.
fn mended((first, second): (&RouteReport, &RouteReport)) -> (Owner, Vec<Refusal>) {
    let said = first
        .refusals
        .iter()
        .filter(|refusal| of_keys(refusal) && !second.refusals.contains(refusal));
    (first.owner(), said.cloned().collect())
}

fn secret(name: ObjectName, keys: Jwks) -> Sourced<Secret> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.name.into()),
            namespace: Some(name.namespace.into()),
            ..ObjectMeta::default()
        },
        string_data: Some(BTreeMap::from([(KEY_SET.to_owned(), keys.to_string())])),
        ..Secret::default()
    };
    Sourced {
        object: Arc::new(secret),
        source: Default::default(),
    }
}
