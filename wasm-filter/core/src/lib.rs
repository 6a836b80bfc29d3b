//! The pure half of the filter: it is told what happened and when, and answers what to do. No proxy-wasm, no clock,
//! no floating point (the controller's `explain` must say natively what the module says in wasm), no panic.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "a test may panic"))]

pub mod drain;
pub mod frame;
pub mod handshake;
pub mod jwt;
pub mod lease;
pub mod limits;
pub mod live;
pub mod origin;
pub mod placement;
pub mod proxy_version;
mod series;
pub mod session;
pub mod session_key;
pub mod store;
pub mod table;
pub mod token;
pub mod world;
