//! A Close of ours under way.

use super::cause::{Cause, Order};
use super::{LAST_WORD_MS, PATIENCE_MS};

/// What was decided. Who has been told is noted where our Close went, in the two ways. All times are
/// [`Now::ms`](super::Now::ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) cause: Cause,
    /// Since when our Close is wanted.
    pub(super) since: u64,
    /// By then it is over.
    pub(super) deadline: u64,
    /// When the client's Close was seen after ours was wanted.
    pub(super) answered: Option<u64>,
    /// The server was asked for an event with which our Close can go.
    pub(super) pinged: bool,
}

impl Farewell {
    pub(super) const fn new(cause: Cause, now: u64) -> Self {
        Self::until(cause, now, now.saturating_add(cause.limit()))
    }

    pub(super) const fn until(cause: Cause, now: u64, deadline: u64) -> Self {
        Self {
            cause,
            since: now,
            deadline,
            answered: None,
            pinged: false,
        }
    }

    /// From then on the end of any frame will do, also in the middle of a message (RFC 6455, 5.4).
    pub(super) fn any_frame_from(&self) -> u64 {
        let last = self.deadline.saturating_sub(LAST_WORD_MS.saturating_mul(2));
        self.since.saturating_add(self.cause.grace()).min(last)
    }

    /// From then on the server is to get our Close too.
    pub(super) fn server_from(&self, client_told: Option<u64>) -> u64 {
        let last = self.deadline.saturating_sub(LAST_WORD_MS);
        match (self.cause.order(), client_told) {
            (Order::Both, _) => 0,
            (Order::ClientFirst, Some(told)) => last.min(told.saturating_add(PATIENCE_MS)),
            (Order::ClientFirst, None) => last,
        }
    }

    /// By then the stream is cleared away.
    pub(super) fn end_by(&self, client_told: Option<u64>, server_told: Option<u64>) -> u64 {
        let after = |moment: Option<u64>, ms: u64| moment.map(|moment| moment.saturating_add(ms));
        [
            after(client_told, PATIENCE_MS.saturating_mul(2)),
            after(server_told, PATIENCE_MS),
            after(self.answered, PATIENCE_MS),
        ]
        .into_iter()
        .flatten()
        .fold(self.deadline, u64::min)
    }
}
