//! A structural schema, compiled: patterns and rules are parsed once, and what a walk does not need is gone.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;

use super::cel::Rule;

/// One place of the schema.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) default: Option<Value>,
    pub(super) rules: Vec<Rule>,
}

/// What may stand in that place.
#[derive(Debug)]
pub(super) enum Shape {
    Object(Object),
    Array(Array),
    String(Text),
    Integer(Range),
    IntOrString(Range, Text),
    Boolean,
    /// Whatever JSON can say.
    Any,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) fields: BTreeMap<String, Node>,
    pub(super) required: Vec<String>,
    /// The values of keys that are not named: those of a map.
    pub(super) others: Option<Box<Node>>,
}

#[derive(Debug)]
pub(super) struct Array {
    pub(super) items: Box<Node>,
    pub(super) size: Range,
    pub(super) unique: Unique,
}

/// Which items of a list count as the same.
#[derive(Debug)]
pub(super) enum Unique {
    /// None do.
    No,
    /// Equal ones.
    Items,
    /// Those with equal values in these fields.
    ByKeys(Vec<String>),
}

#[derive(Debug)]
pub(super) struct Text {
    pub(super) length: Range,
    pub(super) pattern: Option<Regex>,
    pub(super) one_of: Vec<String>,
}

/// Both ends belong to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: i64,
    pub(super) max: i64,
}

impl Range {
    fn new(min: Option<i64>, max: Option<i64>) -> Self {
        Self {
            min: min.unwrap_or(i64::MIN),
            max: max.unwrap_or(i64::MAX),
        }
    }

    /// The bound that a number is outside of, in words.
    pub(super) fn excess(self, number: i64) -> Option<String> {
        if number < self.min {
            Some(format!("at least {}", self.min))
        } else if number > self.max {
            Some(format!("at most {}", self.max))
        } else {
            None
        }
    }
}

impl Node {
    /// # Panics
    /// Where the schema has a pattern or a rule that does not compile; a test compiles the schemas of this crate.
    pub(super) fn compile(schema: &JSONSchemaProps) -> Self {
        Self {
            shape: Shape::compile(schema),
            default: schema.default.as_ref().map(|default| default.0.clone()),
            rules: schema
                .x_kubernetes_validations
                .iter()
                .flatten()
                .map(Rule::compile)
                .collect(),
        }
    }
}

impl Shape {
    fn compile(schema: &JSONSchemaProps) -> Self {
        if schema.x_kubernetes_int_or_string == Some(true) {
            return Self::IntOrString(range(schema), Text::compile(schema));
        }
        match schema.type_.as_deref() {
            Some("object") => Self::Object(Object {
                fields: schema
                    .properties
                    .iter()
                    .flatten()
                    .map(|(name, field)| (name.clone(), Node::compile(field)))
                    .collect(),
                required: schema.required.clone().unwrap_or_default(),
                others: match &schema.additional_properties {
                    Some(JSONSchemaPropsOrBool::Schema(others)) => Some(Box::new(Node::compile(others))),
                    _ => None,
                },
            }),
            Some("array") => Self::Array(Array {
                items: Box::new(match &schema.items {
                    Some(JSONSchemaPropsOrArray::Schema(items)) => Node::compile(items),
                    _ => Node {
                        shape: Self::Any,
                        default: None,
                        rules: Vec::new(),
                    },
                }),
                size: Range::new(schema.min_items, schema.max_items),
                unique: match (
                    schema.x_kubernetes_list_type.as_deref(),
                    &schema.x_kubernetes_list_map_keys,
                ) {
                    (Some("set"), _) => Unique::Items,
                    (Some("map"), Some(keys)) => Unique::ByKeys(keys.clone()),
                    _ => Unique::No,
                },
            }),
            Some("string") => Self::String(Text::compile(schema)),
            Some("integer") => Self::Integer(range(schema)),
            Some("boolean") => Self::Boolean,
            _ => Self::Any,
        }
    }
}

impl Text {
    fn compile(schema: &JSONSchemaProps) -> Self {
        Self {
            length: Range::new(schema.min_length, schema.max_length),
            pattern: schema
                .pattern
                .as_deref()
                .map(|pattern| Regex::new(pattern).expect("a pattern of the schema compiles")),
            one_of: schema
                .enum_
                .iter()
                .flatten()
                .filter_map(|value| value.0.as_str().map(str::to_owned))
                .collect(),
        }
    }
}

fn range(schema: &JSONSchemaProps) -> Range {
    // Bounds of integers are written as JSON numbers of any kind; those of this API are whole and small.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and the bounds are whole numbers"
    )]
    let whole = |bound: f64| bound as i64;
    Range::new(schema.minimum.map(whole), schema.maximum.map(whole))
}
