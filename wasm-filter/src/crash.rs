//! A module that fails when it is told to, for tests of what becomes of a proxy then. Only with the feature `crash-test`,
//! which no module that ships is built with.

use crate::host::{self, Map};

/// Whoever sends this header ends every session of the worker.
const HEADER: &str = "x-clew-crash-test";

/// Traps, as a panic would.
pub(crate) fn when_told() {
    if matches!(host::header(Map::Request, HEADER), Ok(Some(_))) {
        core::arch::wasm32::unreachable();
    }
}
