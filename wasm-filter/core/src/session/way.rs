//! One direction of a session: where its frames are, whether it can be written to, and what of ours went there.

use super::arming::{Arming, Budget};
use super::{Action, Now};
use crate::frame::Tracker;

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) tracker: Tracker,
    pub(super) arming: Arming,
    /// When our Close went here. Nothing follows it.
    pub(super) told: Option<u64>,
    /// Bytes of payload of the data message that is open.
    pub(super) message: u64,
    /// Bytes of a header that is not whole, kept back until it is.
    kept_back: u8,
}

impl Way {
    pub(super) fn new(armable: bool, budget: Budget) -> Self {
        Self {
            tracker: Tracker::new(),
            arming: Arming::new(armable, budget),
            told: None,
            message: 0,
            kept_back: 0,
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

    /// Whether our Close can go here and has not.
    pub(super) const fn untold(&self) -> bool {
        self.told.is_none() && !self.tracker.closed()
    }

    /// Whether a frame of ours could be written, were the direction armed.
    pub(super) fn silent(&self) -> bool {
        self.arming.disarmed() && self.tracker.at_boundary()
    }

    /// Whether a frame of ours can be written from outside the direction's own events, at the end of a message or of
    /// `any_frame`.
    pub(super) const fn writable(&self, any_frame: bool) -> bool {
        let between_frames = matches!(self.tracker.left_of_frame(), Some(0));
        self.arming.armed() && (self.tracker.at_boundary() || any_frame && between_frames)
    }

    /// Keeps back the last of the `new` bytes if they are a header that is not whole, so that it can still be decided
    /// whether the frame passes. How many.
    pub(super) fn keep_back(&mut self, new: usize) -> usize {
        let kept_back = self.tracker.rewind(new);
        if kept_back > 0 {
            // At most 13.
            self.kept_back = kept_back as u8;
        }
        kept_back
    }

    /// What is kept back and comes in front of what comes next.
    pub(super) fn kept_back(&self) -> &[u8] {
        self.tracker.rewound(self.kept_back.into())
    }

    /// It has come.
    pub(super) const fn came_back(&mut self) {
        self.kept_back = 0;
    }
}
