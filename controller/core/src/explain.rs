//! Which rule, which key, which pod, and why: the route as Envoy would find it among what was rendered, the key and the
//! pod by the filter's own code.

mod routing;

use clew_filter_config::headers;
use clew_filter_config::persistence::OnBackendGone;
use clew_filter_config::rule::{Balancer, KeySource, OnMissing, Pod};
use clew_filter_core::handshake::{self, Presented};
use clew_filter_core::origin::{self, Verdict};
use clew_filter_core::placement::{Choice, Draw, KeyHash, Pods, Policy, Seed, Shares, place};
use clew_filter_core::session_key::{self, Found};
use clew_filter_core::token::{Invalid, Ring};
use serde::Serialize;
use std::net::SocketAddr;

use crate::model::{Rule, World};
use crate::render::rules::{self, Drains};

/// A handshake that someone asks about.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path and query, as they stand in the request line.
    pub target: String,
    /// Names in lowercase; `host` among them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Who sends it.
    pub peer: SocketAddr,
    /// The socket that it comes to. None: the first one that has a route for it.
    pub listener: Option<SocketAddr>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `namespace/route/rule`; null where no route matches.
    pub rule: Option<String>,
    /// Null where no source has a value.
    pub key: Option<Key>,
    /// Null where chance or live counts decide, or nothing can.
    pub backend: Option<Place>,
    /// A sentence.
    pub why: String,
}

/// The session key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Where it was found, such as `Cookie sid`.
    pub source: String,
    /// `SipHash-2-4(seed, key)`: 16 hex digits. The key itself is not repeated.
    pub hash: String,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// `ip:port`.
    pub address: String,
    /// The backendRef that it belongs to: `namespace/name:port`.
    pub service: String,
}

/// The secrets with which a gateway places.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The hash seed.
    pub seed: Seed,
    /// The keys of persistence tokens.
    pub ring: Ring,
}

/// Explains where a handshake would go at `now_ms`, milliseconds since the Unix epoch. Live counts are not known here: where they decide, there is no backend in the
/// answer, and with bounded load it is the one that the key has while no pod is above the bound.
#[must_use]
pub fn explain(
    world: &World,
    drains: &Drains,
    request: &Request,
    secrets: &Secrets,
    now_ms: u64,
) -> Explanation {
    let request = Request {
        headers: request
            .headers
            .iter()
            .filter(|(name, _)| !headers::REMOVED_FROM_REQUESTS.contains(&name.as_str()))
            .cloned()
            .collect(),
        ..request.clone()
    };
    match routing::route(world, &request) {
        Ok(rule) => placed(world, drains, &request, secrets, now_ms, rule),
        Err(why) => Explanation {
            why,
            ..Explanation::default()
        },
    }
}

fn placed(
    world: &World,
    drains: &Drains,
    request: &Request,
    secrets: &Secrets,
    now_ms: u64,
    rule: &Rule,
) -> Explanation {
    let seed = &secrets.seed;
    let borrowed: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "host" => (headers::AUTHORITY.as_bytes(), value.as_slice()),
            name => (name.as_bytes(), value.as_slice()),
        })
        .collect();
    let peer = request.peer.to_string();
    let seen = session_key::Request {
        path: request.target.as_bytes(),
        headers: &borrowed,
        peer: peer.as_bytes(),
    };
    let found = handshake::key(&unverified(&rule.session_key), &rule.on_missing, &seen);
    let hash = found.as_ref().map(|found| seed.key(&found.value));
    let mut answer = Explanation {
        rule: Some(rule.name.to_string()),
        key: found
            .as_ref()
            .zip(hash)
            .and_then(|(found, hash)| key(rule, found, hash)),
        ..Explanation::default()
    };
    if origin::judge(&rule.origin, &seen) == Verdict::Refused {
        answer.why = "its Origin is not allowed: 403, origin_refused".to_owned();
        return answer;
    }
    let rendered = rules::rule(rule);
    let pods: Vec<Option<Pods>> = rule
        .backends
        .iter()
        .map(|share| {
            Some(Pods::new(
                seed,
                rules::backend(&share.id, world.backends.get(&share.id)?, drains),
            ))
        })
        .collect();
    let presented = Presented::of(&rendered, &secrets.ring, &seen, now_ms);
    if let Presented::Valid(opened) = &presented {
        let bound = pods.iter().enumerate().find_map(|(backend, pods)| {
            let pods = pods.as_ref()?;
            Some((backend, pods.get(pods.bound(&opened.token)?)?))
        });
        if let Some((backend, pod)) = bound {
            answer.backend = Some(place_of(pod, rule, backend));
            answer.why = "its persistence token names the pod".to_owned();
            return answer;
        }
        if rule
            .persistence
            .as_ref()
            .is_some_and(|it| it.on_backend_gone == OnBackendGone::Reject)
        {
            answer.why = format!(
                "its persistence token names {}, which takes no sessions, and onBackendGone is Reject: 503, backend_gone",
                opened.token.pod
            );
            return answer;
        }
    }
    // Where there is no key, any draw tells whether there is a place at all.
    let draw = Draw { key: hash, random: 0 };
    let shares = Shares::new(seed, &rendered.backends);
    let choice = place(
        Policy::from(&rendered),
        &shares,
        draw,
        |i| pods.get(i).and_then(Option::as_ref),
        |_, _| 0,
    );
    let by_key = hash.is_some() && rule.balancer == Balancer::ConsistentHash;
    answer.why = match (choice, &rule.on_missing, hash) {
        (None, ..) => "no backend has a pod that takes new sessions: 503, backend_gone".to_owned(),
        (_, OnMissing::Reject, None) => "no source has a value, and onMissing is Reject: 400, key_missing".to_owned(),
        (_, OnMissing::Generate { cookie, .. }, None) => {
            format!("no source has a value, and onMissing is Generate: a random key, in the cookie {cookie}, decides")
        }
        (_, OnMissing::LoadBalance, None) if rule.balancer == Balancer::ConsistentHash => {
            "no source has a value, and onMissing is LoadBalance: of two pods drawn at random the one with fewer sessions".to_owned()
        }
        (Some(Choice::Unlisted { backend, .. }), ..) => {
            format!("its share belongs to {}, which does not exist: 500", id(rule, backend))
        }
        (Some(Choice::Pod { backend, pod }), ..) if by_key => {
            let chosen = pods.get(backend).and_then(Option::as_ref).and_then(|pods| pods.get(pod));
            answer.backend = chosen.map(|pod| place_of(pod, rule, backend));
            why_by_key(rule)
        }
        _ => match rule.balancer {
            Balancer::Random => "the balancer is Random".to_owned(),
            _ => "the balancer is LeastSessions: of two pods drawn at random the one with fewer sessions".to_owned(),
        },
    };
    answer.why.insert_str(0, &without_token(&presented));
    answer
}

/// Why a token that was brought does not decide.
fn without_token(presented: &Presented) -> String {
    let why = match presented {
        Presented::Nothing => return String::new(),
        Presented::Valid(opened) => {
            return format!(
                "its persistence token names {}, which takes no sessions; ",
                opened.token.pod
            );
        }
        Presented::Invalid(Invalid::Malformed) => "is none",
        Presented::Invalid(Invalid::Forged) => "is signed by no key that is known here",
        Presented::Invalid(Invalid::Foreign) => "is of another rule",
        Presented::Invalid(Invalid::Expired) => "is too old",
    };
    format!("its persistence token {why}; ")
}

fn place_of(pod: &Pod, rule: &Rule, backend: usize) -> Place {
    Place {
        name: pod.name.clone(),
        address: pod.address.clone(),
        service: id(rule, backend),
    }
}

/// Tokens as they stand in the request: nobody has verified them here.
fn unverified(sources: &[KeySource]) -> Vec<KeySource> {
    let mut sources = sources.to_vec();
    for source in &mut sources {
        if let KeySource::JwtClaim { verified, .. } = source {
            *verified = false;
        }
    }
    sources
}

fn why_by_key(rule: &Rule) -> String {
    let share = if rule.backends.len() > 1 {
        "the key's backend by weighted rendezvous hashing, in it "
    } else {
        ""
    };
    let bound = match rule.bounded_load_percent {
        Some(percent) => format!(", unless it holds {percent} % of the mean of the proxy's sessions"),
        None => String::new(),
    };
    format!("{share}the pod to which the key is worth most by rendezvous hashing{bound}")
}

fn id(rule: &Rule, backend: usize) -> String {
    rule.backends
        .get(backend)
        .map(|share| share.id.to_string())
        .unwrap_or_default()
}

fn key(rule: &Rule, found: &Found<'_>, hash: KeyHash) -> Option<Key> {
    let source = match (rule.session_key.get(found.source), &rule.on_missing) {
        (Some(KeySource::Cookie { name }), _) => format!("Cookie {name}"),
        (Some(KeySource::Header { name }), _) => format!("Header {name}"),
        (Some(KeySource::QueryParam { name }), _) => format!("QueryParam {name}"),
        (Some(KeySource::PathSegment { index }), _) => format!("PathSegment {index}"),
        (Some(KeySource::JwtClaim { path, .. }), _) => format!("JWTClaim {}", path.join(".")),
        (Some(KeySource::Subprotocol { prefix }), _) => format!("Subprotocol {prefix}"),
        (Some(KeySource::SourceIp { .. }), _) => "SourceIP".to_owned(),
        (None, OnMissing::Generate { cookie, .. }) => format!("Cookie {cookie}, which was generated"),
        (None, _) => return None,
    };
    Some(Key {
        source,
        hash: hash.header(),
    })
}

#[cfg(test)]
mod tests;
