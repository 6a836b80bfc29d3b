//! The pages of the API are what the kinds' schemas say. `make golden` rewrites it.

use std::path::Path;
use std::{env, fs};

use clew_crds::{WebSocketPolicy, WebSocketRoute, crd_yaml};
use serde_json::Value;

#[test]
fn the_references_name_every_field() {
    page(
        "api.md",
        "WebSocketRoute",
        "wsr",
        &crd_yaml::<WebSocketRoute>(),
        "which parent honours which field is in [a table of its own](fields.md).",
    );
    page(
        "policy.md",
        "WebSocketPolicy",
        "wsp",
        &crd_yaml::<WebSocketPolicy>(),
        "what it is for, [the guide](../guide/own-routes.md) says, and which Gateway honours which field, [a table of its own](fields.md#websocketpolicy).",
    );
}

fn page(file: &str, kind: &str, short: &str, definition: &str, more: &str) {
    let definition: Value = serde_saphyr::from_str(definition).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut text = format!(
        "# {kind}\n\nGenerated from the types in `crds/src` (`make golden`). `clew.dev/v1alpha1`, short `{short}`. {} `kubectl explain {short}.spec` says the same; {more}\n",
        schema["description"].as_str().unwrap()
    );
    for part in ["spec", "status"] {
        text += &format!("\n## {part}\n\n| field | type | default | what |\n|---|---|---|---|\n");
        fields(part, &schema["properties"][part], &mut text);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/reference/{file}"));
    if env::var("CLEW_GOLDEN").is_ok_and(|value| value == "rewrite") {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run make golden");
}

/// The fields of an object, each followed by those below it.
fn fields(at: &str, schema: &Value, text: &mut String) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let list = field["type"] == "array";
        let path = format!("{at}.{name}{}", if list { "[]" } else { "" });
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str()) => "required".to_owned(),
            Value::Null => String::new(),
            default => format!("`{default}`"),
        };
        let what = field["description"].as_str().unwrap_or_default();
        *text += &format!(
            "| `{path}` | {} | {default} | {} |\n",
            kind(field),
            what.replace('|', "\\|")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        );
        fields(&path, if list { &field["items"] } else { field }, text);
    }
}

/// What values it takes.
fn kind(field: &Value) -> String {
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values
            .iter()
            .filter_map(Value::as_str)
            .map(|value| format!("`{value}`"))
            .collect();
        return values.join(" or ");
    }
    let number = |name: &str| field[name].as_i64();
    let bounds = |least: &str, most: &str, of: &str| match (number(least), number(most)) {
        (Some(least), Some(most)) => format!(", {least} to {most}{of}"),
        (Some(least), None) if least > 0 => format!(", at least {least}{of}"),
        (None, Some(most)) => format!(", at most {most}{of}"),
        _ => String::new(),
    };
    match field["type"].as_str() {
        Some("array") => format!(
            "list of {}{}",
            kind(&field["items"]),
            bounds("minItems", "maxItems", "")
        ),
        Some("string") => format!("text{}", bounds("minLength", "maxLength", " characters")),
        Some("integer") => format!("number{}", bounds("minimum", "maximum", "")),
        Some("boolean") => "true or false".to_owned(),
        Some("object") if field["properties"].is_null() => "map".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "number or text".to_owned(),
    }
}
