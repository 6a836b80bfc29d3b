//! `security.jwt` and the key sources that read tokens.

use clew_crds::websocket_route::{JwtClaimKey, SessionPolicy, Verification};
use clew_filter_config::rule::KeySource;

use super::rules::header_name;
use crate::model::{JwtProvider, ObjectName};
use crate::refusal::Code;

/// Where a token is when no key source says so.
const AUTHORIZATION: &str = "authorization";

/// How the tokens of a rule are verified: in the header of the first claim that must be, else of the first claim.
pub(super) fn provider(policy: &SessionPolicy, namespace: &str) -> Option<JwtProvider> {
    let written = policy.security.jwt.as_ref()?;
    let header = claims(policy)
        .find(|claim| claim.verification == Verification::Required)
        .or_else(|| claims(policy).next())
        .map_or(AUTHORIZATION.to_owned(), |claim| header_name(&claim.header));
    Some(JwtProvider {
        issuer: written.issuer.clone(),
        audiences: written.audiences.clone(),
        header,
        keys: ObjectName::new(namespace, &written.jwks_secret_ref.name),
    })
}

/// A claim. One of the token that the rule verifies is verified, whether it must be or not.
pub(super) fn source(
    claim: &JwtClaimKey,
    provider: Option<&JwtProvider>,
) -> Result<KeySource, (Code, &'static str, String)> {
    let header = header_name(&claim.header);
    let verified = provider.is_some_and(|provider| provider.header == header);
    if claim.verification == Verification::Required && !verified {
        return Err(match provider {
            None => {
                let message = "nothing verifies the token; say who issues it in security.jwt, write verification: None if the claim is only a hint for routing, or use another source";
                (
                    Code::ClaimUnverified,
                    ".jwtClaim.verification",
                    message.to_owned(),
                )
            }
            Some(provider) => {
                let message = format!(
                    "another source has the token of {:?} verified, and a rule verifies one token; name the same header",
                    provider.header
                );
                (Code::ClaimUnverified, ".jwtClaim.header", message)
            }
        });
    }
    Ok(KeySource::JwtClaim {
        path: claim.name.split('.').map(str::to_owned).collect(),
        header,
        verified,
    })
}

fn claims(policy: &SessionPolicy) -> impl Iterator<Item = &JwtClaimKey> {
    let sources = policy.session_key.iter().flat_map(|key| &key.sources);
    sources.filter_map(|source| source.jwt_claim.as_ref())
}
