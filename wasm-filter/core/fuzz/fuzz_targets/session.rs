//! Any life of a session, carried out by a proxy that does what the session answers: see the model.
//!
//! Input: a byte of settings, then two bytes for each thing that happens.
#![no_main]

#[expect(dead_code, reason = "only what the reference needs of it")]
#[path = "../../tests/rfc6455/follow.rs"]
mod follow;
#[path = "../../tests/session/model.rs"]
mod model;
#[path = "../../tests/rfc6455/reference.rs"]
mod reference;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| model::run(input));
