//! What the API server would say about an object of ours, said without one: the structural schema, its defaults, and its CEL rules.
//!
//! Beyond it, as `kubectl` does, unknown fields are findings, with the name that was probably meant. `status` is not looked at, because the API server
//! drops it from what a person writes.

mod cel;
mod metadata;
mod structural;
mod walk;

use std::{fmt, sync::LazyLock};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{GROUP, VERSION, WebSocketPolicy, WebSocketRoute};
use metadata::OBJECT_META;
use structural::Node;
use walk::{Walk, closest};

/// One thing that the API server would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What sort of thing.
    pub kind: ViolationKind,
    /// Where, for example `spec.rules[0].backendRefs[1].port`; empty for the whole object.
    pub path: String,
    /// What is wrong, and what would be right; reads on from the path.
    pub message: String,
}

/// The sorts of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ViolationKind {
    /// A field that the API does not have.
    UnknownField,
    /// A value of another type than the field's.
    WrongType,
    /// A field that must be there is not.
    Required,
    /// None of the values that the field may have.
    UnsupportedValue,
    /// A string that does not look as it must.
    Pattern,
    /// A number, a length or a count outside of its bounds.
    OutOfBounds,
    /// Something twice that must be there once.
    Duplicate,
    /// A CEL rule does not hold.
    Rule,
}

impl ViolationKind {
    /// The name of the kind, as it is written in Rust.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownField => "UnknownField",
            Self::WrongType => "WrongType",
            Self::Required => "Required",
            Self::UnsupportedValue => "UnsupportedValue",
            Self::Pattern => "Pattern",
            Self::OutOfBounds => "OutOfBounds",
            Self::Duplicate => "Duplicate",
            Self::Rule => "Rule",
        }
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for Violation {}

/// Admits a WebSocketRoute or a WebSocketPolicy as the API server does: defaults are filled in, everything is checked, and what passes comes back
/// typed.
///
/// # Errors
/// Every violation, in the order of the schema. A rule is asked only when what it stands on is otherwise sound, so one mistake is one violation.
pub fn admit<K: CustomResourceExt + DeserializeOwned>(mut object: Value) -> Result<K, Vec<Violation>> {
    let violations = check::<K>(&mut object);
    if !violations.is_empty() {
        return Err(violations);
    }
    // What the schema takes, the types take: should they ever disagree, it is a violation and not a panic.
    serde_json::from_value(object).map_err(|error| {
        vec![Violation {
            kind: ViolationKind::WrongType,
            path: String::new(),
            message: error.to_string(),
        }]
    })
}

/// Fills in the defaults of an object, removes what the API server would not store (nulls), and says what is wrong with it.
#[must_use]
pub fn check<K: CustomResourceExt>(object: &mut Value) -> Vec<Violation> {
    let mut walk = Walk::default();
    let kind = K::api_resource().kind;
    let Some(object) = object.as_object_mut() else {
        return vec![Violation {
            kind: ViolationKind::WrongType,
            path: String::new(),
            message: "must be an object".to_owned(),
        }];
    };
    constant(&mut walk, object, "apiVersion", &format!("{GROUP}/{VERSION}"));
    constant(&mut walk, object, "kind", &kind);
    metadata::check(&mut walk, object);
    for name in object.keys() {
        if !TOP_LEVEL.contains(&name.as_str()) {
            walk.unknown_field(name, closest(name, TOP_LEVEL));
        }
    }
    match object.get_mut("spec") {
        Some(spec) => walk.field("spec", |walk| walk.value(spec_of(&kind), spec)),
        None => walk.field("spec", |walk| {
            walk.report(ViolationKind::Required, "is required".to_owned())
        }),
    }
    walk.into_violations()
}

/// Reads the schemas and compiles their rules now, instead of with the first object. Some tens of milliseconds.
pub fn prepare() {
    LazyLock::force(&ROUTE);
    LazyLock::force(&POLICY);
    LazyLock::force(&OBJECT_META);
}

const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

static ROUTE: LazyLock<Node> = LazyLock::new(|| compiled(WebSocketRoute::crd()));
static POLICY: LazyLock<Node> = LazyLock::new(|| compiled(WebSocketPolicy::crd()));

fn spec_of(kind: &str) -> &'static Node {
    match kind {
        "WebSocketPolicy" => &POLICY,
        _ => &ROUTE,
    }
}

fn compiled(mut crd: CustomResourceDefinition) -> Node {
    let version = crd.spec.versions.pop();
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    schema
        .and_then(|root| root.properties?.remove("spec"))
        .map(|spec| Node::compile(&spec))
        .expect("a derived CustomResourceDefinition has a schema with a spec")
}

fn constant(walk: &mut Walk, object: &Map<String, Value>, name: &str, expected: &str) {
    walk.field(name, |walk| match object.get(name) {
        Some(Value::String(value)) if value == expected => {}
        Some(value) => walk.report(
            ViolationKind::UnsupportedValue,
            format!("must be {expected}, not {value}"),
        ),
        None => walk.report(ViolationKind::Required, format!("is required: {expected}")),
    });
}

#[cfg(test)]
mod tests;
