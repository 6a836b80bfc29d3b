//! Where a user's ReferenceGrant lets a WebSocketRoute use a Service of another namespace, our HTTPRoute there needs one of
//! its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::object::{Object, SUBDOMAIN, digits, name};
use crate::model::{AttachedRoute, BackendShare, ObjectName, Owner, Rule, Target};

/// For what HTTPRoutes lead to: `to` is the Service behind a backend.
pub(super) fn objects<'a>(
    routes: impl Iterator<Item = &'a AttachedRoute>,
    to: impl Fn(&AttachedRoute, &Rule, &BackendShare) -> ObjectName,
) -> Vec<Object> {
    let mut wanted: BTreeMap<(ObjectName, &str), BTreeSet<Owner>> = BTreeMap::new();
    for route in routes {
        let own = route.name.namespace.as_str();
        for rule in route.rules.iter().map(|attached| &attached.rule) {
            let foreign = rule
                .backends
                .iter()
                .filter(|share| share.target == Target::Service && share.id.service.namespace != own);
            for share in foreign {
                wanted
                    .entry((to(route, rule, share), own))
                    .or_default()
                    .insert(route.owner());
            }
        }
    }
    let object = |((service, from), owners): ((ObjectName, &str), BTreeSet<Owner>)| {
        let spec = json!({
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}],
            "to": [{"group": "", "kind": "Service", "name": service.name}],
        });
        let called = ObjectName::new(&service.namespace, name(&service.name, &digits(from), SUBDOMAIN));
        Object::new(
            "gateway.networking.k8s.io/v1beta1",
            "ReferenceGrant",
            called,
            &spec,
            owners,
        )
    };
    wanted.into_iter().map(object).collect()
}
