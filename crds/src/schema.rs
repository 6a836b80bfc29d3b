//! What schemars says in its own words and a CustomResourceDefinition must say in Kubernetes' words.

use kube::core::Rule;
use schemars::Schema;
use serde_json::Value;

/// Fields that may be absent are not nullable, as everywhere in Gateway API: an explicit `null` would mean a third thing. And formats that the API server does not
/// know (it warns about each) become the ones that it does.
pub(crate) fn kubernetes_words(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        object.values_mut().for_each(rewrite);
    }
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Object(object) => {
            if let Some(types) = object.get_mut("type")
                && let Some(only) = type_beside_null(types)
            {
                *types = only;
            }
            if let Some(Value::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|variant| !is_null_only(variant));
                if let [Value::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (keyword, value) in only {
                        object.entry(keyword).or_insert(value);
                    }
                }
            }
            if let Some(meanings) = object.get("oneOf").and_then(meanings) {
                let description = object
                    .get("description")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let description = format!("{description}\n\n{meanings}");
                object.insert("description".to_owned(), description.into());
            }
            if let Some(format) = object.get_mut("format") {
                match format.as_str() {
                    Some("uint8" | "uint16") => *format = "int32".into(),
                    Some("uint32" | "uint64") => *format = "int64".into(),
                    _ => {}
                }
            }
            object.values_mut().for_each(rewrite);
        }
        _ => {}
    }
}

/// The one type beside `null` in a list of types.
fn type_beside_null(types: &Value) -> Option<Value> {
    let mut others = types.as_array()?.iter().filter(|name| *name != "null");
    others.next().filter(|_| others.next().is_none()).cloned()
}

fn is_null_only(variant: &Value) -> bool {
    variant.get("type").is_some_and(|name| name == "null")
        || variant["enum"] == Value::Array(vec![Value::Null])
}

/// What each value of an enum means. A CustomResourceDefinition has no place for it but the description of the field.
fn meanings(variants: &Value) -> Option<String> {
    let line = |variant: &Value| {
        Some(format!(
            "- `{}`: {}",
            variant.get("const")?.as_str()?,
            variant.get("description")?.as_str()?
        ))
    };
    let lines: Option<Vec<String>> = variants.as_array()?.iter().map(line).collect();
    Some(lines?.join("\n"))
}

/// For `skip_serializing_if`: a part of the object that says nothing is not written, and so not printed as a schema default either.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A CEL rule whose failure is reported at `field_path`, relative to where the rule stands (`""`: there).
pub(crate) fn rule(field_path: &str, rule: &str, message: &str) -> Rule {
    let rule = Rule::new(rule).message(message);
    if field_path.is_empty() {
        rule
    } else {
        rule.field_path(field_path)
    }
}

/// The rule for the member of a union: it is set when `type` names it, and only then.
pub(crate) fn member(field: &str, r#type: &str) -> Rule {
    rule(
        &format!(".{field}"),
        &format!("has(self.{field}) == (self.type == '{type}')"),
        &format!("must be set when type is {type}, and only then"),
    )
}

/// The rule for a duration of which zero makes no sense.
pub(crate) fn longer_than_zero() -> Rule {
    rule("", "duration(self) > duration('0s')", "must be longer than 0s")
}
