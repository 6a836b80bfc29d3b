//! What a JSON Web Token (RFC 7519) in compact form says. No signature is looked at: whoever must not trust the client has
//! Envoy verify the token first, and then reads what Envoy verified.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use clew_filter_config::headers::JWT_PAYLOAD;
use clew_filter_config::rule::KeySource;
use serde_json::{Map, Value};

use crate::session_key::{READ_AT_MOST, Request, trim};

/// For how long a token still counts after its `exp`: Envoy gives it the same time when it verifies one.
pub const SKEW_MS: u64 = 30_000;

/// RFC 7515 writes no padding; a token that has it says the same.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The claim at a path of names: a string, or an integer of at most 64 bits in decimal. Fractions, booleans, `null`,
/// lists and objects are no values. A token beyond [`READ_AT_MOST`] is none.
pub(crate) fn claim(request: &Request<'_>, jwt: (&str, bool), path: &[String]) -> Option<Vec<u8>> {
    let claims = claims(request, jwt)?;
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

/// When the token that the first `JwtClaim` of these sources reads stops to count, in milliseconds since the Unix epoch: its
/// `exp`, in whole seconds, and [`SKEW_MS`]. None: there is no token, or it says no number there, and never expires. What no
/// clock will reach is [`u64::MAX`]; what was before 1970 is over.
#[must_use]
pub fn expires_at(sources: &[KeySource], request: &Request<'_>) -> Option<u64> {
    let claims = sources.iter().find_map(|source| match source {
        KeySource::JwtClaim { header, verified, .. } => Some(claims(request, (header, *verified))),
        _ => None,
    })??;
    let Value::Number(exp) = claims.get("exp")? else {
        return None;
    };
    let seconds = match (exp.as_u64(), exp.as_i64()) {
        (Some(seconds), _) => seconds,
        (None, Some(_)) => 0,
        // The cast cuts the fraction off, and ends at the ends of the range.
        (None, None) => exp.as_f64()? as u64,
    };
    Some(seconds.saturating_mul(1000).saturating_add(SKEW_MS))
}

/// Of the token in a header, or of the one that Envoy verified.
fn claims(request: &Request<'_>, (header, verified): (&str, bool)) -> Option<Map<String, Value>> {
    let payload = if verified {
        request.header(JWT_PAYLOAD)?
    } else {
        payload(without_bearer(request.header(header)?))?
    };
    if payload.len() > READ_AT_MOST {
        return None;
    }
    let json = BASE64URL.decode(payload).ok()?;
    // serde_json itself refuses more than 128 levels.
    serde_json::from_slice(&json).ok()
}

/// The second of three parts. Five are an encrypted token.
fn payload(token: &[u8]) -> Option<&[u8]> {
    if token.len() > READ_AT_MOST {
        return None;
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(payload)
}

/// Removes the scheme of RFC 6750, in any case.
fn without_bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(b"Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => trim(token),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE64URL, SKEW_MS, claim, expires_at};
    use crate::session_key::Request;
    use base64::Engine;
    use clew_filter_config::rule::KeySource;

    fn jwt(verified: bool) -> [KeySource; 1] {
        [KeySource::JwtClaim {
            path: vec!["sub".to_owned()],
            header: "authorization".to_owned(),
            verified,
        }]
    }

    fn with<T>(headers: &[(&str, &str)], ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        ask(&Request {
            path: b"/",
            headers: &headers,
            peer: b"",
        })
    }

    fn expiry(payload: &str) -> Option<u64> {
        let token = format!("Bearer e30.{}.c2ln", BASE64URL.encode(payload));
        with(&[("authorization", &token)], |request| {
            expires_at(&jwt(false), request)
        })
    }

    #[test]
    fn a_token_ends_half_a_minute_after_its_exp() {
        for (exp, seconds) in [
            ("1700000000", 1_700_000_000),
            ("1700000000.9", 1_700_000_000),
            ("1.7e9", 1_700_000_000),
            ("0", 0),
            ("-1", 0),
            ("-9223372036854775809", 0),
            ("-0.5", 0),
        ] {
            let end = expiry(&format!(r#"{{"exp":{exp}}}"#));
            assert_eq!(end, Some(seconds * 1000 + SKEW_MS), "{exp}");
        }
    }

    #[test]
    fn what_no_clock_reaches_is_no_overflow() {
        for exp in [
            "18446744073709551615",
            "18446744073709551616",
            "1e300",
            "9223372036854775807",
        ] {
            assert_eq!(expiry(&format!(r#"{{"exp":{exp}}}"#)), Some(u64::MAX), "{exp}");
        }
    }

    #[test]
    fn without_a_number_there_is_no_end() {
        for payload in [
            "{}",
            r#"{"exp":"1700000000"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":[1]}"#,
            r#"{"exp":1e999}"#,
            r#"{"exp":"#,
            "[]",
            "",
        ] {
            assert_eq!(expiry(payload), None, "{payload}");
        }
        assert_eq!(with(&[], |request| expires_at(&jwt(false), request)), None);
    }

    /// The header may say anything beside the token that was verified, in front of it too.
    #[test]
    fn of_a_verified_token_counts_what_envoy_verified() {
        let forged = format!(
            "e30.{}.x",
            BASE64URL.encode(r#"{"sub":"mallory","exp":9999999999}"#)
        );
        let verified = BASE64URL.encode(r#"{"sub":"alice","exp":1}"#);
        let sub = ["sub".to_owned()];
        let headers = [
            ("authorization", forged.as_str()),
            ("x-clew-jwt-payload", &verified),
        ];
        with(&headers, |request| {
            assert_eq!(claim(request, ("authorization", true), &sub).unwrap(), b"alice");
            assert_eq!(expires_at(&jwt(true), request), Some(1000 + SKEW_MS));
        });
        with(&headers[..1], |request| {
            assert_eq!(claim(request, ("authorization", true), &sub), None);
            assert_eq!(expires_at(&jwt(true), request), None);
            assert_eq!(
                claim(request, ("authorization", false), &sub).unwrap(),
                b"mallory"
            );
        });
    }
}
