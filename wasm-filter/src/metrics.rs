//! Envoy's metrics, by rule. They gather here and go to Envoy with the tick: a host call for each message would cost
//! more than the message.
//!
//! Envoy never frees a metric. So a rule's series are defined when they first count something, their labels come from
//! fixed sets, and rules beyond [`MOST_RULES`] share the label [`OTHERS`].

use std::rc::Rc;

use clew_filter_config::metrics as names;
use clew_filter_config::rule::Reason;
use clew_filter_core::handshake::Affinity;
use clew_filter_core::session::{Cause, Ended, Traffic};
use clew_filter_core::table::Table;

use crate::host::{self, MetricKind};

/// Rules with series of their own in one worker.
const MOST_RULES: usize = 4_096;
/// The label of all further rules.
const OTHERS: &str = "others";
/// The label of handshakes on routes of ours whose rule nothing is known of.
pub(crate) const UNKNOWN: &str = "unknown";

macro_rules! series {
    ($($name:ident = $kind:ident $metric:ident $(, $label:literal $value:literal)?;)*) => {
        /// One series of a rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Series { $($name),* }

        const SERIES: &[(MetricKind, &str, Option<(&str, &str)>)] =
            &[$((MetricKind::$kind, names::$metric, series!(@label $($label $value)?))),*];
    };
    (@label) => { None };
    (@label $label:literal $value:literal) => { Some(($label, $value)) };
}

series! {
    Active = Gauge SESSIONS_ACTIVE;
    Opened = Counter SESSIONS_OPENED;
    ClosedClient = Counter SESSIONS_CLOSED, "reason" "client";
    ClosedServer = Counter SESSIONS_CLOSED, "reason" "server";
    ClosedDrain = Counter SESSIONS_CLOSED, "reason" "drain";
    ClosedReset = Counter SESSIONS_CLOSED, "reason" "reset";
    ClosedAborted = Counter SESSIONS_CLOSED, "reason" "aborted";
    ClosedIdle = Counter SESSIONS_CLOSED, "reason" "idle";
    ClosedDuration = Counter SESSIONS_CLOSED, "reason" "duration";
    ClosedTokenExpired = Counter SESSIONS_CLOSED, "reason" "token_expired";
    ClosedMessageSize = Counter SESSIONS_CLOSED, "reason" "message_size";
    ClosedMessageRate = Counter SESSIONS_CLOSED, "reason" "message_rate";
    ClosedProtocol = Counter SESSIONS_CLOSED, "reason" "protocol_error";
    Accepted = Counter HANDSHAKES, "result" "accepted";
    AcceptedOriginReported = Counter HANDSHAKES, "result" "accepted_origin_reported";
    Failed = Counter HANDSHAKES, "result" "failed";
    RefusedKeyMissing = Counter HANDSHAKES, "result" "refused_key_missing";
    RefusedBackendGone = Counter HANDSHAKES, "result" "refused_backend_gone";
    RefusedDraining = Counter HANDSHAKES, "result" "refused_draining";
    RefusedConfigPending = Counter HANDSHAKES, "result" "refused_config_pending";
    RefusedOriginRefused = Counter HANDSHAKES, "result" "refused_origin_refused";
    RefusedRateLimited = Counter HANDSHAKES, "result" "refused_rate_limited";
    RefusedTooManySessions = Counter HANDSHAKES, "result" "refused_too_many_sessions";
    AffinityHit = Counter AFFINITY, "result" "hit";
    AffinityNew = Counter AFFINITY, "result" "new";
    AffinityMoved = Counter AFFINITY, "result" "moved";
    AffinityInvalid = Counter AFFINITY, "result" "invalid";
    AffinityMissed = Counter AFFINITY, "result" "missed";
    DrainCloseFrame = Counter DRAIN_CLOSES, "how" "close_frame";
    DrainReset = Counter DRAIN_CLOSES, "how" "reset";
    MessagesReceived = Counter MESSAGES, "direction" "received";
    MessagesSent = Counter MESSAGES, "direction" "sent";
    BytesReceived = Counter BYTES, "direction" "received";
    BytesSent = Counter BYTES, "direction" "sent";
    DroppedBytes = Counter DRAIN_DROPPED_BYTES;
    Duration = Histogram SESSION_DURATION;
}

impl Series {
    /// The value of its own label, if it has one.
    pub(crate) fn label(self) -> &'static str {
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

/// A rule's metrics, by their place in [`Metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleMetrics(usize);

/// The metrics of one worker.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    rules: Vec<Gathered>,
    by_name: Table<Rc<str>, usize>,
}

#[derive(Debug)]
struct Gathered {
    name: Rc<str>,
    traffic: Traffic,
    /// What came together since the last tick.
    counts: [i64; SERIES.len()],
    ids: [Option<u32>; SERIES.len()],
    changed: bool,
}

impl Metrics {
    /// The metrics of a rule.
    pub(crate) fn rule(&mut self, name: &str) -> RuleMetrics {
        if let Some(at) = self.by_name.get(name) {
            return RuleMetrics(*at);
        }
        if self.rules.len() > MOST_RULES && name != OTHERS {
            return self.rule(OTHERS);
        }
        let at = self.rules.len();
        let name: Rc<str> = name.into();
        self.by_name.insert(Rc::clone(&name), at);
        self.rules.push(Gathered {
            name,
            traffic: Traffic::default(),
            counts: [0; SERIES.len()],
            ids: [None; SERIES.len()],
            changed: false,
        });
        RuleMetrics(at)
    }

    /// The rule's name.
    pub(crate) fn name(&self, rule: RuleMetrics) -> Option<&str> {
        self.rules.get(rule.0).map(|rule| &*rule.name)
    }

    pub(crate) fn add(&mut self, rule: RuleMetrics, series: impl Into<Series>, by: i64) {
        if let Some(rule) = self.rules.get_mut(rule.0) {
            rule.add(series.into(), by);
        }
    }

    /// Where a session counts what passes.
    pub(crate) fn traffic(&mut self, rule: RuleMetrics) -> Option<&mut Traffic> {
        self.rules.get_mut(rule.0).map(|rule| &mut rule.traffic)
    }

    /// A sample of a histogram goes to Envoy at once.
    pub(crate) fn record(&mut self, rule: RuleMetrics, series: Series, value: u64) {
        if let Some(id) = self
            .rules
            .get_mut(rule.0)
            .and_then(|rule| rule.id(series as usize))
        {
            // A metric that Envoy does not take is not worth a session.
            let _ = host::record_metric(id, value);
        }
    }

    /// Hands over to Envoy what has come together.
    pub(crate) fn flush(&mut self) {
        for rule in &mut self.rules {
            rule.flush();
        }
    }
}

impl Gathered {
    fn add(&mut self, series: Series, by: i64) {
        if let Some(count) = self.counts.get_mut(series as usize) {
            *count = count.saturating_add(by);
            self.changed = true;
        }
    }

    fn flush(&mut self) {
        if self.traffic != Traffic::default() {
            let Traffic {
                messages: [received, sent],
                bytes: [bytes_received, bytes_sent],
                dropped,
            } = core::mem::take(&mut self.traffic);
            for (series, by) in [
                (Series::MessagesReceived, received),
                (Series::MessagesSent, sent),
                (Series::BytesReceived, bytes_received),
                (Series::BytesSent, bytes_sent),
                (Series::DroppedBytes, dropped),
            ] {
                self.add(series, i64::try_from(by).unwrap_or(i64::MAX));
            }
        }
        if !core::mem::take(&mut self.changed) {
            return;
        }
        for series in 0..SERIES.len() {
            let Some(by) = self
                .counts
                .get_mut(series)
                .map(core::mem::take)
                .filter(|by| *by != 0)
            else {
                continue;
            };
            if let Some(id) = self.id(series) {
                let _ = host::increment_metric(id, by);
            }
        }
    }

    /// Defines the series when it is first used.
    fn id(&mut self, series: usize) -> Option<u32> {
        let id = self.ids.get_mut(series)?;
        if id.is_none() {
            let (kind, metric, label) = SERIES.get(series)?;
            *id = host::define_metric(*kind, &stat_name(&self.name, metric, *label)).ok();
        }
        *id
    }
}

fn stat_name(rule: &str, metric: &str, label: Option<(&str, &str)>) -> String {
    let mut name = String::new();
    for (label, value) in [(names::LABEL_ROUTE, rule)].into_iter().chain(label) {
        for part in [label, names::LABEL_IS, value, names::LABEL_END] {
            name.push_str(part);
        }
    }
    name.push_str(metric);
    name
}
