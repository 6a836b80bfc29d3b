//! Where memory comes from, and when it goes back.

use std::collections::BTreeMap;

use libmimalloc_sys::mi_collect;
use mimalloc::MiMalloc;

/// After a burst the C library's own keeps most of the memory, in so many pieces that every allocation looks for long.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives back to the system what a burst of this thread's has left free: by itself that happens only along with what is allocated next, and where
/// nothing happens for hours nothing is.
#[expect(
    unsafe_code,
    reason = "a function of C's without a condition: it may be called anywhere, by any thread"
)]
pub(crate) fn give_back() {
    unsafe { mi_collect(true) };
}

/// Puts what is kept of a burst together, beside each other and not among what was freed since. A map that was filled in the order of its keys has
/// half-empty nodes besides, and full ones then.
pub(crate) fn tighten<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    *map = std::mem::take(map).into_iter().collect();
}
