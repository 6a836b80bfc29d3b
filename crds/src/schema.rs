//! What schemars says in its own words and a CustomResourceDefinition must say in Kubernetes' words.

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
                variants.retain(|variant| variant.get("type") != Some(&"null".into()));
                if let [Value::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (keyword, value) in only {
                        object.entry(keyword).or_insert(value);
                    }
                }
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

/// For `skip_serializing_if`: a part of the object that says nothing is not written, and so not printed as a schema default either.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
