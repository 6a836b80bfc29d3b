//! The filter as Envoy sees it: a WebAssembly module of proxy-wasm ABI 0.2.1. What it decides is decided in
//! `clew-filter-core`; here Envoy's callbacks become events, and the core's answers host calls.
//!
//! A panic would reset every WebSocket of the worker. So nothing here can panic, and neither can what it calls: the
//! host's functions are bound in [`host`], its callbacks in [`abi`], both without an SDK.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]

mod abi;
mod channel;
#[cfg(feature = "crash-test")]
mod crash;
mod gateway;
mod host;
mod metrics;
mod stream;
mod vm;
