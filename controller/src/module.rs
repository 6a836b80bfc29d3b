//! The filter's module, which is built along with `clew` and inside it.

use sha2::{Digest, Sha256};

/// The bytes of the module.
pub(crate) static BYTES: &[u8] = include_bytes!(env!("CLEW_FILTER"));

/// The sha256 of the module: 64 hex digits.
pub(crate) fn sha256() -> String {
    Sha256::digest(BYTES)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
