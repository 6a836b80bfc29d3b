use std::fmt;

use super::ObjectName;

/// Whose tokens a rule takes: every handshake must bring one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JwtProvider {
    /// The `iss` of a token.
    pub issuer: String,
    /// Of which its `aud` has one. Empty: any.
    pub audiences: Vec<String>,
    /// Lowercase: where the token is.
    pub header: String,
    /// The Secret with the issuer's keys.
    pub keys: ObjectName,
}

/// A JSON Web Key Set (RFC 7517, 5) of public keys: the JSON of each.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Jwks(pub Vec<String>);

/// The set as JSON.
impl fmt::Display for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"keys":[{}]}}"#, self.0.join(","))
    }
}

/// Keys are kept out of logs, public ones too.
impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwks(..)")
    }
}
