//! Strong persistence: a request's token decides before its key does, and the 101 brings the next one.

use clew_filter_config::facts;
use clew_filter_config::persistence::{OnBackendGone, Persistence};
use clew_filter_config::rule::{Pod, Reason, Rule};

use super::{Known, Placed, placed};
use crate::session_key::{self, Request};
use crate::token::{Invalid, Opened, Ring, Token};

/// How many values of one name are looked at: a browser may hold cookies of several paths, and old ones among them.
const MOST_VALUES: usize = 4;

/// The token that a request brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presented {
    /// None, or the rule wants none.
    #[default]
    Nothing,
    /// None that is good; why the last one is not.
    Invalid(Invalid),
    /// A good one.
    Valid(Opened),
}

impl Presented {
    /// Looks for the token of a rule in a request: the first that is good counts.
    #[must_use]
    pub fn of(rule: &Rule, ring: &Ring, request: &Request<'_>, now_ms: u64) -> Self {
        let Some(persistence) = &rule.persistence else {
            return Self::Nothing;
        };
        let first_good = |values: &mut dyn Iterator<Item = &[u8]>| {
            let mut presented = Self::Nothing;
            for text in values.take(MOST_VALUES) {
                match ring.open(text, &rule.name, persistence.absolute_timeout_ms, now_ms) {
                    Ok(opened) => return Self::Valid(opened),
                    Err(why) => presented = Self::Invalid(why),
                }
            }
            presented
        };
        let name = &persistence.name;
        match persistence.cookie {
            Some(_) => first_good(&mut session_key::cookies(request, name.as_bytes())),
            None => first_good(&mut request.all(name).filter(|value| !value.is_empty())),
        }
    }
}

/// How a session is bound to its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// Not yet.
    #[default]
    New,
    /// By its token, whose pod it must reach.
    Kept(Opened),
    /// By a token whose pod takes no sessions any more.
    Moved,
}

/// Where the token's pod is. `None`: there is no token, or its pod takes no sessions any more.
pub(super) fn keep(known: &Known<'_>) -> Option<Placed> {
    let Presented::Valid(opened) = known.presented else {
        return None;
    };
    let (backend, at) = known.backends.iter().enumerate().find_map(|(backend, laid)| {
        let at = laid.as_ref()?.pods.bound(&opened.token)?;
        Some((backend, at))
    })?;
    Some(Placed {
        keyed: true,
        key_source: facts::TOKEN,
        binding: Binding::Kept(opened.clone()),
        ..placed(known, backend, Ok(at))?
    })
}

/// What becomes of a session whose token's pod is not there: how it is bound, once it is placed.
///
/// # Errors
/// The reason of the refusal, where the rule wants none but that pod.
pub(super) fn without(known: &Known<'_>) -> Result<Binding, Reason> {
    match (known.presented, &known.rule.rule.persistence) {
        (Presented::Valid(_), Some(persistence)) => match persistence.on_backend_gone {
            OnBackendGone::Reassign => Ok(Binding::Moved),
            OnBackendGone::Reject => Err(Reason::BackendGone),
        },
        _ => Ok(Binding::New),
    }
}

/// What the 101 brings the client: the name of a header and its value, where it gets a token. A token that was kept is
/// only signed anew when its key goes; it never lasts longer for that.
#[must_use]
pub fn issue(
    rule: &Rule,
    ring: &Ring,
    placed: &Placed,
    reached: Option<&Pod>,
    now_ms: u64,
    secure: impl FnOnce() -> bool,
) -> Option<(String, String)> {
    let persistence = rule.persistence.as_ref()?;
    let token = match &placed.binding {
        Binding::Kept(opened) if opened.outdated => opened.token.clone(),
        Binding::Kept(_) => return None,
        Binding::New | Binding::Moved => {
            // What is known by its address alone cannot be told from whoever has that address next.
            let pod = reached.filter(|pod| pod.name != pod.address)?;
            Token {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                issued_ms: now_ms,
                expires_ms: persistence
                    .absolute_timeout_ms
                    .map(|good_for| now_ms.saturating_add(good_for)),
            }
        }
    };
    let text = ring.seal(&token, &rule.name)?;
    Some(carry(persistence, text, token.expires_ms, now_ms, secure))
}

fn carry(
    persistence: &Persistence,
    token: String,
    expires_ms: Option<u64>,
    now_ms: u64,
    secure: impl FnOnce() -> bool,
) -> (String, String) {
    let Persistence { name, cookie, .. } = persistence;
    let Some(cookie) = cookie else {
        return (name.clone(), token);
    };
    let mut value = format!("{name}={token}; Path={}; HttpOnly; SameSite=", cookie.path);
    // Browsers take no SameSite=None without Secure.
    value.push_str(match cookie.other_sites {
        true => "None; Secure",
        false if secure() => "Strict; Secure",
        false => "Strict",
    });
    if let Some(expires) = expires_ms.filter(|_| cookie.permanent) {
        let left = expires.saturating_sub(now_ms).checked_div(1_000).unwrap_or(0);
        value.push_str("; Max-Age=");
        value.push_str(&left.to_string());
    }
    ("set-cookie".to_owned(), value)
}

#[cfg(test)]
mod tests;
