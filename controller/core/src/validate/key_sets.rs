//! JSON Web Key Sets from Secrets. Envoy takes whatever it is given and then refuses every token, so what a set must be is
//! asked here.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::certificates;
use super::index::Index;
use crate::model::{Jwks, ObjectName};
use crate::refusal::Code;

/// The entry of a Secret that holds a key set.
pub(crate) const ENTRY: &str = "jwks";

/// The key sets of all routes; each Secret is read once.
pub(super) struct KeySets<'i, 'a> {
    index: &'i Index<'a>,
    read: BTreeMap<ObjectName, Jwks>,
}

impl<'i, 'a> KeySets<'i, 'a> {
    pub(super) fn new(index: &'i Index<'a>) -> Self {
        Self {
            index,
            read: BTreeMap::new(),
        }
    }

    pub(super) fn read(self) -> BTreeMap<ObjectName, Jwks> {
        self.read
    }

    /// Reads the key set of a Secret, or says what is wrong with it.
    pub(super) fn want(&mut self, name: &ObjectName) -> Result<(), (Code, String)> {
        if self.read.contains_key(name) {
            return Ok(());
        }
        let Some(secret) = self.index.secrets.get(name) else {
            let message = format!(
                "there is no Secret {name}; add it, with the key set under {ENTRY}; no token is good until then"
            );
            return Err((Code::SecretMissing, message));
        };
        let Some(text) = certificates::entry(&secret.object, ENTRY) else {
            let message = format!(
                "Secret {name} ({}) has no entry {ENTRY}; put the key set there; no token is good until then",
                secret.source
            );
            return Err((Code::SecretMissing, message));
        };
        let keys = key_set(&text).map_err(|what| {
            let message = format!("{ENTRY} of Secret {name} ({}) {what}", secret.source);
            (Code::KeySetInvalid, message)
        })?;
        self.read.insert(name.clone(), keys);
        Ok(())
    }
}

/// The public keys of a set that verify signatures. A set without any key is one: it revokes them all.
fn key_set(text: &str) -> Result<Jwks, String> {
    // Never what stands there: it may be a key.
    let set: Value =
        serde_json::from_str(text).map_err(|error| format!("is not JSON, at line {} of it", error.line()))?;
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Err("is not a JSON Web Key Set; it is an object with the list keys (RFC 7517, 5)".to_owned());
    };
    let mut usable = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let at = |what: &str| format!("is of no use: keys[{i}] {what}");
        let key = key.as_object().ok_or_else(|| at("is no object"))?;
        if PRIVATE.iter().any(|member| key.contains_key(*member)) {
            return Err(at("is private; put only public keys here, and replace this one"));
        }
        let needed = match (member(key, "kty"), member(key, "crv")) {
            (Some("RSA"), _) => &["n", "e"][..],
            (Some("EC"), Some("P-256" | "P-384" | "P-521")) => &["x", "y"],
            (Some("OKP"), Some("Ed25519")) => &["x"],
            (Some(_), _) => continue,
            (None, _) => return Err(at("has no kty")),
        };
        if let Some(name) = needed.iter().find(|name| !is_base64url(key, name)) {
            return Err(at(&format!("has no {name} in base64url")));
        }
        usable.push(Value::Object(key.clone()).to_string());
    }
    if usable.is_empty() && !keys.is_empty() {
        return Err(
            "has no key that verifies a signature: RSA, EC on P-256, P-384 or P-521, or OKP on Ed25519"
                .to_owned(),
        );
    }
    Ok(Jwks(usable))
}

/// The private parts of keys (RFC 7518, 6): of asymmetric ones, and all of a symmetric one, with which whoever verifies
/// can also sign.
const PRIVATE: [&str; 2] = ["d", "k"];

fn member<'k>(key: &'k Map<String, Value>, name: &str) -> Option<&'k str> {
    key.get(name)?.as_str()
}

fn is_base64url(key: &Map<String, Value>, name: &str) -> bool {
    member(key, name).is_some_and(|text| !text.is_empty() && URL_SAFE_NO_PAD.decode(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::key_set;

    const RSA: &str = r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"1","alg":"RS256"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}"#;

    fn set(keys: &str) -> Result<String, String> {
        key_set(&format!(r#"{{"keys":[{keys}]}}"#)).map(|set| set.to_string())
    }

    #[test]
    fn keys_that_verify_are_kept_as_they_are() {
        let both = set(&format!("{RSA}, {EC}")).unwrap();
        assert!(both.contains(r#""kid":"1""#) && both.contains("P-256"), "{both}");
        let future = set(&format!(r#"{RSA}, {{"kty":"ML-DSA"}}"#)).unwrap();
        assert!(!future.contains("ML-DSA"), "{future}");
        assert_eq!(set("").unwrap(), r#"{"keys":[]}"#, "all are revoked");
    }

    #[test]
    fn what_verifies_nothing_is_refused_without_repeating_it() {
        for (keys, what) in [
            (
                r#"{"kty":"RSA","n":"se+cret","e":"AQAB"}"#,
                "keys[0] has no n in base64url",
            ),
            (
                r#"{"kty":"EC","crv":"P-256","x":"AQAB"}"#,
                "keys[0] has no y in base64url",
            ),
            (
                r#"{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB","d":"secret"}"#,
                "keys[0] is private",
            ),
            (r#"{"kty":"oct","k":"secret"}"#, "keys[0] is private"),
            (
                r#"{"kty":"EC","crv":"secp256k1","x":"AQAB","y":"AQAB"}"#,
                "has no key that verifies",
            ),
            (r#"{"n":"secret"}"#, "keys[0] has no kty"),
            (r#""secret""#, "keys[0] is no object"),
            (r#"secret"#, "is not JSON, at line 1"),
        ] {
            let refused = set(keys).unwrap_err();
            assert!(
                refused.contains(what) && !refused.contains("cret"),
                "{keys}: {refused}"
            );
        }
        assert!(key_set("{}").is_err() && key_set(r#"{"keys":{}}"#).is_err() && key_set("[]").is_err());
    }
}
