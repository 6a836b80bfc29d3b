//! What is left out of a report, wherever it stands: values whose names say that they are secret, and what looks like a
//! credential in any text, also in JSON that a text is.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// What stands in its place.
pub(super) const LEFT_OUT: &str = "<left out>";

/// What names of secret values contain, in lower case and without what separates words.
const SECRET: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "credential",
    "privatekey",
    "apikey",
    "seed",
];
/// Where a secret is, or how long it lives, is none.
const NOT_SECRET: [&str; 9] = [
    "name",
    "namespace",
    "ref",
    "file",
    "path",
    "ttl",
    "timeout",
    "lifetime",
    "type",
];
/// Header fields that carry secrets under other names.
const HEADERS: [&str; 3] = ["cookie", "setcookie", "secwebsocketprotocol"];

/// Credentials as they look in texts; the first group stays.
static CREDENTIALS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?s)()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
        // JSON Web Tokens (RFC 7519).
        r"()\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?",
        r"(?i)(\b(?:bearer|basic)[ +]+)[A-Za-z0-9._~+/=-]{16,}",
        r#"(://)[^/\s:@"']*:[^/\s@"']+@"#,
        // Query parameters: a session key may be somebody's name.
        r#"([?&][A-Za-z0-9_.%\[\]-]+=)[^&\s"'<>\\#]+"#,
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

/// Leaves out what is secret in data.
pub(super) fn value(data: &mut Value) {
    match data {
        Value::Object(fields) => {
            fields.remove("managedFields");
            if fields.get("kind").and_then(Value::as_str) == Some("Secret") {
                for field in ["data", "stringData"] {
                    if let Some(secret) = fields.get_mut(field) {
                        *secret = LEFT_OUT.into();
                    }
                }
            }
            let named = ["name", "key", "headerName"].iter().any(|field| {
                let name = fields.get(*field).and_then(Value::as_str);
                name.is_some_and(|name| is_secret(name) || HEADERS.contains(&&*plain(name)))
            });
            for (name, one) in fields.iter_mut() {
                let is_secret = is_secret(name) || named && plain(name).ends_with("value");
                match one {
                    Value::String(text) if is_secret && !text.is_empty() => LEFT_OUT.clone_into(text),
                    one => value(one),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(value),
        Value::String(text) => *text = of_string(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Leaves out what looks like a credential.
pub(super) fn text(text: &str) -> String {
    CREDENTIALS.iter().fold(text.to_owned(), |text, pattern| {
        let keeping =
            |found: &Captures<'_>| format!("{}{LEFT_OUT}", found.get(1).map_or("", |kept| kept.as_str()));
        pattern.replace_all(&text, keeping).into_owned()
    })
}

fn of_string(string: &str) -> String {
    if string.starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str(string)
    {
        value(&mut inner);
        return inner.to_string();
    }
    text(string)
}

fn is_secret(name: &str) -> bool {
    let name = plain(name);
    SECRET.iter().any(|secret| name.contains(secret)) && !NOT_SECRET.iter().any(|end| name.ends_with(end))
}

fn plain(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LEFT_OUT, text, value};
    use serde_json::json;

    #[test]
    fn values_are_left_out_by_their_names_also_in_json_that_a_text_is() {
        let mut data = json!({
            "kind": "WasmPlugin",
            "metadata": {"name": "clew", "managedFields": [1], "annotations": {"last": r#"{"token":"s3cret","gateway":"edge"}"#}},
            "spec": {
                "pluginConfig": {"token": "s3cret", "gateway": "edge", "seed": "s3cret"},
                "secretName": "keys", "secretRef": {"name": "keys"}, "tokenTTL": "5m",
                "env": [{"name": "API_KEY", "value": "s3cret"}, {"name": "RUST_LOG", "value": "info"}],
                "headersToAdd": [{"header": {"key": "Cookie", "rawValue": "s3cret", "value": "s3cret"}}],
            },
            "others": [{"kind": "Secret", "data": {"a": "s3cret"}, "stringData": {"b": "s3cret"}}],
        });
        value(&mut data);
        let said = data.to_string();
        assert!(
            !said.contains("s3cret") && !said.contains("managedFields"),
            "{said}"
        );
        assert_eq!(data["spec"]["secretName"], "keys");
        assert_eq!(data["spec"]["secretRef"]["name"], "keys");
        assert_eq!(data["spec"]["tokenTTL"], "5m");
        assert_eq!(data["spec"]["env"][1]["value"], "info");
        assert_eq!(data["spec"]["pluginConfig"]["gateway"], "edge");
        assert_eq!(data["spec"]["env"][0]["value"], LEFT_OUT);
    }

    #[test]
    fn credentials_are_left_out_of_texts_and_the_rest_stays() {
        for (before, after) in [
            (
                "GET /ws?room=anna&x=1 HTTP/1.1",
                "GET /ws?room=<left out>&x=<left out> HTTP/1.1",
            ),
            (
                "Authorization: Bearer 0123456789abcdef0123",
                "Authorization: Bearer <left out>",
            ),
            (
                "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig-x end",
                "token <left out> end",
            ),
            (
                "redis://user:pass@10.0.0.1:6379/0",
                "redis://<left out>10.0.0.1:6379/0",
            ),
            (
                "a -----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY----- b",
                "a <left out> b",
            ),
            (
                "basic rules of bearer bonds, at 10.0.0.1:80",
                "basic rules of bearer bonds, at 10.0.0.1:80",
            ),
        ] {
            assert_eq!(text(before), after);
        }
    }
}
