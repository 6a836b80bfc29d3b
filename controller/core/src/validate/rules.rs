//! One rule of a route → what holds for its sessions.

use clew_crds::websocket_route::{
    KeySource as Written, KeySourceType, LoadBalancerType, OnMissing as WrittenOnMissing,
    Resilience as WrittenResilience, RouteRule, SessionKey, SessionPolicy,
};
use clew_filter_config::headers::AUTHORITY;
use clew_filter_config::rule::{Balancer, KeySource, OnMissing};
use clew_filter_config::terms::Terms;

use super::{jwt, limits, origin, persistence};
use crate::model::{
    BackendShare, Fault, FaultAbort, FaultDelay, Match, Outlier, Path, Resilience, Rule, RuleId, RuleName,
};
use crate::refusal::Code;

/// What is wrong: the field below the rule, and what to do.
pub(super) type Wrong = (Code, String, String);

/// The bytes that a Close has room for beside its code (RFC 6455, 5.5).
const CLOSE_REASON_BYTES: usize = 123;

/// Reads a rule whose matches and backends are read already. `meshed`: one of the route's parents is a gateway of a mesh.
pub(super) fn rule(
    name: RuleName,
    written: &RouteRule,
    hostnames: &[String],
    matches: &[Match],
    backends: Vec<BackendShare>,
    meshed: bool,
) -> Result<Rule, Wrong> {
    let policy = &written.policy;
    let jwt = jwt::provider(policy, &name.route.namespace);
    let verified = jwt::verified(policy, jwt.as_ref(), meshed);
    let (session_key, on_missing) = match &policy.session_key {
        Some(key) => (sources(key, verified.as_deref())?, on_missing(key, matches)?),
        None => (Vec::new(), OnMissing::LoadBalance),
    };
    close(policy)?;
    let origin = origin::policy(policy.security.origin.as_ref())?;
    let persistence = persistence::persistence(policy, hostnames, matches, &session_key)?;
    Ok(Rule {
        id: RuleId::of(&name),
        name,
        backends,
        session_key,
        on_missing,
        origin,
        balancer: match policy.load_balancer.r#type {
            LoadBalancerType::ConsistentHash => Balancer::ConsistentHash,
            LoadBalancerType::LeastSessions => Balancer::LeastSessions,
            LoadBalancerType::Random => Balancer::Random,
        },
        bounded_load_percent: policy
            .load_balancer
            .bounded_load
            .as_ref()
            .map(|bound| bound.percent.into()),
        persistence,
        drain_timeout_ms: policy.drain.timeout.as_millis(),
        close_code: policy.drain.close_code,
        close_reason: policy.drain.close_reason.clone(),
        handshake_timeout_ms: policy.timeouts.handshake.as_millis(),
        terms: terms(policy),
        limits: limits::limits(&policy.limits),
        close_at_token_expiry: policy.security.close_at_token_expiry,
        jwt,
        resilience: resilience(&policy.resilience),
    })
}

fn sources(key: &SessionKey, verified: Option<&str>) -> Result<Vec<KeySource>, Wrong> {
    key.sources
        .iter()
        .enumerate()
        .map(|(i, written)| {
            source(written, verified)
                .map_err(|(code, below, message)| (code, format!(".sessionKey.sources[{i}]{below}"), message))
        })
        .collect()
}

fn source(written: &Written, verified: Option<&str>) -> Result<KeySource, (Code, &'static str, String)> {
    let incomplete = |member: &str| {
        (
            Code::KeySourceIncomplete,
            "",
            format!("type {:?} needs the member {member}", written.r#type),
        )
    };
    Ok(match written.r#type {
        KeySourceType::Cookie => KeySource::Cookie {
            name: written.cookie.clone().ok_or_else(|| incomplete("cookie"))?.name,
        },
        KeySourceType::Header => KeySource::Header {
            name: header_name(&written.header.as_ref().ok_or_else(|| incomplete("header"))?.name),
        },
        KeySourceType::QueryParam => KeySource::QueryParam {
            name: written
                .query_param
                .clone()
                .ok_or_else(|| incomplete("queryParam"))?
                .name,
        },
        KeySourceType::PathSegment => KeySource::PathSegment {
            index: written
                .path_segment
                .as_ref()
                .ok_or_else(|| incomplete("pathSegment"))?
                .index
                .into(),
        },
        KeySourceType::JwtClaim => {
            let claim = written.jwt_claim.as_ref().ok_or_else(|| incomplete("jwtClaim"))?;
            jwt::source(claim, verified)?
        }
        KeySourceType::Subprotocol => KeySource::Subprotocol {
            prefix: written
                .subprotocol
                .clone()
                .ok_or_else(|| incomplete("subprotocol"))?
                .prefix,
        },
        KeySourceType::SourceIp => KeySource::SourceIp {
            trusted_hops: written
                .source_ip
                .as_ref()
                .ok_or_else(|| incomplete("sourceIP"))?
                .trusted_hops
                .into(),
        },
    })
}

/// As Envoy and its filters know it: what HTTP/1 calls `Host` has the name that HTTP/2 gave it.
pub(super) fn header_name(written: &str) -> String {
    match written.to_ascii_lowercase().as_str() {
        "host" => AUTHORITY.to_owned(),
        name => name.to_owned(),
    }
}

fn on_missing(key: &SessionKey, matches: &[Match]) -> Result<OnMissing, Wrong> {
    let wrong = |message: &str| {
        Err((
            Code::GenerateIncomplete,
            ".sessionKey.generate".to_owned(),
            message.to_owned(),
        ))
    };
    match (key.on_missing, &key.generate) {
        (WrittenOnMissing::Generate, Some(generate)) => Ok(OnMissing::Generate {
            cookie: generate.cookie_name.clone(),
            path: cookie_path(matches),
        }),
        (WrittenOnMissing::Generate, None) => {
            wrong("onMissing: Generate needs the cookie's name; write generate: {cookieName: clew-key}")
        }
        (_, Some(_)) => {
            wrong("generate has no meaning without onMissing: Generate; remove one or write the other")
        }
        (WrittenOnMissing::LoadBalance, None) => Ok(OnMissing::LoadBalance),
        (WrittenOnMissing::Reject, None) => Ok(OnMissing::Reject),
    }
}

/// The path under which every handshake of the rule brings the cookie back.
pub(super) fn cookie_path(matches: &[Match]) -> String {
    match matches {
        [
            Match {
                path: Path::Exact(path) | Path::Prefix(path),
                ..
            },
        ] if !path.is_empty() => path.clone(),
        _ => "/".to_owned(),
    }
}

fn close(policy: &SessionPolicy) -> Result<(), Wrong> {
    let drain = &policy.drain;
    if !matches!(drain.close_code, 1000 | 1001 | 1012 | 1013 | 3000..=4999) {
        let message = format!(
            "{} is not a code that may be sent; write 1000, 1001, 1012, 1013 or 3000-4999",
            drain.close_code
        );
        return Err((Code::DrainInvalid, ".drain.closeCode".to_owned(), message));
    }
    if drain.close_reason.len() > CLOSE_REASON_BYTES {
        let message = format!(
            "{} bytes do not fit into a Close; write at most {CLOSE_REASON_BYTES}",
            drain.close_reason.len()
        );
        return Err((Code::DrainInvalid, ".drain.closeReason".to_owned(), message));
    }
    Ok(())
}

fn terms(policy: &SessionPolicy) -> Terms {
    let limits = &policy.limits;
    let mut terms = Terms {
        idle_ms: policy.timeouts.idle.as_millis(),
        max_duration_ms: policy.timeouts.max_connection_duration.as_millis(),
        // Never 0: the API does not take it.
        max_message_bytes: limits.max_message_size.map_or(0, |size| size.as_bytes()),
        ..Terms::default()
    };
    if let Some(rate) = &limits.message_rate {
        terms.rate_messages = rate.messages.into();
        terms.rate_interval_ms = rate.interval.as_millis();
        terms.rate_burst = rate.burst().into();
    }
    terms
}

fn resilience(written: &WrittenResilience) -> Resilience {
    Resilience {
        connect_retries: written.connect_retries.unwrap_or(0),
        max_pending: written.max_pending_handshakes,
        outlier: written.outlier_detection.as_ref().map(|outlier| Outlier {
            consecutive_failures: outlier.consecutive_handshake_failures,
            ejection_ms: outlier.ejection_time.as_millis(),
        }),
        fault: written.fault.as_ref().map(|fault| Fault {
            abort: fault.abort.as_ref().map(|abort| FaultAbort {
                percent: abort.percent,
                status: abort.status,
            }),
            delay: fault.delay.as_ref().map(|delay| FaultDelay {
                percent: delay.percent,
                delay_ms: delay.duration.as_millis(),
            }),
        }),
    }
}
