//! Manifests, read as a cluster has them.

use clew_core::objects::{Objects, Source, Sourced};
use clew_crds::WebSocketRoute;
use clew_crds::admission::{Violation, admit};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The objects of a case's text.
pub(crate) fn read(case: &str, text: &str) -> Objects {
    read_as(case, text, |case, value, source| {
        admitted(case, admit(value), source)
    })
}

/// With its routes read in another way.
pub(crate) fn read_as(
    case: &str,
    text: &str,
    route: fn(&str, Value, Source) -> Sourced<WebSocketRoute>,
) -> Objects {
    let mut objects = Objects::default();
    let mut line = 1;
    for document in text.split("\n---\n") {
        let value: Value = serde_saphyr::from_str(document).unwrap();
        let source = Source {
            file: "input.yaml".into(),
            line,
        };
        line += u32::try_from(document.lines().count()).unwrap() + 1;
        let is_istio = value["apiVersion"]
            .as_str()
            .is_some_and(|api| api.starts_with("networking.istio.io/"));
        match value["kind"].as_str() {
            Some("Gateway") if is_istio => objects.istio_gateways.push(typed(case, value, source)),
            Some("VirtualService") => objects.virtual_services.push(typed(case, value, source)),
            Some("DestinationRule") => objects.destination_rules.push(typed(case, value, source)),
            Some("RequestAuthentication") => objects.request_authentications.push(typed(case, value, source)),
            Some("AuthorizationPolicy") => objects.authorization_policies.push(typed(case, value, source)),
            Some("EnvoyFilter") => objects.envoy_filters.push(typed(case, value, source)),
            Some("Namespace") => {
                let labels = serde_json::from_value(value["metadata"]["labels"].clone()).unwrap();
                let name = value["metadata"]["name"].as_str().unwrap().to_owned();
                objects.namespaces.insert(name, labels);
            }
            Some("GatewayClass") => objects.gateway_classes.push(typed(case, value, source)),
            Some("EnvoyExtensionPolicy") => objects.extension_policies.push(typed(case, value, source)),
            Some("ReferenceGrant") => objects.grants.push(typed(case, value, source)),
            Some("WebSocketRoute") => objects.routes.push(route(case, value, source)),
            Some("WebSocketPolicy") => objects.policies.push(admitted(case, admit(value), source)),
            Some("HTTPRoute") => objects.http_routes.push(typed(case, value, source)),
            Some("BackendTrafficPolicy") => {
                objects.backend_traffic_policies.push(typed(case, value, source));
            }
            Some("Gateway") => objects.gateways.push(typed(case, value, source)),
            Some("Service") => objects.services.push(typed(case, value, source)),
            Some("EndpointSlice") => objects.endpoint_slices.push(typed(case, value, source)),
            Some("Secret") => objects.secrets.push(typed(case, value, source)),
            other => panic!("{case}: kind {other:?}"),
        }
    }
    objects
}

fn admitted<T>(case: &str, admitted: Result<T, Vec<Violation>>, source: Source) -> Sourced<T> {
    let object = admitted.unwrap_or_else(|violations| panic!("{case}: {violations:?}"));
    Sourced {
        object: object.into(),
        source,
    }
}

/// One that nothing is asked of but its shape.
pub(crate) fn typed<T: DeserializeOwned>(case: &str, value: Value, source: Source) -> Sourced<T> {
    let object: T = serde_json::from_value(value).unwrap_or_else(|error| panic!("{case}: {error}"));
    Sourced {
        object: object.into(),
        source,
    }
}
