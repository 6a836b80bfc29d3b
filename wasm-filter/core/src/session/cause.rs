//! Why a session is closed by us, and how.

use clew_filter_config::rule::DrainPolicy;

/// Why a session is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its pod, or the whole proxy, goes away.
    Drain,
    /// Nothing was said for too long.
    Idle,
    /// It has lasted as long as it may.
    Duration,
    /// The client's token has expired.
    TokenExpired,
    /// A message is too long.
    MessageSize,
    /// The client sends too many messages.
    MessageRate,
    /// What RFC 6455 forbids, where a limit on messages holds: what cannot be followed cannot be limited.
    Protocol,
}

/// Whom our Close goes to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// To the client, whose answer then closes the server's side: nothing that the client said is lost.
    ClientFirst,
    /// To both, as nothing may pass any more.
    Both,
}

impl Cause {
    /// The code of our Close (RFC 6455, 7.4) and its reason.
    #[must_use]
    pub fn says(self, drain: &DrainPolicy) -> (u16, &str) {
        match self {
            Self::Drain => (drain.close_code, &drain.close_reason),
            Self::Idle => (1001, "idle timeout"),
            Self::Duration => (1012, "maximum connection duration"),
            Self::TokenExpired => (1008, "token expired"),
            Self::MessageSize => (1009, "message too big"),
            Self::MessageRate => (1008, "too many messages"),
            Self::Protocol => (1002, "protocol error"),
        }
    }

    pub(super) const fn order(self) -> Order {
        match self {
            Self::Drain | Self::Idle | Self::Duration => Order::ClientFirst,
            Self::TokenExpired | Self::MessageSize | Self::MessageRate | Self::Protocol => Order::Both,
        }
    }

    /// How long a message that has begun may go on before our Close takes the next end of a frame, in milliseconds.
    pub(super) const fn grace(self) -> u64 {
        match self {
            // As long as the window allows.
            Self::Drain => u64::MAX,
            Self::Duration => 10_000,
            Self::TokenExpired | Self::MessageSize | Self::MessageRate | Self::Protocol => 1_000,
            // It has stopped long ago.
            Self::Idle => 0,
        }
    }

    /// After so many milliseconds it is over, whatever was answered. A drain has a deadline of its own.
    pub(super) const fn limit(self) -> u64 {
        match self {
            Self::Drain => u64::MAX,
            Self::Duration => 30_000,
            Self::Idle | Self::TokenExpired | Self::MessageSize | Self::MessageRate | Self::Protocol => {
                10_000
            }
        }
    }
}
