//! Any token has one expiry or none, whether it is read from its header or Envoy has verified it; and what is not a JSON
//! number expires never.
//!
//! Input: the value of `Authorization`.
#![no_main]

use clew_filter_config::headers::JWT_PAYLOAD;
use clew_filter_config::rule::KeySource;
use clew_filter_core::jwt::{SKEW_MS, expires_at};
use clew_filter_core::session_key::{Request, find};
use libfuzzer_sys::fuzz_target;

fn claim(name: &str, verified: bool) -> [KeySource; 1] {
    [KeySource::JwtClaim {
        path: vec![name.to_owned()],
        header: "authorization".to_owned(),
        verified,
    }]
}

fuzz_target!(|value: &[u8]| {
    let headers = [(&b"authorization"[..], value)];
    let request = Request {
        path: b"/",
        headers: &headers,
        peer: b"",
    };
    let expiry = expires_at(&claim("sub", false), &request);
    assert!(expiry.is_none_or(|ms| ms >= SKEW_MS));
    let exp = find(&claim("exp", false), &request);
    if let (Some(exp), Some(ms)) = (&exp, expiry) {
        // An integer, in the one spelling that keys have.
        let text = std::str::from_utf8(&exp.value).expect("a number is text");
        let seconds = text.parse::<i128>().expect("an integer").max(0);
        let wanted = u128::try_from(seconds).expect("not negative") * 1000 + u128::from(SKEW_MS);
        assert_eq!(u128::from(ms), wanted.min(u64::MAX.into()));
    }
    // Nothing has verified it.
    assert_eq!(expires_at(&claim("sub", true), &request), None);
    assert_eq!(find(&claim("sub", true), &request), None);

    // What Envoy verified says the same as the token that it is the payload of.
    if let Some(payload) = value.split(|&byte| byte == b'.').nth(1) {
        let forwarded = [(JWT_PAYLOAD.as_bytes(), payload)];
        let verified = Request {
            headers: &forwarded,
            ..request
        };
        if expiry.is_some() {
            assert_eq!(expires_at(&claim("sub", true), &verified), expiry);
        }
    }
});
