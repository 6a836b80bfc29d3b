//! One object with every field of the API: the schema has each, the types keep each, and the object leaves none out.

use clew_crds::WebSocketRoute;
use clew_crds::admission::{admit, check};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::Value;

fn every_field() -> Value {
    serde_saphyr::from_str(include_str!("every_field.yaml")).expect("YAML")
}

#[test]
fn the_schema_takes_every_field() {
    assert_eq!(check::<WebSocketRoute>(&mut every_field()), []);
}

#[test]
fn the_types_keep_every_field() {
    let mut expected = every_field();
    assert_eq!(check::<WebSocketRoute>(&mut expected), []);
    let route: WebSocketRoute = admit(every_field()).expect("admitted");
    assert_eq!(serde_json::to_value(route).expect("JSON"), expected);
}

#[test]
fn the_object_has_every_field_of_the_schema() {
    fn descend(path: &str, node: &JSONSchemaProps, values: &[&Value]) {
        for (name, field) in node.properties.iter().flatten() {
            let inside: Vec<_> = values.iter().filter_map(|value| value.get(name)).collect();
            assert!(!inside.is_empty(), "{path}.{name}");
            descend(&format!("{path}.{name}"), field, &inside);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &node.items {
            let inside: Vec<_> = values
                .iter()
                .filter_map(|value| value.as_array())
                .flatten()
                .collect();
            descend(&format!("{path}[]"), items, &inside);
        }
    }
    let crd = WebSocketRoute::crd();
    let root = crd.spec.versions[0]
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    let fields = root.and_then(|root| root.properties.as_ref()).expect("a schema");
    descend("spec", &fields["spec"], &[&every_field()["spec"]]);
}
