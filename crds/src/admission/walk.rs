//! One walk over an object and its schema together: checks on the way in, defaults and then rules on the way out.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Map, Value};

use super::structural::{Array, Node, Object, Range, Shape, Text, Unique};
use super::{Violation, ViolationKind as Kind};

/// Where the walk is, and what it found.
#[derive(Default)]
pub(super) struct Walk {
    path: String,
    violations: Vec<Violation>,
}

impl Walk {
    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    pub(super) fn report(&mut self, kind: Kind, message: String) {
        self.violations.push(Violation {
            kind,
            path: self.path.clone(),
            message,
        });
    }

    pub(super) fn unknown_field(&mut self, name: &str, meant: Option<&str>) {
        self.field(name, |walk| {
            walk.report(
                Kind::UnknownField,
                match meant {
                    Some(meant) => format!("is not a field; did you mean {meant}?"),
                    None => "is not a field".to_owned(),
                },
            );
        });
    }

    /// Goes into a field for as long as `inside` runs.
    pub(super) fn field(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let outside = self.path.len();
        if outside > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        inside(self);
        self.path.truncate(outside);
    }

    fn item(&mut self, index: usize, inside: impl FnOnce(&mut Self)) {
        let outside = self.path.len();
        // Writing to a String cannot fail.
        let _ = write!(self.path, "[{index}]");
        inside(self);
        self.path.truncate(outside);
    }

    /// Checks a value and everything inside it, its rules last and only if all else is well.
    pub(super) fn value(&mut self, node: &Node, value: &mut Value) {
        let before = self.violations.len();
        match (&node.shape, &mut *value) {
            (Shape::Object(shape), Value::Object(object)) => self.object(shape, object),
            (Shape::Array(shape), Value::Array(items)) => self.array(shape, items),
            (Shape::String(shape) | Shape::IntOrString(_, shape), Value::String(text)) => {
                self.text(shape, text)
            }
            (Shape::Integer(range) | Shape::IntOrString(range, _), Value::Number(number)) => {
                match number.as_i64() {
                    Some(number) => self.number(*range, number),
                    None => self.report(Kind::WrongType, format!("must be a whole number, not {number}")),
                }
            }
            (Shape::Boolean, Value::Bool(_)) | (Shape::Any, _) => {}
            (shape, value) => {
                self.report(
                    Kind::WrongType,
                    format!("must be {}, not {}", shape.article(), article(value)),
                );
            }
        }
        if self.violations.len() == before {
            for rule in &node.rules {
                if let Err(failure) = rule.holds(value) {
                    let path = format!("{}{}", self.path, rule.field_path());
                    self.violations.push(Violation {
                        kind: Kind::Rule,
                        path,
                        message: failure,
                    });
                }
            }
        }
    }

    fn object(&mut self, shape: &Object, object: &mut Map<String, Value>) {
        // The API server drops a null before it fills in defaults.
        object.retain(|_, value| !value.is_null());
        for name in &shape.required {
            if !object.contains_key(name) {
                self.field(name, |walk| walk.report(Kind::Required, "is required".to_owned()));
            }
        }
        for (name, value) in &mut *object {
            match shape.fields.get(name).or(shape.others.as_deref()) {
                Some(node) => self.field(name, |walk| walk.value(node, value)),
                None => self.unknown_field(name, closest(name, shape.fields.keys().map(String::as_str))),
            }
        }
        // Last, because a default satisfies its own schema and is whole: there is nothing to check, nor to fill in, inside it.
        for (name, field) in &shape.fields {
            if let Some(default) = &field.default
                && !object.contains_key(name)
            {
                object.insert(name.clone(), default.clone());
            }
        }
    }

    fn array(&mut self, shape: &Array, items: &mut [Value]) {
        // One finding, not a million of them.
        if !self.count(shape.size, items.len(), "entries") {
            return;
        }
        for (index, value) in items.iter_mut().enumerate() {
            self.item(index, |walk| walk.value(&shape.items, value));
        }
        let identity = |value: &Value| -> Option<String> {
            match &shape.unique {
                Unique::No => None,
                Unique::Items => Some(value.to_string()),
                Unique::ByKeys(keys) => Some(
                    keys.iter()
                        .filter_map(|key| value.get(key))
                        .map(Value::to_string)
                        .collect::<Vec<_>>()
                        .join(" "),
                ),
            }
        };
        let mut first = BTreeMap::new();
        for (index, value) in items.iter().enumerate() {
            let Some(identity) = identity(value) else { return };
            let message = format!("{identity} is there twice");
            if first.insert(identity, index).is_some() {
                self.item(index, |walk| walk.report(Kind::Duplicate, message));
            }
        }
    }

    fn text(&mut self, shape: &Text, text: &str) {
        if !shape.one_of.is_empty() && !shape.one_of.iter().any(|value| value == text) {
            let meant = closest(text, shape.one_of.iter().map(String::as_str));
            let meant = meant
                .map(|meant| format!("; did you mean {meant}?"))
                .unwrap_or_default();
            let message = format!(
                "must be one of {}, not {}{meant}",
                shape.one_of.join(", "),
                quoted(text)
            );
            return self.report(Kind::UnsupportedValue, message);
        }
        // The API server counts characters, not bytes.
        if self.count(shape.length, text.chars().count(), "characters")
            && let Some(pattern) = &shape.pattern
            && !pattern.is_match(text)
        {
            self.report(Kind::Pattern, format!("{} must match {pattern}", quoted(text)));
        }
    }

    fn number(&mut self, range: Range, number: i64) {
        if let Some(bound) = range.excess(number) {
            self.report(Kind::OutOfBounds, format!("must be {bound}, not {number}"));
        }
    }

    /// Whether there are neither too few nor too many; reports when there are.
    fn count(&mut self, range: Range, count: usize, of: &str) -> bool {
        let excess = range.excess(i64::try_from(count).unwrap_or(i64::MAX));
        if let Some(bound) = &excess {
            self.report(Kind::OutOfBounds, format!("must be {bound} {of}, not {count}"));
        }
        excess.is_none()
    }
}

impl Shape {
    fn article(&self) -> &'static str {
        match self {
            Self::Object(_) => "an object",
            Self::Array(_) => "a list",
            Self::String(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::IntOrString(..) => "a whole number or a string",
            Self::Boolean => "true or false",
            Self::Any => "anything",
        }
    }
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The text in quotes; of a long one, how it begins.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The name that was probably meant, if one is near enough to be worth saying.
pub(super) fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No name of the API is that long, and what is not a name may be far longer.
    if name.len() > 64 {
        return None;
    }
    let alike = |candidate: &str| strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
    names
        .into_iter()
        .map(|candidate| (alike(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
