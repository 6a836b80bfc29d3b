//! Persistence tokens: which pod a session is bound to, signed, so that nobody but us can say so.
//!
//! A token is `version ‖ key id ‖ issued ‖ expires ‖ pod ‖ uid ‖ rule ‖ tag`: one byte, four, eight and eight (milliseconds
//! since the Unix epoch, big-endian, 0 for never), two texts behind their lengths of one byte, the rest, and sixteen bytes
//! of HMAC-SHA256 over all before it. Written in base64url without padding; each token has one spelling. It names the
//! pod, never an address: whoever gets a pod's address later does not get its sessions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clew_filter_config::persistence::SigningKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How much the clocks of two proxies may differ.
pub const LEEWAY_MS: u64 = 60_000;
/// A shorter secret is no key.
pub const SHORTEST_SECRET: usize = 32;
/// A longer token is none, and none is made.
const MOST_BYTES: usize = 1_024;
/// The layout above.
const VERSION: u8 = 1;
/// 128 bits of the HMAC are kept (RFC 2104, 5).
const TAG: usize = 16;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The pod's name.
    pub pod: String,
    /// The pod's UID; empty where it has none.
    pub uid: String,
    /// When the session was bound: milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// From when on it is good no more. None: as long as the pod lives.
    pub expires_ms: Option<u64>,
}

/// A token that is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub token: Token,
    /// Signed with a key that signs no new ones: one that is on its way out.
    pub outdated: bool,
}

/// Why a text is no good token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// It is not of the form of one.
    Malformed,
    /// No key of ours signed it.
    Forged,
    /// It is of another rule.
    Foreign,
    /// It is too old.
    Expired,
}

/// The keys: all verify, one signs.
#[derive(Clone, Default)]
pub struct Ring {
    keys: Vec<Key>,
    signs: Option<usize>,
}

/// The name of a key in a token: of its secret, so that equal keys are one wherever they come from.
type KeyId = [u8; 4];

#[derive(Clone)]
struct Key {
    id: KeyId,
    mac: Hmac<Sha256>,
}

impl core::fmt::Debug for Ring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Ring(secret)")
    }
}

impl Ring {
    /// Lays out the channel's keys. What is no key is left out.
    #[must_use]
    pub fn new(keys: &[SigningKey]) -> Self {
        let mut ring = Self::default();
        for key in keys {
            let Some(laid) = unhex(&key.secret).and_then(|secret| Key::new(&secret)) else {
                continue;
            };
            if key.signs {
                ring.signs = Some(ring.keys.len());
            }
            ring.keys.push(laid);
        }
        ring
    }

    /// Whether new tokens can be signed.
    #[must_use]
    pub const fn signs(&self) -> bool {
        self.signs.is_some()
    }

    /// Makes a token of a rule (`namespace/route/rule`). None: no key signs, or the names are too long for one.
    #[must_use]
    pub fn seal(&self, token: &Token, rule: &str) -> Option<String> {
        let key = self.keys.get(self.signs?)?;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&key.id);
        bytes.extend_from_slice(&token.issued_ms.to_be_bytes());
        bytes.extend_from_slice(&token.expires_ms.unwrap_or(0).to_be_bytes());
        for text in [&token.pod, &token.uid] {
            bytes.push(u8::try_from(text.len()).ok()?);
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(rule.as_bytes());
        let tag = key.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(tag.get(..TAG)?);
        (bytes.len() <= MOST_BYTES).then(|| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a token of a rule. `good_for_ms`: how long tokens of the rule are good now; the shorter of that and what the
    /// token says counts.
    ///
    /// # Errors
    /// Why it is none.
    pub fn open(
        &self,
        text: &[u8],
        rule: &str,
        good_for_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<Opened, Invalid> {
        // Four letters are three bytes.
        if text.len() > MOST_BYTES.saturating_mul(4).div_ceil(3) {
            return Err(Invalid::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Invalid::Malformed)?;
        let (signed, tag) = bytes.split_last_chunk::<TAG>().ok_or(Invalid::Malformed)?;
        let (token, id, of) = parse(signed).ok_or(Invalid::Malformed)?;
        // Two keys of one id are unlikely and do no harm.
        let good = |(_, key): &(usize, &Key)| {
            key.id == id
                && key
                    .mac
                    .clone()
                    .chain_update(signed)
                    .verify_truncated_left(tag)
                    .is_ok()
        };
        let (at, _) = self.keys.iter().enumerate().find(good).ok_or(Invalid::Forged)?;
        if of != rule.as_bytes() {
            return Err(Invalid::Foreign);
        }
        let ends = [
            token.expires_ms,
            good_for_ms.map(|good_for| token.issued_ms.saturating_add(good_for)),
        ];
        if ends
            .into_iter()
            .flatten()
            .any(|end| now_ms > end.saturating_add(LEEWAY_MS))
        {
            return Err(Invalid::Expired);
        }
        Ok(Opened {
            token,
            outdated: self.signs.is_some_and(|signs| signs != at),
        })
    }
}

impl Key {
    fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < SHORTEST_SECRET {
            return None;
        }
        let mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        // No token begins like this.
        let id = mac.clone().chain_update(b"clew key id").finalize().into_bytes();
        Some(Self {
            id: *id.first_chunk()?,
            mac,
        })
    }
}

/// A token without its tag: what it says, the id of its key, and its rule.
fn parse(signed: &[u8]) -> Option<(Token, KeyId, &[u8])> {
    let (&version, rest) = signed.split_first()?;
    if version != VERSION {
        return None;
    }
    let (id, rest) = rest.split_first_chunk()?;
    let (issued, rest) = rest.split_first_chunk()?;
    let (expires, rest) = rest.split_first_chunk()?;
    let (pod, rest) = text(rest)?;
    let (uid, rule) = text(rest)?;
    let token = Token {
        pod: pod.to_owned(),
        uid: uid.to_owned(),
        issued_ms: u64::from_be_bytes(*issued),
        expires_ms: Some(u64::from_be_bytes(*expires)).filter(|at| *at != 0),
    };
    Some((token, *id, rule))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(len.into())?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

/// Hex digits of either case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digits
        .map(|pair| match pair {
            &[high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
