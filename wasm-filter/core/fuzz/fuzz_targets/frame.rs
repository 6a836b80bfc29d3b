//! Any stream in any chunks is read as the reference parser reads it whole.
//!
//! Input: a count n, n lengths of chunks, the stream.
#![no_main]

#[path = "../../tests/rfc6455/follow.rs"]
mod follow;
#[path = "../../tests/rfc6455/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&n, rest)) = input.split_first() else {
        return;
    };
    let Some((cuts, stream)) = rest.split_at_checked(n.into()) else {
        return;
    };
    let (_, events) = follow::follow(stream, cuts.iter().map(|&cut| cut.into()));
    assert_eq!(events, reference::reference(stream));
});
