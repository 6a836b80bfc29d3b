//! What a session costs a worker, whatever its peers send.

use core::mem::{needs_drop, size_of};

use clew_filter_core::frame::Tracker;
use clew_filter_core::session::Session;

/// A fixed number of bytes, and nothing elsewhere: what has nothing to drop owns no memory that could grow.
#[test]
fn a_session_is_small_and_owns_nothing_that_grows() {
    assert!(!needs_drop::<Session>());
    assert!(
        size_of::<Session>() <= 512,
        "{} bytes, of them 2 × {} for frames",
        size_of::<Session>(),
        size_of::<Tracker>()
    );
}
