//! Which metric counts where a session landed, and how it ended.

use clew_filter_config::metrics::Series;

use crate::handshake::Affinity;
use crate::session::{Cause, Ended};

impl From<Affinity> for Series {
    fn from(affinity: Affinity) -> Self {
        match affinity {
            Affinity::Hit => Self::AffinityHit,
            Affinity::New => Self::AffinityNew,
            Affinity::Moved => Self::AffinityMoved,
            Affinity::Missed => Self::AffinityMissed,
        }
    }
}

impl From<Ended> for Series {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Client => Self::ClosedClient,
            Ended::Server => Self::ClosedServer,
            Ended::Aborted => Self::ClosedAborted,
            Ended::Ours { cause, reset } => match cause {
                Cause::Drain if reset => Self::ClosedReset,
                Cause::Drain => Self::ClosedDrain,
                Cause::Idle => Self::ClosedIdle,
                Cause::Duration => Self::ClosedDuration,
                Cause::TokenExpired => Self::ClosedTokenExpired,
                Cause::MessageSize => Self::ClosedMessageSize,
                Cause::MessageRate => Self::ClosedMessageRate,
                Cause::Protocol => Self::ClosedProtocol,
            },
        }
    }
}
