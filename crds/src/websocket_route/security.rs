use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretReference;
use crate::schema::rule;

/// Who may open a session, and for how long.
#[serde_with::skip_serializing_none]
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// The Origins whose pages may open a session. Absent: only the host of the handshake itself, the scheme aside; others are answered with 403.
    pub origin: Option<OriginPolicy>,

    /// Ends a session with Close 1008 when the token of its JWTClaim key source expires (`exp`).
    #[serde(default)]
    pub close_at_token_expiry: bool,

    /// Verifies tokens where no mesh does (stand-alone Envoy); elsewhere the mesh's own policy does.
    pub jwt: Option<JwtProvider>,
}

/// The Origins whose pages may open a session.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OriginPolicy {
    /// Whether a refusal is carried out.
    #[serde(default)]
    pub mode: OriginMode,

    /// `scheme://host[:port]`, compared by scheme, host and port; `*.` before the host stands for one or more labels; `*` alone for every Origin. Hosts may be written in Unicode or as A-labels.
    /// Empty: the host of the handshake itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(
            length(min = 1, max = 300),
            regex(pattern = r"^(\*|[a-z][a-z0-9+.-]{0,31}://(\*\.)?(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z_\x{80}-\x{10FFFF}-]+(\.[0-9A-Za-z_\x{80}-\x{10FFFF}-]+)*)(:[0-9]{1,5})?)$")
        ),
        extend("x-kubernetes-list-type" = "set")
    )]
    #[x_kube(validation = rule("", "self.size() == 1 || !('*' in self)", "'*' allows every Origin and stands alone"))]
    pub allowed: Vec<String>,

    /// What happens to a handshake without an Origin, as programs other than browsers send it.
    #[serde(default)]
    pub missing: MissingOrigin,
}

/// Whether a refusal is carried out.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum OriginMode {
    /// A handshake of another Origin is answered with 403.
    #[default]
    Enforce,
    /// It passes and is counted.
    Report,
}

/// What happens to a handshake without an Origin.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[schemars(inline)]
pub enum MissingOrigin {
    /// It passes.
    #[default]
    Allow,
    /// It is treated as one of another Origin.
    Deny,
}

/// Whose tokens are good, and with which keys they are verified. Every handshake must bring one, as `Bearer` in `Authorization` or alone in the
/// header of the JWTClaim source that requires one; others are answered with 401.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// The `iss` that a token must have.
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: String,

    /// The audiences, of which a token's `aud` must have at least one. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 2048)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub audiences: Vec<String>,

    /// A Secret in the route's namespace whose entry `jwks` is the issuer's JSON Web Key Set.
    pub jwks_secret_ref: SecretReference,
}
