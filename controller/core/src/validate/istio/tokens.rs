//! Whether Istio verifies the token of every handshake before our filter sees it. A RequestAuthentication refuses bad tokens
//! and lets those pass that bring none; it is an AuthorizationPolicy that makes one mandatory. What the filter reads is the
//! payload that Envoy puts into a header of ours once it has verified it, and that a client cannot set.

use std::sync::Arc;

use clew_crds::websocket_route::RouteRule;
use clew_filter_config::headers::JWT_PAYLOAD;

use super::workloads::Workloads;
use crate::model::{Hostname, Match, Parent, Path};
use crate::objects::{AuthorizationPolicySpec, AuthorizationRule, JwtRule, Operation, RuleTo, Scope, When};
use crate::validate::index::Index;
use crate::validate::jwt;
use crate::validate::listeners::Place;
use crate::validate::routes::ReadRule;
use crate::validate::rules::header_name;

/// Whatever is there.
const ANY: &str = "*";

/// A rule whose claims must be verified and are not at a parent: the field below `spec`, and what to do.
pub(in crate::validate) fn unverified(
    written: &[RouteRule],
    read: &[ReadRule],
    parent: &Parent,
    places: &[Place],
    index: &Index<'_>,
) -> Option<(String, String)> {
    for (i, rule) in written.iter().enumerate() {
        let Some((source, header)) = jwt::required(&rule.policy) else {
            continue;
        };
        let field = format!("spec.rules[{i}].sessionKey.sources[{source}].jwtClaim.verification");
        let Some(pods) = Workloads::of(parent, index) else {
            // Stand-alone Envoy verifies by the route's own field, and on the mesh nobody does.
            return Some((field, jwt::NOTHING_VERIFIES.to_owned()));
        };
        let name = rule.name.as_deref();
        let is_this = |one: &&ReadRule| name.is_none_or(|name| one.0.name.rule == name);
        let matches = read.iter().find(is_this).map(|(_, matches)| matches.as_slice());
        let wanted = Wanted {
            header: &header,
            matches: matches.unwrap_or_default(),
            places,
        };
        for applies in pods.each() {
            if let Some(lacks) = wanted.lacks(index, &applies) {
                return Some((field, format!("at {parent} {lacks}")));
            }
        }
    }
    None
}

/// The handshakes of a rule, and the header that has their tokens.
struct Wanted<'a> {
    header: &'a str,
    matches: &'a [Arc<Match>],
    places: &'a [Place],
}

impl Wanted<'_> {
    /// What keeps the token of every handshake from being verified in a pod.
    fn lacks(&self, index: &Index<'_>, applies: &impl Fn(&str, &Scope) -> bool) -> Option<String> {
        let header = self.header;
        let mut rules = index
            .request_authentications
            .iter()
            .filter(|(name, found)| applies(&name.namespace, &found.object.spec.scope))
            .flat_map(|(name, found)| found.object.spec.jwt_rules.iter().map(move |rule| (name, rule)))
            .filter(|(_, rule)| reads(rule, header))
            .peekable();
        let Some((name, _)) = rules.peek().copied() else {
            return Some(format!(
                "no RequestAuthentication verifies the token of {header:?}; write one for the gateway's pods with outputPayloadToHeader: {JWT_PAYLOAD}, and an AuthorizationPolicy that requires a token"
            ));
        };
        if !rules.any(|(_, rule)| rule.output_payload_to_header.eq_ignore_ascii_case(JWT_PAYLOAD)) {
            return Some(format!(
                "RequestAuthentication {name} verifies the token and keeps what it says; set outputPayloadToHeader: {JWT_PAYLOAD} in its rule"
            ));
        }
        let policies: Vec<_> = index
            .authorization_policies
            .iter()
            .filter(|(name, found)| applies(&name.namespace, &found.object.spec.scope))
            .collect();
        let specs: Vec<_> = policies.iter().map(|(_, found)| &found.object.spec).collect();
        (!self.is_required(&specs)).then(|| {
            let is_custom = |spec: &AuthorizationPolicySpec| spec.action.as_deref() == Some("CUSTOM");
            let custom = policies.iter().find(|(_, found)| is_custom(&found.object.spec));
            let besides = custom.map_or_else(String::new, |(name, _)| {
                format!(
                    " (what the provider of the CUSTOM AuthorizationPolicy {name} asks for, nobody here can tell)"
                )
            });
            format!(
                "RequestAuthentication {name} lets handshakes without a token pass, and no AuthorizationPolicy requires one{besides}; write one for the gateway's pods with action: DENY and notRequestPrincipals: [\"*\"]"
            )
        })
    }

    fn is_required(&self, policies: &[&AuthorizationPolicySpec]) -> bool {
        let of = |action: &'static str| {
            let is = move |policy: &&&AuthorizationPolicySpec| {
                policy.action.as_deref().unwrap_or("ALLOW") == action
            };
            policies.iter().filter(is)
        };
        let denies = |rule: &AuthorizationRule| {
            refuses_without(rule) && (rule.to.is_empty() || rule.to.iter().any(|to| self.is_within(to)))
        };
        if of("DENY").any(|policy| policy.rules.iter().any(denies)) {
            return true;
        }
        // Whoever one of them lets in is in.
        let mut allowing = of("ALLOW").peekable();
        let concerns = |rule: &&AuthorizationRule| {
            rule.to.is_empty() || rule.to.iter().any(|to| self.may_meet(&to.operation))
        };
        allowing.peek().is_some()
            && allowing.all(|policy| policy.rules.iter().filter(concerns).all(asks_for_a_token))
    }

    /// Whether all of the rule's handshakes are such.
    fn is_within(&self, to: &RuleTo) -> bool {
        let Operation {
            hosts,
            paths,
            methods,
            others,
        } = &to.operation;
        let covers_host = |place: &Place| {
            hosts
                .iter()
                .any(|host| Hostname::new(host).covers(&place.hostname))
        };
        let covers_path = |one: &Arc<Match>| paths.iter().any(|path| covers(path, &one.path));
        others.is_empty()
            && (methods.is_empty() || methods.iter().any(|method| method == "GET" || method == ANY))
            && (hosts.is_empty() || self.places.iter().all(covers_host))
            && (paths.is_empty() || self.matches.iter().all(covers_path))
    }

    /// Whether some may be. In doubt they may.
    fn may_meet(&self, operation: &Operation) -> bool {
        let meets_host = |place: &Place| {
            let mut hosts = operation.hosts.iter().map(|host| Hostname::new(host));
            hosts.any(|host| host.intersection(&place.hostname).is_some())
        };
        let meets_path = |one: &Arc<Match>| operation.paths.iter().any(|path| meets(path, &one.path));
        (operation.hosts.is_empty() || self.places.iter().any(meets_host))
            && (operation.paths.is_empty() || self.matches.iter().any(meets_path))
    }
}

/// Whether a rule looks for tokens in a header.
fn reads(rule: &JwtRule, header: &str) -> bool {
    let named = |one: &str| header_name(one) == header;
    let only_default =
        rule.from_headers.is_empty() && rule.from_params.is_empty() && rule.from_cookies.is_empty();
    match only_default {
        true => named(jwt::AUTHORIZATION),
        false => rule.from_headers.iter().any(|one| named(&one.name)),
    }
}

/// Whether a rule is of whoever brings no token.
fn refuses_without(rule: &AuthorizationRule) -> bool {
    let all = |values: &[String]| values.iter().any(|value| value == ANY);
    match (rule.from.as_slice(), rule.when.as_slice()) {
        ([], [when]) => {
            when.key == "request.auth.principal" && when.values.is_empty() && all(&when.not_values)
        }
        (from, []) => from.iter().any(|from| {
            let source = &from.source;
            source.others.is_empty()
                && source.request_principals.is_empty()
                && all(&source.not_request_principals)
        }),
        _ => false,
    }
}

/// Whether a rule is only of those who bring one.
fn asks_for_a_token(rule: &AuthorizationRule) -> bool {
    let of_the_token = |when: &When| when.key.starts_with("request.auth.") && !when.values.is_empty();
    let has_principal = || {
        let mut from = rule.from.iter();
        !rule.from.is_empty() && from.all(|from| !from.source.request_principals.is_empty())
    };
    rule.when.iter().any(of_the_token) || has_principal()
}

/// Whether a policy's path is all of a match's.
fn covers(theirs: &str, ours: &Path) -> bool {
    match (theirs.strip_suffix('*'), ours) {
        _ if theirs.contains(['{', '}']) => false,
        (Some(""), _) => true,
        (Some(prefix), Path::Exact(path) | Path::Prefix(path)) => path.starts_with(prefix),
        (None, Path::Exact(path)) => match theirs.strip_prefix('*') {
            Some(suffix) => path.ends_with(suffix),
            None => path == theirs,
        },
        _ => false,
    }
}

/// Whether a policy's path may be one of a match's.
fn meets(theirs: &str, ours: &Path) -> bool {
    if theirs.contains(['{', '}']) || theirs.starts_with('*') {
        return true;
    }
    match (theirs.strip_suffix('*'), ours) {
        (_, Path::Regex(_)) => true,
        (Some(prefix), Path::Exact(path)) => path.starts_with(prefix),
        (Some(prefix), Path::Prefix(path)) => path.starts_with(prefix) || prefix.starts_with(path.as_str()),
        (None, Path::Exact(path)) => path == theirs,
        (None, Path::Prefix(path)) => theirs.starts_with(path.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::{covers, meets};
    use crate::model::{Expression, Path};

    #[test]
    fn a_policys_paths_are_compared_with_a_matchs() {
        let (exact, prefix) = (
            |path: &str| Path::Exact(path.to_owned()),
            |path: &str| Path::Prefix(path.to_owned()),
        );
        for (theirs, ours, all, some) in [
            ("*", prefix("/ws"), true, true),
            ("/ws*", prefix("/ws"), true, true),
            ("/w*", prefix("/ws"), true, true),
            ("/ws/*", prefix("/ws"), false, true),
            ("/ws", prefix("/ws"), false, true),
            ("/api/*", prefix("/ws"), false, false),
            ("/ws", exact("/ws"), true, true),
            ("*/ws", exact("/a/ws"), true, true),
            ("/api", exact("/ws"), false, false),
            ("/{*}", exact("/ws"), false, true),
            (
                "/api",
                Path::Regex(Expression::new("/w.*".to_owned())),
                false,
                true,
            ),
        ] {
            assert_eq!(
                (covers(theirs, &ours), meets(theirs, &ours)),
                (all, some),
                "{theirs} {ours:?}"
            );
        }
    }
}
