//! What binds the sessions of a rule to their pods.

use std::collections::BTreeSet;
use std::net::IpAddr;

use clew_crds::websocket_route::{
    LifetimeType, OnBackendGone as WrittenOnBackendGone, PersistenceType, RouteRule, SessionPersistence,
    SessionPolicy,
};
use clew_filter_config::headers;
use clew_filter_config::persistence::{Cookie, OnBackendGone, Persistence};
use clew_filter_config::rule::KeySource;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::index::Index;
use super::rules::{Wrong, cookie_path};
use super::{Unsupported, backends};
use crate::model::Match;
use crate::objects::Sourced;
use crate::refusal::Code;

/// Headers that a handshake, or HTTP itself, needs for something else.
const TAKEN: [&str; 9] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "origin",
    "set-cookie",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Reads a rule's persistence, whose key sources are read already.
pub(super) fn persistence(
    policy: &SessionPolicy,
    hostnames: &[String],
    matches: &[Match],
    sources: &[KeySource],
) -> Result<Option<Persistence>, Wrong> {
    let Some(written) = &policy.session_persistence else {
        if policy.on_backend_gone == WrittenOnBackendGone::Reject {
            let message = "Reject needs sessionPersistence: other sessions are not bound to a pod";
            return wrong(".onBackendGone", message.to_owned());
        }
        return Ok(None);
    };
    let (name, cookie) = match written.r#type {
        PersistenceType::Cookie => cookie(policy, written, hostnames, matches, sources)?,
        PersistenceType::Header => (header(written, sources)?, None),
    };
    Ok(Some(Persistence {
        name,
        cookie,
        absolute_timeout_ms: written.absolute_timeout.map(|timeout| timeout.as_millis()),
        on_backend_gone: match policy.on_backend_gone {
            WrittenOnBackendGone::Reassign => OnBackendGone::Reassign,
            WrittenOnBackendGone::Reject => OnBackendGone::Reject,
        },
    }))
}

fn cookie(
    policy: &SessionPolicy,
    written: &SessionPersistence,
    hostnames: &[String],
    matches: &[Match],
    sources: &[KeySource],
) -> Result<(String, Option<Cookie>), Wrong> {
    let Some(cookie) = &written.cookie else {
        return wrong("", "type Cookie needs the member cookie".to_owned());
    };
    let permanent = cookie.lifetime_type == LifetimeType::Permanent;
    if permanent && written.absolute_timeout.is_none() {
        let message = "a Permanent cookie needs an end; write how long its token is good for, such as 12h";
        return wrong(".absoluteTimeout", message.to_owned());
    }
    if sources
        .iter()
        .any(|source| matches!(source, KeySource::Cookie { name } if *name == cookie.name))
    {
        let message = format!(
            "the cookie {:?} carries the session key already; choose another name",
            cookie.name
        );
        return wrong(".cookie.name", message);
    }
    let attributes = Cookie {
        path: cookie.path.clone().unwrap_or_else(|| cookie_path(matches)),
        permanent,
        other_sites: allows_other_sites(policy, hostnames),
    };
    Ok((cookie.name.clone(), Some(attributes)))
}

fn header(written: &SessionPersistence, sources: &[KeySource]) -> Result<String, Wrong> {
    let Some(header) = &written.header else {
        return wrong("", "type Header needs the member header".to_owned());
    };
    let name = header.name.to_ascii_lowercase();
    let ours = headers::REMOVED_FROM_REQUESTS.contains(&&*name);
    if ours || TAKEN.contains(&&*name) || name.starts_with("sec-websocket-") {
        let message = format!("{name} has a meaning of its own; choose another, such as x-clew-session");
        return wrong(".header.name", message);
    }
    if sources
        .iter()
        .any(|source| matches!(source, KeySource::Header { name: other } if *other == name))
    {
        let message = format!("the header {name} carries the session key already; choose another name");
        return wrong(".header.name", message);
    }
    Ok(name)
}

fn wrong<T>(below: &str, message: String) -> Result<T, Wrong> {
    let at = match below {
        ".onBackendGone" => below.to_owned(),
        below => format!(".sessionPersistence{below}"),
    };
    Err((Code::PersistenceInvalid, at, message))
}

/// Whether pages of another site than the route's own may open sessions: to them a cookie must be SameSite=None.
fn allows_other_sites(policy: &SessionPolicy, hostnames: &[String]) -> bool {
    let Some(origin) = &policy.security.origin else {
        return false;
    };
    origin.allowed.iter().any(|allowed| {
        let Some((_, authority)) = allowed.split_once("://") else {
            return true;
        };
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next(),
            None => authority.split(':').next(),
        };
        let site = site(host.unwrap_or_default());
        hostnames.is_empty() || hostnames.iter().any(|hostname| self::site(hostname) != site)
    })
}

/// The part of a host that one owner has: what browsers call its site, by the Public Suffix List. A wildcard's is that of
/// the hosts below.
fn site(host: &str) -> String {
    let host = host.strip_prefix("*.").unwrap_or(host).to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    if host.parse::<IpAddr>().is_ok() {
        return host.to_owned();
    }
    psl::domain_str(host).unwrap_or(host).to_owned()
}

/// The backends of a rule some of whose endpoints are known by their address alone: a token cannot name them.
pub(super) fn nameless(rule: &RouteRule, namespace: &str, path: &str, index: &Index<'_>) -> Vec<Unsupported> {
    if rule.policy.session_persistence.is_none() {
        return Vec::new();
    }
    let services: BTreeSet<_> = rule
        .backend_refs
        .iter()
        .map(|reference| backends::id(reference, namespace).service)
        .collect();
    let has_nameless = |slices: &Vec<&Sourced<EndpointSlice>>| {
        let mut endpoints = slices
            .iter()
            .flat_map(|slice| slice.object.endpoints.iter().flatten());
        endpoints.any(|endpoint| {
            endpoint
                .target_ref
                .as_ref()
                .is_none_or(|target| target.name.is_none())
        })
    };
    services
        .into_iter()
        .filter(|service| index.slices.get(service).is_some_and(has_nameless))
        .map(|service| Unsupported {
            field: format!("{path}.sessionPersistence"),
            why: format!(
                "endpoints of Service {service} have no targetRef with a name; sessions there get no token, because an address may be another pod's tomorrow"
            ),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::site;
    use crate::fixture::{Manifests, good};
    use crate::refusal::Code;
    use crate::validate::{Target, validate};

    /// The fields that are refused when the good fixture has this policy too.
    fn refused(policy: Value) -> Vec<String> {
        let mut manifests = good();
        for (field, value) in policy.as_object().unwrap() {
            Manifests::set(
                &mut manifests.routes,
                &format!("/spec/rules/0/{field}"),
                value.clone(),
            );
        }
        let validated = validate(&manifests.objects(), Target::Standalone);
        let field = |refusal: &crate::refusal::Refusal| {
            assert_eq!(refusal.code, Code::PersistenceInvalid, "{refusal}");
            refusal.field.strip_prefix("spec.rules[0]").unwrap().to_owned()
        };
        validated.refusals().map(field).collect()
    }

    #[test]
    fn what_cannot_carry_a_token_is_refused() {
        let header = |name: &str| json!({"sessionPersistence": {"type": "Header", "header": {"name": name}}});
        assert_eq!(refused(header("X-Session")), [""; 0]);
        for name in ["X-Clew-Host", "Cookie", "Upgrade", "Sec-WebSocket-Key", "host"] {
            assert_eq!(
                refused(header(name)),
                [".sessionPersistence.header.name"],
                "{name}"
            );
        }
        let endless = json!({"type": "Cookie", "cookie": {"name": "s", "lifetimeType": "Permanent"}});
        for (policy, field) in [
            (
                json!({"sessionPersistence": {"type": "Cookie"}}),
                ".sessionPersistence",
            ),
            (
                json!({"sessionPersistence": {"type": "Header"}}),
                ".sessionPersistence",
            ),
            (
                json!({"sessionPersistence": endless}),
                ".sessionPersistence.absoluteTimeout",
            ),
            (json!({"onBackendGone": "Reject"}), ".onBackendGone"),
        ] {
            assert_eq!(refused(policy), [field]);
        }
    }

    #[test]
    fn a_name_carries_the_key_or_the_token() {
        let with = |source: Value, persistence: Value| {
            refused(json!({"sessionKey": {"sources": [source]}, "sessionPersistence": persistence}))
        };
        let cookie = json!({"type": "Cookie", "cookie": {"name": "sid"}});
        let header = json!({"type": "Header", "header": {"name": "x-sid"}});
        assert_eq!(
            with(cookie.clone(), cookie.clone()),
            [".sessionPersistence.cookie.name"]
        );
        assert_eq!(
            with(header.clone(), header.clone()),
            [".sessionPersistence.header.name"]
        );
        assert_eq!(with(header.clone(), cookie.clone()), [""; 0]);
        assert_eq!(with(cookie, header), [""; 0]);
    }

    #[test]
    fn a_site_is_what_one_owner_has() {
        for (one, other, same) in [
            ("chat.example.com", "app.example.com", true),
            ("*.example.com", "Example.com.", true),
            ("chat.example.com", "chat.example.org", false),
            ("one.co.uk", "two.co.uk", false),
            ("one.github.io", "two.github.io", false),
            ("localhost", "localhost", true),
            ("127.0.0.1", "127.1.0.1", false),
            ("::1", "::1", true),
        ] {
            assert_eq!(site(one) == site(other), same, "{one} {other}");
        }
    }
}
