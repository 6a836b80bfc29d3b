//! When each route was first seen: a file has no `creationTimestamp`, and of two routes that want the same handshakes
//! the older one has them.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::ObjectName;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};

/// A save that removes a file and writes it anew must not make its routes young.
const GRACE_MS: u64 = 1_000;

/// The births of all routes, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Births {
    routes: BTreeMap<String, Birth>,
    /// The moment of the reading that is going on; `None` where nobody keeps births.
    #[serde(skip)]
    now_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Birth {
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_ms: Option<u64>,
}

impl Births {
    /// A reading begins.
    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = Some(now_ms);
    }

    /// Gives a route without a `creationTimestamp` the moment at which it was first seen.
    pub(super) fn stamp(&mut self, name: &ObjectName, metadata: &mut ObjectMeta) {
        let Some(now_ms) = self.now_ms.filter(|_| metadata.creation_timestamp.is_none()) else {
            return;
        };
        let fresh = Birth {
            at_ms: now_ms,
            gone_ms: None,
        };
        let birth = self.routes.entry(name.to_string()).or_insert(fresh);
        match birth.gone_ms {
            Some(gone) if now_ms.saturating_sub(gone) > GRACE_MS => *birth = fresh,
            _ => birth.gone_ms = None,
        }
        let millis = i64::try_from(birth.at_ms).unwrap_or(i64::MAX);
        metadata.creation_timestamp = Timestamp::from_millisecond(millis).ok().map(Time);
    }

    /// A reading is over: these routes are there, the others are not.
    pub(super) fn settle(&mut self, present: &BTreeSet<String>) {
        let Some(now_ms) = self.now_ms else { return };
        self.routes.retain(|name, birth| {
            if present.contains(name) {
                return true;
            }
            now_ms.saturating_sub(*birth.gone_ms.get_or_insert(now_ms)) <= GRACE_MS
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Births, GRACE_MS};
    use clew_core::model::ObjectName;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use std::collections::BTreeSet;

    fn birth(births: &mut Births, now_ms: u64) -> i64 {
        let mut metadata = ObjectMeta::default();
        births.set_now(now_ms);
        births.stamp(&ObjectName::new("a", "b"), &mut metadata);
        births.settle(&BTreeSet::from(["a/b".to_owned()]));
        metadata.creation_timestamp.unwrap().0.as_millisecond()
    }

    #[test]
    fn a_route_keeps_its_birth_over_edits_and_restarts() {
        let mut births = Births::default();
        assert_eq!(birth(&mut births, 5), 5);
        assert_eq!(birth(&mut births, 9), 5);
        let mut again: Births = serde_json::from_str(&serde_json::to_string(&births).unwrap()).unwrap();
        assert_eq!(birth(&mut again, 99), 5);
    }

    #[test]
    fn a_route_that_was_gone_is_young_again_but_a_rewritten_file_is_not() {
        let mut births = Births::default();
        birth(&mut births, 5);
        births.set_now(10);
        births.settle(&BTreeSet::new());
        assert_eq!(birth(&mut births, 11), 5);
        births.set_now(20);
        births.settle(&BTreeSet::new());
        assert_eq!(
            birth(&mut births, 21 + GRACE_MS),
            i64::try_from(21 + GRACE_MS).unwrap()
        );
    }
}
