//! `WebSocketRoute`: which WebSocket handshakes it takes, where they go, and what holds for the sessions that they open.
#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, with its visibility, inside a function"
)]

mod drain;
mod limits;
mod load_balancer;
mod matches;
mod persistence;
mod references;
mod resilience;
mod security;
mod session_key;
mod timeouts;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::schema::{is_default, kubernetes_words, rule};
use crate::status::WebSocketRouteStatus;

pub use drain::Drain;
pub use limits::{HandshakeRate, Limits, MessageRate};
pub use load_balancer::{BoundedLoad, LoadBalancer, LoadBalancerType};
pub use matches::{HeaderMatch, PathMatch, PathMatchType, QueryParamMatch, RouteMatch, StringMatchType};
pub use persistence::{
    CookiePersistence, HeaderPersistence, LifetimeType, OnBackendGone, PersistenceType, SessionPersistence,
};
pub use references::{BackendRef, ParentReference, SecretReference};
pub use resilience::{Fault, FaultAbort, FaultDelay, OutlierDetection, Resilience};
pub use security::{JwtProvider, MissingOrigin, OriginMode, OriginPolicy, Security};
pub use session_key::{
    CookieKey, GenerateKey, HeaderKey, JwtClaimKey, KeySource, KeySourceType, OnMissing, PathSegmentKey,
    QueryParamKey, SessionKey, SourceIpKey, SubprotocolKey, Verification,
};
pub use timeouts::Timeouts;

/// Which WebSocket handshakes this route takes, where they go, and what holds for the sessions that they open.
#[serde_with::skip_serializing_none]
#[derive(CustomResource, Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "clew.dev",
    version = "v1alpha1",
    kind = "WebSocketRoute",
    namespaced,
    derive = "PartialEq",
    status = "WebSocketRouteStatus",
    shortname = "wsr",
    shortname = "wsroute",
    category = "clew",
    doc = "A route for WebSocket sessions: which handshakes it takes, to which pod each session goes, and how it ends.",
    printcolumn = r#"{"name": "Hostnames", "type": "string", "jsonPath": ".spec.hostnames"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[schemars(transform = kubernetes_words)]
#[serde(rename_all = "camelCase")]
pub struct WebSocketRouteSpec {
    /// The gateways (or, for the mesh itself, the Services) that the route attaches to.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rule(
        "",
        "self.size() == 1 || self.all(p, self.exists_one(q, q.group == p.group && q.kind == p.kind && q.name == p.name \
         && (has(q.__namespace__) ? q.__namespace__ : '') == (has(p.__namespace__) ? p.__namespace__ : '') \
         && (has(q.sectionName) ? q.sectionName : '') == (has(p.sectionName) ? p.sectionName : '') \
         && (has(q.port) ? q.port : 0) == (has(p.port) ? p.port : 0)))",
        "must not name the same parent, section and port twice",
    ))]
    pub parent_refs: Vec<ParentReference>,

    /// The hosts whose handshakes the route takes, wildcards (`*.example.com`) as in Gateway API. Empty: every host of the parent's listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub hostnames: Vec<String>,

    /// The rules; each is a set of matches, the backends of the sessions that match, and their policy.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = rule("", "self.size() == 1 || self.all(r, has(r.name))", "every rule needs a name when there are several"),
        validation = rule(
            "",
            "self.all(r, !has(r.name) || self.exists_one(o, has(o.name) && o.name == r.name))",
            "must not have two rules of the same name",
        )
    )]
    pub rules: Vec<RouteRule>,
}

/// Which handshakes, to which backends, under which policy.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// The name of the rule, unique in the route; required when there are several rules. It names the rule in metrics, status and tokens,
    /// so a rename ends the stickiness of the rule's persistent sessions.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: Option<String>,

    /// The handshakes that the rule takes: any of these matches. Empty: every handshake on the hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub matches: Vec<RouteMatch>,

    /// Where the sessions go. With several, a session keeps its backend when the weights change, except for the share that has to move.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = rule("", "self.exists(b, b.weight > 0)", "at least one backend needs a weight above 0"))]
    pub backend_refs: Vec<BackendRef>,

    /// What holds for the sessions; written beside the fields above, not in a field of its own.
    #[serde(flatten)]
    pub policy: SessionPolicy,
}

/// What holds for the sessions of a rule, whatever resource carries it.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rule(
        ".onBackendGone",
        "self.onBackendGone != 'Reject' || has(self.sessionPersistence)",
        "Reject needs sessionPersistence: other sessions are not bound to a pod",
    ),
    validation = rule(
        ".limits.maxConnectionsPerKeyPerProxy",
        "!has(self.limits) || !has(self.limits.maxConnectionsPerKeyPerProxy) || has(self.sessionKey)",
        "needs a sessionKey to count by",
    ),
    validation = rule(
        ".security.closeAtTokenExpiry",
        "!has(self.security) || !self.security.closeAtTokenExpiry \
         || (has(self.sessionKey) && self.sessionKey.sources.exists(s, s.type == 'JWTClaim'))",
        "needs a sessionKey source of type JWTClaim, whose token it watches",
    ),
    validation = rule(
        ".sessionPersistence.cookie.name",
        "!has(self.sessionKey) || !has(self.sessionKey.generate) \
         || !has(self.sessionPersistence) || !has(self.sessionPersistence.cookie) \
         || self.sessionKey.generate.cookieName != self.sessionPersistence.cookie.name",
        "must differ from sessionKey.generate.cookieName: one cookie cannot carry both",
    )
)]
pub struct SessionPolicy {
    /// What identifies a session: equal keys go to the same pod for as long as it lives.
    pub session_key: Option<SessionKey>,

    /// Binds each session to the pod that it first reached, by a signed token that the client brings back.
    pub session_persistence: Option<SessionPersistence>,

    /// What happens to a persistent session whose pod is gone.
    #[serde(default)]
    pub on_backend_gone: OnBackendGone,

    /// How a pod is chosen for a session that has no valid persistence token.
    #[serde(default)]
    pub load_balancer: LoadBalancer,

    /// How long a handshake and a session may take.
    #[serde(default)]
    pub timeouts: Timeouts,

    /// How much one proxy lets through. Absent: no limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,

    /// Who may open a session, and for how long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub security: Security,

    /// How sessions end when their pod goes away.
    #[serde(default)]
    pub drain: Drain,

    /// Retries, outlier detection and faults, rendered so that they are right for WebSockets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resilience: Resilience,
}
