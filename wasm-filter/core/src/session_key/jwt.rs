//! A claim of a JWT (RFC 7519) in compact form. The signature is not looked at: whoever must not trust the client has
//! the token verified before it comes here.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::READ_AT_MOST;
use super::request::{Request, trim};

/// RFC 7515 writes no padding; a token that has it says the same.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The claim at a path of names: a string, or an integer of at most 64 bits in decimal. Fractions, booleans, `null`,
/// lists and objects are no values. A token beyond the bound is none.
pub(super) fn claim(request: &Request<'_>, header: &str, path: &[String]) -> Option<Vec<u8>> {
    let token = without_bearer(request.header(header)?);
    if token.len() > READ_AT_MOST {
        return None;
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        // Five parts are an encrypted token.
        return None;
    }
    let json = BASE64URL.decode(payload).ok()?;
    // serde_json itself refuses more than 128 levels.
    let claims: Map<String, Value> = serde_json::from_slice(&json).ok()?;
    let (last, parents) = path.split_last()?;
    let object = parents
        .iter()
        .try_fold(&claims, |object, name| object.get(name)?.as_object())?;
    match object.get(last)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// Removes the scheme of RFC 6750, in any case.
fn without_bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(b"Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => trim(token),
        _ => value,
    }
}
