//! One direction of a session: where its frames are, and whether it can be written to.

use super::arming::{Arming, Budget};
use super::{Action, Now};
use crate::frame::Tracker;

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) tracker: Tracker,
    pub(super) arming: Arming,
}

impl Way {
    pub(super) fn new(armable: bool, budget: Budget) -> Self {
        Self {
            tracker: Tracker::new(),
            arming: Arming::new(armable, budget),
        }
    }

    /// Lets bytes pass, and arms the direction with them: `whatever` it costs, or if that is not too much. `other`: the
    /// other direction is reachable.
    pub(super) fn pass(&mut self, len: usize, now: Now, whatever: bool, other: bool) -> Action {
        if self.tracker.closed() {
            // Nothing of ours may follow a Close.
            self.arming.disarm();
            return Action::Pass;
        }
        self.arming.data(len, now, whatever, other)
    }

    /// Whether a frame of ours could be written, were the direction armed.
    pub(super) fn silent(&self) -> bool {
        self.arming.disarmed() && self.tracker.at_boundary()
    }

    /// Whether a frame of ours can be written from outside the direction's own events.
    pub(super) const fn writable(&self) -> bool {
        self.arming.armed() && self.tracker.at_boundary()
    }
}
