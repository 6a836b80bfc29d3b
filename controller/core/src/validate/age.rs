use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::ObjectName;
use crate::objects::{DestinationRule, Gateway, Sourced};

/// Gateway API's order of precedence: the older object first, then by the letters of `namespace/name`. One without a
/// creationTimestamp, as in a file, is younger than any that has one.
pub(super) fn oldest_first<'a, T: Aged + 'a>(
    objects: impl Iterator<Item = &'a Sourced<T>>,
) -> Vec<&'a Sourced<T>> {
    let mut objects: Vec<_> = objects.collect();
    objects.sort_by_cached_key(|sourced| age(sourced.object.metadata()));
    objects
}

/// Whether an object precedes another one, of whatever kinds they are.
pub(super) fn is_older(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    age(one) < age(other)
}

fn age(metadata: &ObjectMeta) -> impl Ord + use<> {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
    (created.is_none(), created, name_of(metadata).to_string())
}

/// Objects with metadata whose age decides.
pub(crate) trait Aged {
    fn metadata(&self) -> &ObjectMeta;
}

impl Aged for WebSocketRoute {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Aged for WebSocketPolicy {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Aged for DestinationRule {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl Aged for Gateway {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

/// Namespace and name of an object; one without a namespace is in [`ObjectName::DEFAULT_NAMESPACE`].
#[must_use]
pub fn name_of(metadata: &ObjectMeta) -> ObjectName {
    ObjectName::new(
        metadata
            .namespace
            .as_deref()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or(ObjectName::DEFAULT_NAMESPACE),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::is_older;

    fn metadata(namespace: &str, name: &str, second: Option<i64>) -> ObjectMeta {
        ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            creation_timestamp: second.map(|second| Time(Timestamp::from_second(second).unwrap())),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn of_one_second_the_first_by_the_letters_of_namespace_and_name_precedes() {
        let a = metadata("a", "x", Some(7));
        for (other, precedes) in [
            (metadata("b", "a", Some(6)), false),
            (metadata("a", "a", Some(8)), true),
            (metadata("a", "y", Some(7)), true),
            (metadata("b", "a", Some(7)), true),
            // A hyphen is before a slash.
            (metadata("a-b", "x", Some(7)), false),
            (metadata("a", "a", None), true),
        ] {
            assert_eq!(is_older(&a, &other), precedes, "{other:?}");
            assert_eq!(is_older(&other, &a), !precedes, "{other:?}");
        }
    }
}
