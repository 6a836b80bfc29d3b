//! The filter's metrics. Each is defined in Envoy as `clew_route=.=NAMESPACE/NAME/RULE;.;METRIC`, with one more
//! `LABEL=.=VALUE;.;` for each further label; a tag-extraction rule in the bootstrap turns these into labels.

use crate::rule::Reason;

/// Separates a label's name from its value inside an Envoy stat name.
pub const LABEL_IS: &str = "=.=";
/// Ends a label inside an Envoy stat name.
pub const LABEL_END: &str = ";.;";

/// Label of every metric: `namespace/name/rule`.
pub const LABEL_ROUTE: &str = "clew_route";
/// Every label that a stat name can carry, for the bootstrap's tag extraction.
pub const LABELS: [&str; 5] = [LABEL_ROUTE, "reason", "result", "how", "direction"];

/// What a metric does with what it is given, as proxy-wasm numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// It only grows.
    Counter = 0,
    /// It comes and goes.
    Gauge = 1,
    /// How often values of each size came.
    Histogram = 2,
}

/// What a series is: the metric's kind and name, and the label beside [`LABEL_ROUTE`], if it has one, with its value.
pub type Defined = (Kind, &'static str, Option<(&'static str, &'static str)>);

/// A metric, for people.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As it is named.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it counts.
    pub meaning: &'static str,
    /// Its series, and what each of them counts.
    pub series: &'static [(Defined, &'static str)],
}

macro_rules! metrics {
    ($(
        $(#[doc = $meaning:literal])+
        $kind:ident $metric:ident = $name:literal {
            $($(#[doc = $what:literal])+ $series:ident $(= $label:literal $value:literal)?;)+
        }
    )+) => {
        $($(#[doc = $meaning])+ pub const $metric: &str = $name;)+

        /// One series of a rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Series {
            $($($(#[doc = $what])+ $series,)+)+
        }

        /// What each [`Series`] is, in their order.
        pub const SERIES: &[Defined] =
            &[$($((Kind::$kind, $name, metrics!(@label $($label $value)?)),)+)+];

        /// All of them.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            meaning: concat!($($meaning),+),
            series: &[$(((Kind::$kind, $name, metrics!(@label $($label $value)?)), concat!($($what),+)),)+],
        },)+];
    };
    (@label) => { None };
    (@label $label:literal $value:literal) => { Some(($label, $value)) };
}

metrics! {
    /// Sessions that are open.
    Gauge SESSIONS_ACTIVE = "clew_sessions_active" {
        /// All of them.
        Active;
    }
    /// Sessions that got their 101.
    Counter SESSIONS_OPENED = "clew_sessions_opened_total" {
        /// All of them.
        Opened;
    }
    /// Sessions that ended, by whose Close came first, or why Clew closed them.
    Counter SESSIONS_CLOSED = "clew_sessions_closed_total" {
        /// The client's Close came first.
        ClosedClient = "reason" "client";
        /// The server's Close came first.
        ClosedServer = "reason" "server";
        /// A drain sent a Close.
        ClosedDrain = "reason" "drain";
        /// A drain's deadline came, and it was reset.
        ClosedReset = "reason" "reset";
        /// It ended without any Close.
        ClosedAborted = "reason" "aborted";
        /// It said nothing for `timeouts.idle`.
        ClosedIdle = "reason" "idle";
        /// It was as old as `timeouts.maxConnectionDuration`.
        ClosedDuration = "reason" "duration";
        /// The token that let it in has expired.
        ClosedTokenExpired = "reason" "token_expired";
        /// A message was longer than `limits.maxMessageSize`.
        ClosedMessageSize = "reason" "message_size";
        /// There were more messages than `limits.messageRate`.
        ClosedMessageRate = "reason" "message_rate";
        /// It said what RFC 6455 forbids, where a limit on messages holds.
        ClosedProtocol = "reason" "protocol_error";
    }
    /// Upgrade requests by outcome, each once.
    Counter HANDSHAKES = "clew_handshakes_total" {
        /// 101.
        Accepted = "result" "accepted";
        /// 101, though the Origin would be refused if the policy did not only report.
        AcceptedOriginReported = "result" "accepted_origin_reported";
        /// Another answer than 101, which was not Clew's.
        Failed = "result" "failed";
        /// It has no session key, and the rule wants one: 400.
        RefusedKeyMissing = "result" "refused_key_missing";
        /// No pod takes new sessions; or the pod that its session is bound to is gone, and the rule says to refuse: 503.
        RefusedBackendGone = "result" "refused_backend_gone";
        /// The whole proxy drains: 503.
        RefusedDraining = "result" "refused_draining";
        /// The proxy has the route and not its rules: 503.
        RefusedConfigPending = "result" "refused_config_pending";
        /// A page of an Origin that is not allowed: 403.
        RefusedOriginRefused = "result" "refused_origin_refused";
        /// There were more handshakes than `limits.handshakeRatePerProxy`: 429.
        RefusedRateLimited = "result" "refused_rate_limited";
        /// There are as many sessions as the rule, or the key, may have: 503.
        RefusedTooManySessions = "result" "refused_too_many_sessions";
    }
    /// Where sessions landed; and, beside one of these, tokens that counted for nothing.
    Counter AFFINITY = "clew_affinity_total" {
        /// On the pod of its token or key.
        AffinityHit = "result" "hit";
        /// Neither decided.
        AffinityNew = "result" "new";
        /// Its token's pod takes no sessions any more.
        AffinityMoved = "result" "moved";
        /// It brought a token that is none of ours, or is too old.
        AffinityInvalid = "result" "invalid";
        /// Envoy took it elsewhere than the filter wanted.
        AffinityMissed = "result" "missed";
    }
    /// Sessions that a drain ended.
    Counter DRAIN_CLOSES = "clew_drain_closes_total" {
        /// With a Close between two messages.
        DrainCloseFrame = "how" "close_frame";
        /// Cut at the deadline.
        DrainReset = "how" "reset";
    }
    /// Whole data messages.
    Counter MESSAGES = "clew_messages_total" {
        /// From clients.
        MessagesReceived = "direction" "received";
        /// To clients.
        MessagesSent = "direction" "sent";
    }
    /// Bytes of WebSocket frames.
    Counter BYTES = "clew_bytes_total" {
        /// From clients.
        BytesReceived = "direction" "received";
        /// To clients.
        BytesSent = "direction" "sent";
    }
    /// Bytes from servers that came after a drain's Close to the client and could not be delivered (RFC 6455, 5.5.1).
    Counter DRAIN_DROPPED_BYTES = "clew_drain_dropped_bytes_total" {
        /// All of them.
        DroppedBytes;
    }
    /// How long sessions lived, to a quarter of a second.
    Histogram SESSION_DURATION = "clew_session_duration_ms" {
        /// Of all that ended.
        Duration;
    }
}

impl Series {
    /// The value of its own label, if it has one.
    #[must_use]
    pub fn label(self) -> &'static str {
        let series = SERIES.get(self as usize);
        series
            .and_then(|(_, _, label)| *label)
            .map_or("", |(_, value)| value)
    }
}

impl From<Reason> for Series {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::OriginRefused => Self::RefusedOriginRefused,
            Reason::KeyMissing => Self::RefusedKeyMissing,
            Reason::RateLimited => Self::RefusedRateLimited,
            Reason::TooManySessions => Self::RefusedTooManySessions,
            Reason::BackendGone => Self::RefusedBackendGone,
            Reason::Draining => Self::RefusedDraining,
            Reason::ConfigPending => Self::RefusedConfigPending,
        }
    }
}
