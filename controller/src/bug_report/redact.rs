//! What is left out of a report, wherever it stands: values whose names say that they are secret, and what looks like a
//! credential in any text, also in JSON that a text is.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// What stands in its place.
pub(super) const LEFT_OUT: &str = "<left out>";

/// What names of secret values contain, in lower case and without what separates words.
const SECRET: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "credential",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "apikey",
    "seed",
    "cookie",
];
/// Where a secret is, or how long it lives, is none.
const NOT_SECRET: [&str; 11] = [
    "name",
    "namespace",
    "ref",
    "refs",
    "file",
    "path",
    "ttl",
    "timeout",
    "lifetime",
    "type",
    "persistence",
];
/// What a name says of whose value stands beside it.
const NAMING: [&str; 3] = ["name", "key", "headerName"];
/// What says under a secret's name where it is or what it is for, and not what it is.
const SAFE: [&str; 9] = [
    "name",
    "key",
    "namespace",
    "secretname",
    "kind",
    "group",
    "type",
    "filename",
    "path",
];
/// Of a key of RFC 7517 (`kty`): what only its owner may know (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1).
const OF_KEYS: [&str; 8] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth"];
/// How containers are started is nothing to us, and often holds secrets.
const OF_CONTAINERS: [&str; 3] = ["args", "command", "env"];

/// Credentials as they look in texts; the first group stays.
static CREDENTIALS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?s)()-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----.*?(?:-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\z)",
        // Of one whose beginning was cut off.
        r"(?s)(\A).*-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----",
        // JSON Web Tokens (RFC 7519).
        r"()\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?",
        r"(?i)(\b(?:bearer|authorization\W{1,4}basic|basic)[ +]+)[A-Za-z0-9._~+/-]{12,}=*",
        r#"(://)[^\s/?\#"'<>]+@"#,
        r#"(://)[^\s:/@"'<>]*:[^\s@"'<>]+@"#,
        // A name that says so, and what is given to it, in any language.
        r#"(?i)((?:password|passwd|passphrase|secret|token|api[-_]?key|authorization|credential|cookie)["'\]]*\s*[:=,]\s*["']?)(?:(?:bearer|basic|digest|negotiate|token)\s+)?[^\s"',;}\])&<]{3,}"#,
        // Query parameters: a session key may be somebody's name.
        r#"([?&][A-Za-z0-9_.%\[\]-]+=)[^&\s"'<>\\\#]+"#,
    ]
    .iter()
    .filter_map(|pattern| Regex::new(pattern).ok())
    .collect()
});

/// Leaves out what is secret in data.
pub(super) fn value(data: &mut Value) {
    match data {
        Value::Object(fields) => object(fields),
        Value::Array(all) => all.iter_mut().for_each(value),
        Value::String(text) => *text = of_string(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(fields: &mut Map<String, Value>) {
    fields.remove("managedFields");
    let kind = fields.get("kind").and_then(Value::as_str);
    let is_secrets = kind.is_some_and(|kind| kind.starts_with("Secret"));
    let is_key = fields.contains_key("kty");
    let is_container = fields.contains_key("image");
    let is_named = NAMING.iter().any(|field| {
        let name = fields.get(*field).and_then(Value::as_str);
        name.is_some_and(is_secret)
    });
    for (name, one) in fields.iter_mut() {
        let plain = plain(name);
        let is_left_out = is_secrets && matches!(&*plain, "data" | "stringdata" | "items")
            || is_key && OF_KEYS.contains(&&*plain)
            || is_container && OF_CONTAINERS.contains(&&*plain)
            || is_named && (plain.ends_with("value") || plain.ends_with("values"))
            || plain == "exec";
        match (is_left_out, is_secret(name)) {
            (true, _) => *one = LEFT_OUT.into(),
            (false, true) => secret(one),
            (false, false) => value(one),
        }
    }
}

/// Leaves out all that is under the name of a secret, but for where it is.
fn secret(data: &mut Value) {
    match data {
        Value::String(text) if text.is_empty() => {}
        Value::String(_) | Value::Number(_) => *data = LEFT_OUT.into(),
        Value::Array(all) => all.iter_mut().for_each(secret),
        Value::Object(fields) => {
            for (name, one) in fields.iter_mut() {
                match SAFE.contains(&&*plain(name)) {
                    true => value(one),
                    false => secret(one),
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
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
    if string.trim_start().starts_with(['{', '['])
        && let Ok(mut inner) = serde_json::from_str(string)
    {
        value(&mut inner);
        return inner.to_string();
    }
    if string.contains(":\n") || string.contains(": ") && string.contains('\n') {
        let inner: Result<Value, _> = serde_saphyr::from_str(string);
        if let Ok(mut inner @ (Value::Object(_) | Value::Array(_))) = inner {
            value(&mut inner);
            return serde_saphyr::to_string(&inner).unwrap_or_else(|_| LEFT_OUT.to_owned());
        }
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
    fn other_peoples_objects_keep_their_secrets_too() {
        let mut data = json!([
            {"kind": "Pod", "spec": {"containers": [{
                "name": "app", "image": "app", "args": ["--redis-password=s3cret"], "command": ["s3cret"],
                "env": [{"name": "DB_PASS", "value": "s3cret"}], "livenessProbe": {"exec": {"command": ["s3cret"]}},
            }]}},
            {"kind": "VirtualService", "spec": {"http": [{
                "match": [{"headers": {"x-api-key": {"exact": "s3cret"}}}],
                "headers": {"request": {"set": {"cookie": "sid=s3cret", "authorization": "s3cret"}}},
            }]}},
            {"kind": "EnvoyFilter", "spec": {
                "hmac_secret": {"inline_string": "s3cret"}, "private_key": {"inline_bytes": "s3cret"}, "passwords": ["s3cret"],
                "lua": "function f(h)\n h:headers():add(\"x-api-key\",\"s3cret\")\n h:headers():add('authorization', 'Bearer s3cret')\nend",
            }},
            {"kind": "AuthorizationPolicy", "spec": {"rules": [{"when": [
                {"key": "request.headers[x-api-key]", "values": ["s3cret"]}, {"key": "request.headers[cookie]", "notValues": ["s3cret"]},
            ]}]}},
            {"kind": "RequestAuthentication", "spec": {"jwtRules": [{
                "jwks": r#"{"keys":[{"kty":"oct","k":"s3cret"},{"kty":"RSA","n":"public","d":"s3cret"}]}"#,
            }]}},
            {"kind": "EnvoyProxy", "spec": {"bootstrap": {"value": "admin:\n  password: s3cret\n  port: 1\n"}}},
            {"kind": "SecretList", "items": [{"data": {"a": "s3cret"}}]},
        ]);
        value(&mut data);
        let said = data.to_string();
        assert!(!said.contains("s3cret"), "{said}");
        assert!(said.contains("public") && said.contains("port: 1"), "{said}");
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
                "Authorization: <left out> <left out>",
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
