//! The object's `metadata`: the fields that ObjectMeta has, and the rules of Kubernetes for names.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::ViolationKind as Kind;
use super::structural::Node;
use super::walk::Walk;

/// The schema of ObjectMeta.
pub(super) static OBJECT_META: LazyLock<Node> = LazyLock::new(|| {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<ObjectMeta>();
    let schema: JSONSchemaProps = serde_json::from_value(schema.into())
        .expect("the schema of ObjectMeta is one that the API server knows");
    Node::compile(&schema)
});

/// RFC 1123 subdomains, as most names must be.
static SUBDOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$").expect("a valid pattern")
});

/// RFC 1123 labels, as namespaces must be.
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$").expect("a valid pattern"));

pub(super) fn check(walk: &mut Walk, object: &mut Map<String, Value>) {
    walk.field("metadata", |walk| {
        let Some(metadata) = object.get_mut("metadata") else {
            return walk.report(Kind::Required, "is required, with a name".to_owned());
        };
        walk.value(&OBJECT_META, metadata);
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        match text("name") {
            Some(name) => walk.field("name", |walk| name_of(walk, &SUBDOMAIN, 253, name)),
            None if text("generateName").is_some() => {}
            None => walk.field("name", |walk| {
                walk.report(Kind::Required, "is required".to_owned())
            }),
        }
        if let Some(namespace) = text("namespace") {
            walk.field("namespace", |walk| name_of(walk, &LABEL, 63, namespace));
        }
    });
}

fn name_of(walk: &mut Walk, pattern: &Regex, longest: usize, name: &str) {
    if name.len() > longest {
        walk.report(
            Kind::OutOfBounds,
            format!("must be at most {longest} characters, not {}", name.len()),
        );
    } else if !pattern.is_match(name) {
        walk.report(
            Kind::Pattern,
            format!("{name:?} must be lower-case letters, digits and '-', beginning and ending with a letter or digit"),
        );
    }
}
