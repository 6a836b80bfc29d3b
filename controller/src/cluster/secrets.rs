//! What is made once and kept in Secrets: the hash seed, what the channel's tokens are made of, the keys that sign
//! persistence tokens. A key signs only when every proxy can verify with it; which one does stands on the Secret.

use std::collections::BTreeMap;

use clew_core::model::ObjectName;
use clew_filter_config::persistence::SigningKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};

use clew_core::render::{MANAGED_BY, MANAGER};
use clew_crds::status::CONTROLLER_NAME;

use super::settings::{SECRETS, SIGNING_KEYS};
use crate::failure::{Failure, refused};

/// Which key signs: the beginning of its SHA-256.
const SIGNS: &str = "clew.dev/signs";
const SEED: &str = "seed";
const CHANNEL: &str = "channel";

/// What is made once.
pub(crate) struct Secrets {
    /// The hash seed, 32 hex digits.
    pub(crate) seed: String,
    /// What the channel's tokens are made of.
    pub(crate) channel: Vec<u8>,
}

impl Secrets {
    /// What is there, or what is made now. Of two that make it at once, one does.
    ///
    /// # Errors
    /// When it can be neither read nor written, or is not what was written.
    pub(crate) async fn open(client: &Client, namespace: &str) -> Result<Self, Failure> {
        let signing = BTreeMap::from([("1".to_owned(), random(32)?)]);
        let signs = fingerprint(&hex(signing.values().flatten()));
        let made = secret(SIGNING_KEYS, "clew.dev/signing-keys", signing, Some(signs));
        get_or_create(client, namespace, made).await?;
        let seed = hex(&random(16)?).into_bytes();
        let entries = BTreeMap::from([(SEED.to_owned(), seed), (CHANNEL.to_owned(), random(32)?)]);
        let kept = get_or_create(client, namespace, secret(SECRETS, "Opaque", entries, None)).await?;
        Self::read(&kept, namespace)
    }

    /// What another process made.
    ///
    /// # Errors
    /// When there is none, or it is not what was written.
    pub(crate) async fn of(client: &Client, namespace: &str) -> Result<Self, Failure> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let kept = api.get(SECRETS).await.map_err(|error| {
            refused(
                &format!(
                    "CLEW0922: Secret {namespace}/{SECRETS}, which clew controller makes, cannot be read"
                ),
                &error,
            )
        })?;
        Self::read(&kept, namespace)
    }

    fn read(kept: &Secret, namespace: &str) -> Result<Self, Failure> {
        let entry = |name: &str| kept.data.as_ref()?.get(name).map(|bytes| bytes.0.clone());
        let seed = entry(SEED).and_then(|bytes| String::from_utf8(bytes).ok());
        let is_hex =
            |text: &String| text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match (
            seed.filter(is_hex),
            entry(CHANNEL).filter(|bytes| bytes.len() >= 32),
        ) {
            (Some(seed), Some(channel)) => Ok(Self { seed, channel }),
            _ => Err(Failure::unreachable(format!(
                "CLEW0922: Secret {namespace}/{SECRETS} is not what was written there; restore it from a backup (another seed moves every session key)"
            ))),
        }
    }
}

/// The keys of a Secret, of which the one signs that every proxy is known to hold; until anybody said which, the wanted one.
pub(crate) fn in_force(wanted: &[SigningKey], signs: Option<&str>) -> Vec<SigningKey> {
    let known = wanted
        .iter()
        .position(|key| signs == Some(fingerprint(&key.secret).as_str()));
    let Some(known) = known else {
        return wanted.to_vec();
    };
    let of = |(i, key): (usize, &SigningKey)| SigningKey {
        secret: key.secret.clone(),
        signs: i == known,
    };
    wanted.iter().enumerate().map(of).collect()
}

/// What the Secret is to say of who signs, where that is another one than is wanted.
pub(crate) fn next_signer(wanted: &[SigningKey], signs: Option<&str>) -> Option<String> {
    let signer = fingerprint(&wanted.iter().find(|key| key.signs)?.secret);
    (signs != Some(signer.as_str())).then_some(signer)
}

/// Which key signs, as the Secret says.
pub(crate) fn signer(secret: &Secret) -> Option<String> {
    secret.annotations().get(SIGNS).cloned()
}

/// Every proxy can verify with it: from now on it signs.
///
/// # Errors
/// When the API server says no.
pub(crate) async fn sign_with(client: &Client, secret: &ObjectName, signer: &str) -> kube::Result<()> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace);
    let patch = json!({"metadata": {"annotations": {SIGNS: signer}}});
    let params = PatchParams {
        field_manager: Some(CONTROLLER_NAME.to_owned()),
        ..PatchParams::default()
    };
    api.patch_metadata(&secret.name, &params, &Patch::Merge(&patch))
        .await
        .map(drop)
}

/// Says which key it is, and nothing of what is in it.
fn fingerprint(key: &str) -> String {
    Sha256::digest(key)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn get_or_create(client: &Client, namespace: &str, made: Secret) -> Result<Secret, Failure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = made.name_any();
    let got = match api.get_opt(&name).await {
        Ok(Some(kept)) => Ok(kept),
        Ok(None) => match api.create(&PostParams::default(), &made).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&name).await,
            created => created,
        },
        Err(error) => Err(error),
    };
    got.map_err(|error| {
        Failure::unreachable(format!(
            "{}; let the controller get and create it, and see that namespace {namespace} is there (--namespace)",
            refused(&format!("CLEW0922: Secret {namespace}/{name} can be neither read nor made"), &error)
        ))
    })
}

fn secret(name: &str, kind: &str, entries: BTreeMap<String, Vec<u8>>, signs: Option<String>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            annotations: signs.map(|signs| [(SIGNS.to_owned(), signs)].into()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(
            entries
                .into_iter()
                .map(|(name, bytes)| (name, ByteString(bytes)))
                .collect(),
        ),
        ..Secret::default()
    }
}

fn random(bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut made = vec![0; bytes];
    getrandom::fill(&mut made).map_err(|error| {
        Failure::unreachable(format!("CLEW0922: the system gives no random numbers: {error}"))
    })?;
    Ok(made)
}

fn hex<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{fingerprint, in_force, next_signer};
    use clew_filter_config::persistence::SigningKey;

    fn keys(written: &str) -> Vec<SigningKey> {
        let key = |key: &str| SigningKey {
            secret: key.trim_end_matches('*').into(),
            signs: key.ends_with('*'),
        };
        written.split_whitespace().map(key).collect()
    }

    #[test]
    fn a_new_key_verifies_until_it_is_said_to_sign() {
        let a = fingerprint("a");
        for (wanted, said, told, next) in [
            ("a*", None, "a*", true),
            ("a*", Some("a"), "a*", false),
            ("a b*", Some("a"), "a* b", true),
            ("a b*", Some("b"), "a b*", false),
            ("b*", Some("a"), "b*", true),
        ] {
            let said = said.map(fingerprint);
            assert_eq!(in_force(&keys(wanted), said.as_deref()), keys(told), "{wanted}");
            assert_eq!(
                next_signer(&keys(wanted), said.as_deref()).is_some(),
                next,
                "{wanted}"
            );
        }
        assert_eq!(next_signer(&[], Some(&a)), None);
    }
}
