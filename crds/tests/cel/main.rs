//! Every CEL rule of the schemas: one object that it lets pass, and one that it, and nothing else, refuses.

use std::collections::BTreeSet;

use clew_crds::admission::{Violation, ViolationKind, check};
use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

mod rows;
use rows::{Row, policy_rows, rows};

fn violations<K: CustomResourceExt>(spec: Value) -> Vec<Violation> {
    let resource = K::api_resource();
    check::<K>(&mut json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": "chat"},
        "spec": spec,
    }))
}

#[test]
fn each_rule_lets_the_good_object_pass() {
    fn all_pass<K: CustomResourceExt>(rows: Vec<Row>) {
        for row in rows {
            assert_eq!(violations::<K>(row.accepted), [], "{}: {}", row.at, row.message);
        }
    }
    all_pass::<WebSocketRoute>(rows());
    all_pass::<WebSocketPolicy>(policy_rows());
}

#[test]
fn each_rule_and_nothing_else_refuses_the_bad_object() {
    fn all_refuse<K: CustomResourceExt>(rows: Vec<Row>) {
        for row in rows {
            let expected = Violation {
                kind: ViolationKind::Rule,
                path: row.reported.to_owned(),
                message: row.message.to_owned(),
            };
            assert_eq!(violations::<K>(row.refused), [expected], "{}", row.at);
        }
    }
    all_refuse::<WebSocketRoute>(rows());
    all_refuse::<WebSocketPolicy>(policy_rows());
}

#[test]
fn the_table_has_exactly_the_rules_of_the_schema() {
    for (crd, rows) in [
        (WebSocketRoute::crd(), rows()),
        (WebSocketPolicy::crd(), policy_rows()),
    ] {
        let mut in_schema = BTreeSet::new();
        each_node_of(&crd, &mut |path, node| {
            for rule in node.x_kubernetes_validations.iter().flatten() {
                let message = rule.message.clone().expect("every rule has a message");
                assert!(
                    in_schema.insert((path.to_owned(), message)),
                    "two rules at {path} have the same message"
                );
            }
        });
        let in_table: BTreeSet<_> = rows
            .into_iter()
            .map(|row| (row.at.to_owned(), row.message.to_owned()))
            .collect();
        assert_eq!(in_schema, in_table);
    }
}

/// The API server refuses a CustomResourceDefinition where one does not.
#[test]
fn every_field_path_of_a_rule_leads_to_a_field() {
    each_node(|path, node| {
        for rule in node.x_kubernetes_validations.iter().flatten() {
            let mut place = node;
            for name in rule.field_path.iter().flat_map(|path| path.split('.').skip(1)) {
                let fields = place.properties.as_ref().expect("an object");
                place = fields
                    .get(name)
                    .unwrap_or_else(|| panic!("{path}: no field {name}"));
            }
        }
    });
}

/// Without bounds the API server takes the worst for granted when it reckons what a rule costs.
#[test]
fn every_list_string_map_and_number_is_bounded() {
    each_node(|path, node| {
        let bounded = match node.type_.as_deref() {
            Some("string") => node.max_length.is_some() || node.enum_.is_some(),
            Some("array") => node.max_items.is_some(),
            Some("integer") => node.minimum.is_some() && node.maximum.is_some(),
            Some("object") => node.additional_properties.is_none() || node.max_properties.is_some(),
            _ => node.x_kubernetes_int_or_string == Some(true) || node.type_.as_deref() == Some("boolean"),
        };
        assert!(bounded, "{path}");
    });
}

#[test]
fn every_field_is_described() {
    each_node(|path, node| assert!(path.ends_with("[]") || node.description.is_some(), "{path}"));
}

fn each_node(mut visit: impl FnMut(&str, &JSONSchemaProps)) {
    for crd in [WebSocketRoute::crd(), WebSocketPolicy::crd()] {
        each_node_of(&crd, &mut visit);
    }
}

fn each_node_of(crd: &CustomResourceDefinition, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    fn descend(path: &str, node: &JSONSchemaProps, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
        visit(path, node);
        for (name, field) in node.properties.iter().flatten() {
            descend(&format!("{path}.{name}"), field, visit);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &node.items {
            descend(&format!("{path}[]"), items, visit);
        }
    }
    let root = crd.spec.versions[0]
        .schema
        .as_ref()
        .and_then(|schema| schema.open_api_v3_schema.as_ref());
    let fields = root.and_then(|root| root.properties.as_ref()).expect("a schema");
    descend("spec", &fields["spec"], visit);
}
