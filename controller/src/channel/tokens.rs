//! Who may poll for which gateway.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The tokens of the channel. Comparisons take equally long wherever the two differ.
#[derive(Clone)]
pub(crate) enum Tokens {
    /// One for all gateways; its hash.
    One([u8; 32]),
    /// One for each gateway, made of a secret: `hex(gateway).hex(HMAC-SHA256(secret, gateway))`.
    Each(Vec<u8>),
}

impl Tokens {
    /// One for all gateways.
    pub(crate) fn one(token: &str) -> Self {
        Self::One(Sha256::digest(token).into())
    }

    /// The gateway that a token is for: an empty one stands for all. `None`: it is no token of ours.
    pub(crate) fn gateway(&self, token: &[u8]) -> Option<String> {
        match self {
            Self::One(hash) => (Sha256::digest(token)[..] == hash[..]).then(String::new),
            Self::Each(secret) => {
                let (gateway, _) = std::str::from_utf8(token).ok()?.split_once('.')?;
                let gateway = String::from_utf8(from_hex(gateway)?).ok()?;
                let ours = Sha256::digest(token_for(secret, &gateway));
                (Sha256::digest(token) == ours).then_some(gateway)
            }
        }
    }
}

/// The token of a gateway.
pub(crate) fn token_for(secret: &[u8], gateway: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(gateway.as_bytes());
    format!(
        "{}.{}",
        hex(gateway.as_bytes()),
        hex(&mac.finalize().into_bytes())
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::{Tokens, token_for};

    #[test]
    fn a_gateways_token_opens_that_gateway_only() {
        let tokens = Tokens::Each(b"secret".to_vec());
        let token = token_for(b"secret", "istio=ingressgateway");
        assert_eq!(
            tokens.gateway(token.as_bytes()).as_deref(),
            Some("istio=ingressgateway")
        );
        let other = token_for(b"secret", "infra/edge");
        let (gateway, _) = token.split_once('.').unwrap();
        let (_, mac) = other.split_once('.').unwrap();
        for forged in [
            format!("{gateway}.{mac}"),
            gateway.to_owned(),
            String::new(),
            "zz.zz".to_owned(),
            token_for(b"another", "infra/edge"),
            format!("{token}0"),
        ] {
            assert_eq!(tokens.gateway(forged.as_bytes()), None, "{forged}");
        }
        assert_eq!(tokens.gateway(&[0xff, b'.', b'0']), None);
    }

    #[test]
    fn one_token_opens_all() {
        let tokens = Tokens::one("t");
        assert_eq!(tokens.gateway(b"t").as_deref(), Some(""));
        assert_eq!(tokens.gateway(b"u"), None);
    }
}
