//! The Secret with the keys that sign persistence tokens.

use std::collections::BTreeMap;

use clew_filter_config::persistence::SigningKey;
use clew_filter_core::token::SHORTEST_SECRET;
use k8s_openapi::api::core::v1::Secret;

use super::index::Index;
use crate::model::ObjectName;
use crate::objects::Sourced;
use crate::refusal::{Code, ObjectRef, Refusal};

/// The `type` of the Secret. Each of its entries is a key.
const TYPE: &str = "clew.dev/signing-keys";

/// The keys in the order of their names, of which the last one signs. Empty: there is no such Secret.
pub(super) fn read(index: &Index<'_>, refusals: &mut Vec<Refusal>) -> Vec<SigningKey> {
    let mut secrets = index
        .secrets
        .iter()
        .filter(|(_, secret)| secret.object.type_.as_deref() == Some(TYPE));
    let Some((name, secret)) = secrets.next() else {
        return Vec::new();
    };
    for (other, sourced) in secrets {
        let message = format!(
            "Secret {name} ({}) holds the signing keys already; put all keys into one Secret",
            secret.source
        );
        refusals.push(refusal(
            other,
            sourced,
            Code::SigningKeysTwice,
            "type".to_owned(),
            message,
        ));
    }
    let mut keys: Vec<SigningKey> = Vec::new();
    for (entry, bytes) in entries(&secret.object) {
        if bytes.len() < SHORTEST_SECRET {
            let message = format!(
                "{} bytes are no key; put {SHORTEST_SECRET} random ones or more there (openssl rand -base64 {SHORTEST_SECRET})",
                bytes.len()
            );
            refusals.push(refusal(
                name,
                secret,
                Code::SigningKeyInvalid,
                format!("data.{entry}"),
                message,
            ));
            continue;
        }
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        keys.retain(|known| known.secret != secret);
        keys.push(SigningKey { secret, signs: false });
    }
    if let Some(last) = keys.last_mut() {
        last.signs = true;
    }
    keys
}

/// As the API server has it: `stringData` goes over `data`.
fn entries(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    let data = secret
        .data
        .iter()
        .flatten()
        .map(|(entry, bytes)| (entry.as_str(), bytes.0.as_slice()));
    let text = secret
        .string_data
        .iter()
        .flatten()
        .map(|(entry, text)| (entry.as_str(), text.as_bytes()));
    data.chain(text).collect()
}

fn refusal(
    name: &ObjectName,
    secret: &Sourced<Secret>,
    code: Code,
    field: String,
    message: String,
) -> Refusal {
    Refusal {
        code,
        object: ObjectRef {
            kind: "Secret",
            name: name.clone(),
        },
        source: secret.source.clone(),
        field,
        message,
        parent: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::fixture::good;
    use crate::refusal::Code;
    use crate::validate::{Target, validate};

    fn secret(name: &str, keys: Value) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop"},
            "type": "clew.dev/signing-keys",
            "stringData": keys,
        })
    }

    /// The first letters of the keys, with a star behind the one that signs, and what is wrong.
    fn read(secrets: Vec<Value>) -> (String, Vec<Code>) {
        let mut manifests = good();
        manifests.secrets = secrets;
        let validated = validate(&manifests.objects(), Target::Standalone);
        let letter = |key: &clew_filter_config::persistence::SigningKey| {
            let byte = u8::from_str_radix(&key.secret[..2], 16).unwrap();
            format!("{}{}", char::from(byte), if key.signs { "*" } else { "" })
        };
        let keys = validated.world.signing_keys.iter().map(letter).collect();
        let codes = validated.others.iter().map(|refusal| refusal.code).collect();
        assert!(!format!("{validated:?}").contains(&"61".repeat(8)), "a key shows");
        (keys, codes)
    }

    fn key(letter: &str) -> String {
        letter.repeat(32)
    }

    #[test]
    fn the_last_by_name_signs() {
        assert_eq!(read(Vec::new()), (String::new(), vec![]));
        let keys = json!({"2026-11": key("b"), "2026-08": key("a"), "2026-12": key("c")});
        assert_eq!(read(vec![secret("keys", keys)]), ("abc*".to_owned(), vec![]));
        let same = json!({"1": key("a"), "2": key("b"), "3": key("a")});
        assert_eq!(read(vec![secret("keys", same)]), ("ba*".to_owned(), vec![]));
    }

    #[test]
    fn a_short_one_is_none_and_the_others_are() {
        let keys = json!({"1": key("a"), "2": "short"});
        assert_eq!(
            read(vec![secret("keys", keys)]),
            ("a*".to_owned(), vec![Code::SigningKeyInvalid])
        );
    }

    #[test]
    fn of_two_secrets_the_first_counts() {
        let secrets = vec![
            secret("second", json!({"1": key("b")})),
            secret("first", json!({"1": key("a")})),
        ];
        assert_eq!(read(secrets), ("a*".to_owned(), vec![Code::SigningKeysTwice]));
        let mut other = secret("other", json!({"1": key("a")}));
        other["type"] = "Opaque".into();
        assert_eq!(read(vec![other]), (String::new(), vec![]));
    }
}
