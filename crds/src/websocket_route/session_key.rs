use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{member, rule};

/// What identifies a session, and what happens to a handshake that has none of it.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rule(
    ".generate",
    "self.onMissing != 'Generate' || has(self.generate)",
    "is required when onMissing is Generate",
))]
pub struct SessionKey {
    /// Where the key is looked for; the first source that has a value wins. Changing the sources of a live route moves keys to other pods, and
    /// is refused without the annotation `clew.dev/allow-remap: "true"`.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub sources: Vec<KeySource>,

    /// What happens when no source has a value.
    #[serde(default)]
    pub on_missing: OnMissing,

    /// The cookie that carries a generated key. Required with `onMissing: Generate`, idle without.
    pub generate: Option<GenerateKey>,
}

/// One place where a session's key may be: `type`, and the one member that it names.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = member("cookie", "Cookie"),
    validation = member("header", "Header"),
    validation = member("queryParam", "QueryParam"),
    validation = member("pathSegment", "PathSegment"),
    validation = member("jwtClaim", "JWTClaim"),
    validation = member("subprotocol", "Subprotocol"),
    validation = member("sourceIP", "SourceIP")
)]
pub struct KeySource {
    /// Which member is set.
    pub r#type: KeySourceType,
    /// With `type: Cookie`.
    pub cookie: Option<CookieKey>,
    /// With `type: Header`.
    pub header: Option<HeaderKey>,
    /// With `type: QueryParam`.
    pub query_param: Option<QueryParamKey>,
    /// With `type: PathSegment`.
    pub path_segment: Option<PathSegmentKey>,
    /// With `type: JWTClaim`.
    pub jwt_claim: Option<JwtClaimKey>,
    /// With `type: Subprotocol`.
    pub subprotocol: Option<SubprotocolKey>,
    /// With `type: SourceIP`.
    #[serde(rename = "sourceIP")]
    pub source_ip: Option<SourceIpKey>,
}

/// The kinds of places where a key may be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[schemars(inline)]
pub enum KeySourceType {
    /// A cookie of the handshake.
    Cookie,
    /// A header of the handshake.
    Header,
    /// A query parameter of the handshake.
    QueryParam,
    /// A segment of the handshake's path.
    PathSegment,
    /// A claim of a JSON Web Token.
    #[serde(rename = "JWTClaim")]
    JwtClaim,
    /// What follows a prefix in `Sec-WebSocket-Protocol`.
    Subprotocol,
    /// The client's address.
    #[serde(rename = "SourceIP")]
    SourceIp,
}

/// What happens to a handshake without a key.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum OnMissing {
    /// It goes to a pod with few sessions, as if the rule had no key.
    #[default]
    LoadBalance,
    /// It gets a random key, in the cookie that `generate` names.
    Generate,
    /// It is answered with 400.
    Reject,
}

/// A cookie of the handshake.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CookieKey {
    /// The name of the cookie.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,
}

/// A header of the handshake.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeaderKey {
    /// The name of the header, in any case.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub name: String,
}

/// A query parameter of the handshake, percent-decoded.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct QueryParamKey {
    /// The name of the parameter.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
}

/// A segment of the handshake's path.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PathSegmentKey {
    /// Which segment, counted from 0 after the leading slash: in `/ws/room42` index 1 is `room42`.
    #[schemars(range(min = 0, max = 31))]
    pub index: u8,
}

/// A claim of a JSON Web Token that the handshake carries.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JwtClaimKey {
    /// The claim: `sub`, or a path with dots into nested claims. Its value must be a string or a number.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,

    /// The header that carries the token; a leading `Bearer ` is skipped.
    #[serde(default = "JwtClaimKey::default_header")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub header: String,

    /// Whether something must have verified the token before the claim counts.
    #[serde(default)]
    pub verification: Verification,
}

impl JwtClaimKey {
    fn default_header() -> String {
        "Authorization".to_owned()
    }
}

/// Whether a token must be verified.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum Verification {
    /// The mesh's own policy or `security.jwt` verifies the token first; where nothing does, the route is refused.
    #[default]
    Required,
    /// Nobody verifies it: the claim is a hint for routing, and per-key limits do not count it.
    None,
}

/// What follows a prefix in one of the subprotocols that the client offers.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SubprotocolKey {
    /// The prefix: with `room.` the subprotocol `room.42` has the key `42`.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub prefix: String,
}

/// The client's address.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SourceIpKey {
    /// How many proxies in front append to `X-Forwarded-For`: the address is the nth from the right. 0: the address of the connection itself.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    pub trusted_hops: u8,
}

/// The session cookie that carries a random key, HttpOnly and SameSite=Lax.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GenerateKey {
    /// The name of the cookie.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))]
    pub cookie_name: String,
}
