//! What becomes of a request on one of our routes: where an upgrade goes, or why it is refused.

mod persistence;

use std::cell::OnceCell;
use std::rc::Rc;

use clew_filter_config::facts;
use clew_filter_config::rule::{Balancer, KeySource, OnMissing, Reason, Rule};

pub use self::persistence::{Binding, Presented, issue};
use crate::live::{Load, Place};
use crate::origin::{self, Verdict};
use crate::placement::{Choice, Draw, KeyHash, Seed, place};
use crate::session_key::{self, Found, Request};
use crate::world::{LaidBackend, LaidRule};

/// Whether a request asks for a WebSocket: HTTP/1 `Upgrade`, or HTTP/2 extended CONNECT (RFC 8441).
#[must_use]
pub fn is_upgrade(request: &Request<'_>) -> bool {
    let method = request.header(":method").unwrap_or_default();
    if method == b"CONNECT" {
        return request
            .header(":protocol")
            .is_some_and(|it| it.eq_ignore_ascii_case(b"websocket"));
    }
    request
        .list("upgrade")
        .any(|it| it.eq_ignore_ascii_case(b"websocket"))
}

/// The session key of a request: of the rule's sources, or else in the cookie that carries a generated one. The source
/// of that is one beyond the last.
#[must_use]
pub fn key<'a>(sources: &[KeySource], on_missing: &OnMissing, request: &Request<'a>) -> Option<Found<'a>> {
    session_key::find(sources, request).or_else(|| {
        let OnMissing::Generate { cookie, .. } = on_missing else {
            return None;
        };
        let cookie = [KeySource::Cookie { name: cookie.clone() }];
        let found = session_key::find(&cookie, request)?;
        Some(Found {
            source: sources.len(),
            ..found
        })
    })
}

/// What is known when a request comes.
pub struct Known<'a> {
    /// The rule of its route.
    pub rule: &'a LaidRule,
    /// The hash seed.
    pub seed: &'a Seed,
    /// By the rule's backends: the pods, where a list is known.
    pub backends: &'a [Option<Rc<LaidBackend>>],
    /// Counts the proxy's sessions on one of the rule's backends. Called only where the rule's balancer asks.
    pub loads: &'a dyn Fn(usize) -> Load,
    /// The token that the request brings.
    pub presented: &'a Presented,
    /// The whole proxy drains.
    pub draining: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The value of `x-clew-host`.
    pub host: String,
    /// The value of `x-clew-backend`, where the rule has several backends.
    pub backend: Option<String>,
    /// The backend.
    pub backend_id: String,
    /// Its pod, where a list is known.
    pub pod: Option<Wanted>,
    /// The value of `set-cookie` for the 101: it carries a key that was generated.
    pub cookie: Option<String>,
    /// Whether the request came with a key or a token, and that decided.
    pub keyed: bool,
    /// Where its key was: [`facts::KEY_SOURCE`].
    pub key_source: &'static str,
    /// How it is bound to its pod, where the rule wants that.
    pub binding: Binding,
    /// Whether the sessions that pods hold decided.
    pub counted: bool,
    /// The key, where its sessions are counted against a limit: not where anybody could have made it up.
    pub counted_key: Option<KeyHash>,
    /// Whether its Origin would be refused if the policy did not only report.
    pub origin_reported: bool,
}

/// The pod that a session shall reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The pod's name.
    pub name: String,
    /// The pod's `ip:port`, as Envoy spells it.
    pub address: String,
}

/// Random bits, in case they are needed.
pub trait Random {
    /// 64 bits that need not be secret.
    fn draw(&mut self) -> u64;
    /// 128 bits that nobody can guess.
    fn key(&mut self) -> Option<[u8; 16]>;
}

/// Places an upgrade. `secure`: the client came by TLS.
///
/// # Errors
/// The reason of the refusal.
pub fn upgrade(
    known: &Known<'_>,
    request: &Request<'_>,
    secure: impl FnOnce() -> bool,
    random: &mut impl Random,
) -> Result<Placed, Reason> {
    let rule = &known.rule.rule;
    // First, so that a page that may not connect learns nothing else.
    let origin = origin::judge(&rule.origin, request);
    if origin == Verdict::Refused {
        return Err(Reason::OriginRefused);
    }
    if known.draining {
        return Err(Reason::Draining);
    }
    let origin_reported = origin == Verdict::Reported;
    if let Some(kept) = persistence::keep(known) {
        return Ok(Placed {
            counted_key: counted_key(known, request),
            origin_reported,
            ..kept
        });
    }
    let binding = persistence::without(known)?;
    let found = key(&rule.session_key, &rule.on_missing, request);
    let keyed = found.is_some() && by_key(known.rule);
    let key_source = key_source(rule, found.as_ref());
    let counts = found.as_ref().is_none_or(|found| counts(rule, found));
    let mut cookie = None;
    let key = match (found, &rule.on_missing) {
        (Some(found), _) => Some(known.seed.key(&found.value)),
        (None, OnMissing::LoadBalance) => None,
        (None, OnMissing::Reject) => return Err(Reason::KeyMissing),
        (None, OnMissing::Generate { cookie: name, path }) => match random.key() {
            Some(bytes) => {
                let value = format!("{:032x}", u128::from_be_bytes(bytes));
                let secure = if secure() { "; Secure" } else { "" };
                cookie = Some(format!(
                    "{name}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}"
                ));
                Some(known.seed.key(value.as_bytes()))
            }
            // Without a source of randomness there is no key that would be better than none.
            None => None,
        },
    };
    let placed = choose(known, key, random.draw()).ok_or(Reason::BackendGone)?;
    Ok(Placed {
        cookie,
        keyed,
        key_source,
        counted_key: key.filter(|_| counts),
        origin_reported,
        binding,
        ..placed
    })
}

/// Places a request that is no upgrade, if it carries a token or a key: so the requests around a session (long polling, a
/// handshake in several steps) reach the same pod. Such a request is never refused.
#[must_use]
pub fn plain(known: &Known<'_>, request: &Request<'_>) -> Option<Placed> {
    if let Some(kept) = persistence::keep(known) {
        return Some(kept);
    }
    if !by_key(known.rule) {
        return None;
    }
    let rule = &known.rule.rule;
    let found = key(&rule.session_key, &rule.on_missing, request)?;
    let key = known.seed.key(&found.value);
    // No draw: only the key decides.
    choose(known, Some(key), key.0)
}

/// The key of a session that another thing than its key places, where it counts against a limit.
fn counted_key(known: &Known<'_>, request: &Request<'_>) -> Option<KeyHash> {
    let rule = &known.rule.rule;
    if rule.limits.sessions_per_key == 0 {
        return None;
    }
    let found = key(&rule.session_key, &rule.on_missing, request)?;
    counts(rule, &found).then(|| known.seed.key(&found.value))
}

/// Whether a key counts against a limit: a claim of a token that nobody verified is anybody's to make up.
fn counts(rule: &Rule, found: &Found<'_>) -> bool {
    !matches!(
        rule.session_key.get(found.source),
        Some(KeySource::JwtClaim { verified: false, .. })
    )
}

fn key_source(rule: &Rule, found: Option<&Found<'_>>) -> &'static str {
    match (found, &rule.on_missing) {
        (Some(found), _) => rule
            .session_key
            .get(found.source)
            .map_or(facts::GENERATED, KeySource::kind),
        (None, OnMissing::Generate { .. }) => facts::GENERATED,
        (None, OnMissing::LoadBalance | OnMissing::Reject) => facts::NOWHERE,
    }
}

fn by_key(rule: &LaidRule) -> bool {
    rule.policy.balancer == Balancer::ConsistentHash
}

fn choose(known: &Known<'_>, key: Option<KeyHash>, random: u64) -> Option<Placed> {
    let rule = known.rule;
    let pods = |backend: usize| Some(&known.backends.get(backend)?.as_ref()?.pods);
    // Only pods of the backend that was chosen are asked for.
    let load = OnceCell::new();
    let sessions = |backend: usize, pod: usize| {
        let laid = known.backends.get(backend).and_then(Option::as_ref);
        let id = laid.and_then(|laid| laid.load_ids.get(pod).copied());
        id.map_or(0, |id| load.get_or_init(|| (known.loads)(backend)).of(id))
    };
    let choice = place(rule.policy, &rule.shares, Draw { key, random }, pods, sessions)?;
    let (backend, at) = match choice {
        Choice::Pod { backend, pod } => (backend, Ok(pod)),
        Choice::Unlisted { backend, hash } => (backend, Err(hash)),
    };
    Some(Placed {
        keyed: key.is_some(),
        counted: load.get().is_some(),
        ..placed(known, backend, at)?
    })
}

/// Says how Envoy is led to a pod of a backend, by its position, or by a hash where no list is known.
fn placed(known: &Known<'_>, backend: usize, at: Result<usize, KeyHash>) -> Option<Placed> {
    let (host, pod) = match at {
        Ok(pod) => {
            let pods = &known.backends.get(backend)?.as_ref()?.pods;
            let wanted = pods.get(pod)?;
            let wanted = Wanted {
                name: wanted.name.clone(),
                address: wanted.address.clone(),
            };
            (pods.steer(pod)?.to_owned(), Some(wanted))
        }
        Err(hash) => (hash.header(), None),
    };
    let backends = &known.rule.rule.backends;
    let backend_id = backends.get(backend)?.id.clone();
    Some(Placed {
        host,
        backend: (backends.len() > 1).then(|| backend_id.clone()),
        backend_id,
        pod,
        cookie: None,
        keyed: false,
        key_source: facts::NOWHERE,
        binding: Binding::New,
        counted: false,
        counted_key: None,
        origin_reported: false,
    })
}

/// How a session's place compares with what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// It came with a key or a token and reached its pod.
    Hit,
    /// It had no key, or a fresh one, or one that did not decide, or no pods are known.
    New,
    /// Its token's pod takes no sessions any more, and it reached another one that it is bound to now.
    Moved,
    /// Envoy took it elsewhere.
    Missed,
}

/// Compares where Envoy took a session (`upstream.address`) with where it was to go.
#[must_use]
pub fn landed(placed: &Placed, address: &[u8]) -> Affinity {
    match &placed.pod {
        Some(pod) if pod.address.as_bytes() != address => Affinity::Missed,
        _ if placed.binding == Binding::Moved => Affinity::Moved,
        Some(_) if placed.keyed => Affinity::Hit,
        _ => Affinity::New,
    }
}

/// Whether a session must not be where Envoy took it: its token names another pod, and the client must not see the 101.
#[must_use]
pub fn strayed(placed: &Placed, affinity: Affinity) -> bool {
    affinity == Affinity::Missed && matches!(placed.binding, Binding::Kept(_))
}

/// Where a session counts, once it is known where Envoy took it: at the pod with that address, if there is one.
#[must_use]
pub fn seat(
    rule: &LaidRule,
    placed: &Placed,
    backend: Option<&LaidBackend>,
    address: Option<&[u8]>,
) -> Option<Place> {
    let elsewhere = address
        .filter(|address| {
            placed
                .pod
                .as_ref()
                .is_none_or(|pod| pod.address.as_bytes() != *address)
        })
        .and_then(|address| backend?.at_address(address));
    let pod = match (elsewhere, &placed.pod) {
        (Some(pod), _) => &pod.name,
        (None, Some(wanted)) => &wanted.name,
        (None, None) => return None,
    };
    Some(Place {
        rule: rule.rule.name.as_str().into(),
        backend: placed.backend_id.as_str().into(),
        pod: pod.as_str().into(),
    })
}

#[cfg(test)]
mod tests;
