//! The second Service of a user's, because an HTTPRoute cannot name a subset: the same pods under a name that only routes of
//! ours use. It has no address of its own: gateways take the pods' addresses from its endpoints.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::destination_rule::wanted;
use crate::model::{Istio, IstioService};
use crate::render::object::Object;

/// The namespaces whose proxies learn of a Service.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(rename = "clusterIP")]
    cluster_ip: &'static str,
    selector: &'a std::collections::BTreeMap<String, String>,
    ports: Vec<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    publish_not_ready_addresses: bool,
}

pub(super) fn objects(istio: &Istio) -> Vec<Object> {
    let all = wanted(istio, false).into_iter();
    all.filter_map(|((service, _), wanted)| {
        let known = istio.services.get(service)?;
        let spec = Spec {
            cluster_ip: "None",
            selector: &known.selector,
            ports: ports(known),
            publish_not_ready_addresses: known.publish_not_ready,
        };
        let called = wanted.policy.second_service(service);
        let mut object = Object::new("v1", "Service", called, &spec, wanted.owners);
        let namespaces: Vec<_> = wanted.gateways.into_iter().collect();
        object
            .metadata
            .annotations
            .insert(EXPORT_TO, namespaces.join(","));
        Some(object)
    })
    .collect()
}

/// Without what the API server fills in for the user's own, such as a node's port.
fn ports(known: &IstioService) -> Vec<Value> {
    let of_ours = |port: &Value| {
        let kept = ["name", "port", "targetPort", "protocol", "appProtocol"];
        let kept = kept
            .iter()
            .filter_map(|field| Some(((*field).to_owned(), port.get(field)?.clone())));
        json!(kept.collect::<Map<_, _>>())
    };
    known.ports.iter().map(of_ours).collect()
}
