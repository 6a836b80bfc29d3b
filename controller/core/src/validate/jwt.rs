//! `security.jwt` and the key sources that read tokens.

use clew_crds::websocket_route::{JwtClaimKey, SessionPolicy, Verification};
use clew_filter_config::rule::KeySource;

use super::rules::header_name;
use crate::model::{JwtProvider, ObjectName};
use crate::refusal::Code;

/// Where a token is when no key source says so.
pub(super) const AUTHORIZATION: &str = "authorization";
/// What to do where nothing verifies a token that must be.
pub(super) const NOTHING_VERIFIES: &str = "nothing verifies the token; say who issues it in security.jwt, write verification: None if the claim is only a hint for routing, or use another source";

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

/// The header of the token that is verified before the filter sees a handshake. `meshed`: where the route itself has nothing
/// verified, the policies of a mesh may, which its parents are asked for.
pub(super) fn verified(
    policy: &SessionPolicy,
    provider: Option<&JwtProvider>,
    meshed: bool,
) -> Option<String> {
    match provider {
        Some(provider) => Some(provider.header.clone()),
        None if meshed => required(policy).map(|(_, header)| header),
        None => None,
    }
}

/// The first source that must be verified, and the header of its token, where the route leaves that to its parents.
pub(super) fn required(policy: &SessionPolicy) -> Option<(usize, String)> {
    if policy.security.jwt.is_some() {
        return None;
    }
    let sources = policy.session_key.iter().flat_map(|key| &key.sources);
    sources.enumerate().find_map(|(i, source)| {
        let claim = source.jwt_claim.as_ref()?;
        (claim.verification == Verification::Required).then(|| (i, header_name(&claim.header)))
    })
}

/// A claim. One of the token that is verified is verified, whether it must be or not.
pub(super) fn source(
    claim: &JwtClaimKey,
    verified: Option<&str>,
) -> Result<KeySource, (Code, &'static str, String)> {
    let header = header_name(&claim.header);
    let is_verified = verified == Some(header.as_str());
    if claim.verification == Verification::Required && !is_verified {
        return Err(match verified {
            None => (
                Code::ClaimUnverified,
                ".jwtClaim.verification",
                NOTHING_VERIFIES.to_owned(),
            ),
            Some(other) => {
                let message = format!(
                    "another source has the token of {other:?} verified, and a rule verifies one token; name the same header"
                );
                (Code::ClaimUnverified, ".jwtClaim.header", message)
            }
        });
    }
    Ok(KeySource::JwtClaim {
        path: claim.name.split('.').map(str::to_owned).collect(),
        header,
        verified: is_verified,
    })
}

fn claims(policy: &SessionPolicy) -> impl Iterator<Item = &JwtClaimKey> {
    let sources = policy.session_key.iter().flat_map(|key| &key.sources);
    sources.filter_map(|source| source.jwt_claim.as_ref())
}
