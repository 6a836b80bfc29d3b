use clew_filter_config::limits::Limits;
use clew_filter_config::origin::OriginPolicy;
use clew_filter_config::persistence::Persistence;
use clew_filter_config::rule::{Balancer, KeySource, OnMissing};
use clew_filter_config::terms::Terms;

use super::{BackendId, JwtProvider, RuleId, RuleName};

/// What holds for the handshakes that a rule takes, and for the sessions that they open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stands for the name where digits are needed.
    pub id: RuleId,
    /// `namespace/route/rule`.
    pub name: RuleName,
    /// At least one.
    pub backends: Vec<BackendShare>,
    /// Where the session key is looked for. Empty: there is none.
    pub session_key: Vec<KeySource>,
    /// What happens to a session without a key.
    pub on_missing: OnMissing,
    /// Whose pages may open sessions, normalised.
    pub origin: OriginPolicy,
    /// How a pod is chosen.
    pub balancer: Balancer,
    /// No pod above this percentage of the mean.
    pub bounded_load_percent: Option<u32>,
    /// What binds sessions to the pod that they reached.
    pub persistence: Option<Persistence>,
    /// Milliseconds over which sessions leave.
    pub drain_timeout_ms: u64,
    /// The code of the Close with which they leave.
    pub close_code: u16,
    /// The reason in that Close.
    pub close_reason: String,
    /// Milliseconds from the request to the 101; 0: without end.
    pub handshake_timeout_ms: u64,
    /// How long sessions last, and what their messages may be.
    pub terms: Terms,
    /// How many sessions and handshakes one proxy lets through.
    pub limits: Limits,
    /// Whose tokens are taken. None: nothing verifies one.
    pub jwt: Option<JwtProvider>,
    /// Whether a session ends with the token that the first claim of its sources reads.
    pub close_at_token_expiry: bool,
    /// Retries and the like.
    pub resilience: Resilience,
}

/// A backend and its share of the sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendShare {
    /// Which.
    pub id: BackendId,
    /// Over the sum of all weights.
    pub weight: u32,
    /// Whether there is such a thing.
    pub target: Target,
}

/// What stands behind a backendRef.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of a Service, with pods or without.
    Service,
    /// Nothing that could be used: its share of the handshakes is answered with 500, as Gateway API has it.
    Missing,
}

/// The mesh's own tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resilience {
    /// How often a handshake is tried again, before the 101 only.
    pub connect_retries: u8,
    /// Handshakes that wait for a connection. None: as many as come.
    pub max_pending: Option<u32>,
    /// None: every ready pod stays in.
    pub outlier: Option<Outlier>,
    /// For tests.
    pub fault: Option<Fault>,
}

/// When a pod is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Failed handshakes in a row.
    pub consecutive_failures: u32,
    /// Milliseconds.
    pub ejection_ms: u64,
}

/// Faults on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Answers with an error.
    pub abort: Option<FaultAbort>,
    /// Holds back.
    pub delay: Option<FaultDelay>,
}

/// Answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAbort {
    /// Of a hundred.
    pub percent: u8,
    /// HTTP status.
    pub status: u16,
}

/// Holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDelay {
    /// Of a hundred.
    pub percent: u8,
    /// Milliseconds.
    pub delay_ms: u64,
}
