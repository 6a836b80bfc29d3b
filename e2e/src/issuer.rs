//! Who issues tokens: real signatures by keys of our own, and the forgeries that are made of them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use data_encoding::BASE64URL_NOPAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, signature};
use serde_json::{Value, json};

/// An RSA key of 2048 bits, for tests alone: PKCS#8, DER.
pub(crate) const RSA: &[u8] = include_bytes!("issuer/rsa.pk8");

/// One key and its name.
#[derive(Debug)]
pub struct Issuer {
    kid: String,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Rs256(Box<RsaKeyPair>),
    Es256(Box<EcdsaKeyPair>),
}

impl Issuer {
    /// With the RSA key, which is always the same.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn rs256(kid: &str) -> Result<Self> {
        let key = RsaKeyPair::from_pkcs8(RSA).map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: Key::Rs256(Box::new(key)),
        })
    }

    /// With a key on P-256 of its own.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn es256(kid: &str) -> Result<Self> {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|error| anyhow!("{error}"))?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            kid: kid.to_owned(),
            key: Key::Es256(Box::new(key)),
        })
    }

    /// The public key, as it stands in a key set.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.key {
            Key::Rs256(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": text(&public.n), "e": text(&public.e)})
            }
            Key::Es256(key) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.kid, "x": text(x), "y": text(y)})
            }
        }
    }

    /// A signed token.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, claims: &Value) -> Result<String> {
        let alg = match self.key {
            Key::Rs256(_) => "RS256",
            Key::Es256(_) => "ES256",
        };
        let said = said(&json!({"alg": alg, "typ": "JWT", "kid": self.kid}), claims);
        let signature = self.sign(said.as_bytes())?;
        Ok(format!("{said}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    /// A token whose HMAC is keyed with the public key, for those who take the algorithm from the token.
    pub fn confused(&self, claims: &Value) -> String {
        let public = match &self.key {
            Key::Rs256(key) => key.public().as_ref(),
            Key::Es256(key) => key.public_key().as_ref(),
        };
        let said = said(&json!({"alg": "HS256", "typ": "JWT", "kid": self.kid}), claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public), said.as_bytes());
        format!("{said}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    }

    fn sign(&self, said: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let padding: &dyn signature::RsaEncoding = &signature::RSA_PKCS1_SHA256;
                key.sign(padding, &random, said, &mut signature)
                    .map_err(|error| anyhow!("{error}"))?;
                Ok(signature)
            }
            Key::Es256(key) => {
                let signature = key.sign(&random, said).map_err(|error| anyhow!("{error}"))?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// A token that nobody signed, with this for its signature.
pub fn unsigned(alg: &str, claims: &Value, signature: &str) -> String {
    format!("{}.{signature}", said(&json!({"alg": alg, "typ": "JWT"}), claims))
}

/// A key set.
pub fn key_set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// Seconds since the Unix epoch, `later` from now.
pub fn seconds(later: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_add(later)
}

fn said(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}
