//! No text opens but what was sealed, and what was sealed opens under its one spelling.
//!
//! Input: whether the text is one of ours with these bytes over it, from where on, and the bytes.
#![no_main]

use arbitrary::Arbitrary;
use clew_filter_config::persistence::SigningKey;
use clew_filter_core::token::{Ring, Token};
use libfuzzer_sys::fuzz_target;

const RULE: &str = "shop/chat/rooms";

#[derive(Arbitrary, Debug)]
struct Input {
    pod: String,
    uid: String,
    issued_ms: u64,
    expires_ms: Option<u64>,
    now_ms: u64,
    at: u8,
    over: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let ring = Ring::new(&[SigningKey {
        secret: "7".repeat(64),
        signs: true,
    }]);
    let _ = ring.open(&input.over, RULE, input.expires_ms, input.now_ms);
    let token = Token {
        pod: input.pod,
        uid: input.uid,
        issued_ms: input.issued_ms,
        expires_ms: input.expires_ms.filter(|at| *at != 0),
    };
    let Some(sealed) = ring.seal(&token, RULE) else {
        assert!(token.pod.len() > 255 || token.uid.len() > 255);
        return;
    };
    let opened = ring.open(sealed.as_bytes(), RULE, None, 0).expect("it was sealed");
    assert!(opened.token == token && !opened.outdated);

    let mut other = sealed.clone().into_bytes();
    let at = usize::from(input.at) % other.len();
    let end = other.len().min(at + input.over.len());
    other.splice(at..end, input.over);
    assert_eq!(ring.open(&other, RULE, None, 0).is_ok(), other == sealed.as_bytes());
});
