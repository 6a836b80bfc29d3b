//! What a filter must know of one rule of a WebSocketRoute, and of one backend.

mod flat;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::origin::OriginPolicy;
use crate::persistence::Persistence;
use crate::terms::Terms;

/// One rule, under one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The second part of its [route name](crate::route_name::RouteName): eight hex digits.
    pub config: String,
    /// `namespace/route/rule`: the label of its metrics.
    pub name: String,
    /// Where a session's key is looked for; the first source that has a value wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub session_key: Vec<KeySource>,
    /// What happens to a session without a key.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Whose pages may open sessions.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub origin: OriginPolicy,
    /// How many sessions and handshakes there may be.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub limits: Limits,
    /// The backends, at least one. Where there are several, one is chosen by weight.
    pub backends: Vec<WeightedBackend>,
    /// How a pod is chosen.
    #[serde(default)]
    pub balancer: Balancer,
    /// No pod above this percentage of the mean of this proxy's sessions on the backend. At least 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded_load_percent: Option<u32>,
    /// Set where sessions are bound to the pod that they reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// How sessions leave.
    pub drain: DrainPolicy,
    /// How long sessions last, and what their messages may be.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub terms: Terms,
    /// A session is closed with 1008 at the `exp` of the token that the first `JwtClaim` of its sources reads.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub close_at_token_expiry: bool,
}

impl Rule {
    /// Reads an entry; what cannot be read counts as absent.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// One source of a session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", try_from = "flat::KeySource")]
pub enum KeySource {
    /// A cookie's value, unquoted.
    Cookie {
        /// Case-sensitive (RFC 6265).
        name: String,
    },
    /// A header's first value.
    Header {
        /// Lowercase.
        name: String,
    },
    /// A query parameter's first value, percent-decoded.
    QueryParam {
        /// Compared after percent-decoding.
        name: String,
    },
    /// One segment of the path.
    PathSegment {
        /// From 0, after the leading slash.
        index: u32,
    },
    /// A claim of a JWT.
    #[serde(rename = "JWTClaim")]
    JwtClaim {
        /// The path of names to the claim.
        path: Vec<String>,
        /// Lowercase; a `Bearer ` prefix of its value is removed.
        header: String,
        /// Envoy has verified the token: what counts is not the header but the payload that Envoy put into
        /// [`JWT_PAYLOAD`](crate::headers::JWT_PAYLOAD).
        #[serde(skip_serializing_if = "crate::is_default")]
        verified: bool,
    },
    /// What follows a prefix in `Sec-WebSocket-Protocol`.
    Subprotocol {
        /// Case-sensitive, not empty.
        prefix: String,
    },
    /// The client's address.
    #[serde(rename = "SourceIP")]
    SourceIp {
        /// 0: the peer's address. n > 0: the nth address from the right of `X-Forwarded-For`.
        trusted_hops: u32,
    },
}

impl KeySource {
    /// Its `type`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cookie { .. } => "Cookie",
            Self::Header { .. } => "Header",
            Self::QueryParam { .. } => "QueryParam",
            Self::PathSegment { .. } => "PathSegment",
            Self::JwtClaim { .. } => "JWTClaim",
            Self::Subprotocol { .. } => "Subprotocol",
            Self::SourceIp { .. } => "SourceIP",
        }
    }
}

/// What happens to a session for which no source has a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", try_from = "flat::OnMissing")]
pub enum OnMissing {
    /// It is balanced: fewest sessions of two pods drawn at random.
    #[default]
    LoadBalance,
    /// It gets a random key, in a session cookie set on the 101.
    Generate {
        /// The cookie's name.
        cookie: String,
        /// The cookie's Path.
        path: String,
    },
    /// It is refused: 400, `key_missing`.
    Reject,
}

/// How a pod is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Balancer {
    /// By the key; without a key as `LeastSessions`.
    #[default]
    ConsistentHash,
    /// The fewer sessions of two pods drawn at random, keys or not.
    LeastSessions,
    /// At random, keys or not.
    Random,
}

/// A backendRef and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightedBackend {
    /// `namespace/name:port`: key into the channel's backends, and the value of `x-clew-backend`.
    pub id: String,
    /// 0: gets no new session.
    pub weight: u32,
}

/// How the sessions of a rule leave a pod that drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainPolicy {
    /// Milliseconds over which closes are spread, when the whole proxy drains.
    pub timeout_ms: u64,
    /// RFC 6455, 7.4.
    pub close_code: u16,
    /// At most 123 bytes (RFC 6455, 5.5).
    pub close_reason: String,
}

/// The pods behind one backendRef.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// In the order of their names.
    pub pods: Vec<Pod>,
}

impl Backend {
    /// Reads an entry; what cannot be read counts as absent.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// One pod: an endpoint of the Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// The pod's name, or its address where the endpoint names none. Rendezvous hashing is over this.
    pub name: String,
    /// The pod's UID, where known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `ip:port`, IPv6 in brackets: as Envoy prints it in `upstream.address`.
    pub address: String,
    /// The value of `x-clew-host` that reaches it, where that is not its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steer: Option<String>,
    /// Set while it drains: no new session goes there, and the live ones leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
}

/// The window in which sessions leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// When it began: milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How long it may last, in milliseconds.
    pub timeout_ms: u64,
}

/// Why Clew itself refused a handshake: the value of `x-clew-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// 403.
    OriginRefused,
    /// 400.
    KeyMissing,
    /// 429.
    RateLimited,
    /// 503.
    TooManySessions,
    /// 503.
    BackendGone,
    /// 503.
    Draining,
    /// 503.
    ConfigPending,
}

impl Reason {
    /// As it stands in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OriginRefused => "origin_refused",
            Self::KeyMissing => "key_missing",
            Self::RateLimited => "rate_limited",
            Self::TooManySessions => "too_many_sessions",
            Self::BackendGone => "backend_gone",
            Self::Draining => "draining",
            Self::ConfigPending => "config_pending",
        }
    }

    /// The HTTP status of the refusal.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::OriginRefused => 403,
            Self::KeyMissing => 400,
            Self::RateLimited => 429,
            Self::TooManySessions | Self::BackendGone | Self::Draining | Self::ConfigPending => 503,
        }
    }
}
