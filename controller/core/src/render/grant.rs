//! Where a user's ReferenceGrant lets a WebSocketRoute use a Service of another namespace, our HTTPRoute there needs one for
//! the second Service.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::names_subsets;
use super::object::{Object, SUBDOMAIN, digits, name};
use super::policy::Policy;
use crate::model::{Istio, ObjectName, Target};

pub(super) fn objects(istio: &Istio) -> Vec<Object> {
    let mut wanted: BTreeMap<(ObjectName, &str), BTreeSet<ObjectName>> = BTreeMap::new();
    for route in istio.routes.iter().filter(|route| !names_subsets(&route.parent)) {
        let own = route.name.namespace.as_str();
        for rule in route.rules.iter().map(|attached| &attached.rule) {
            let foreign = rule
                .backends
                .iter()
                .filter(|share| share.target == Target::Service && share.id.service.namespace != own);
            for share in foreign {
                let second = Policy::of(rule, share, &route.parent, istio).second_service(&share.id.service);
                wanted
                    .entry((second, own))
                    .or_default()
                    .insert(route.name.clone());
            }
        }
    }
    let object = |((service, from), routes): ((ObjectName, &str), BTreeSet<ObjectName>)| {
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
            routes,
        )
    };
    wanted.into_iter().map(object).collect()
}
