//! On one gateway and host Istio tries VirtualServices in the order of their age, whatever they match; only what takes
//! everything is moved to the end (seen in istiod of August 2026, `SortVHostRoutes`). Ours of one namespace are one.

use serde_json::{Map, Value};

use super::{Candidate, Hindrance};
use crate::model::{AttachedRoute, Expression, Hostname, Match, ObjectName, Path, Pattern};
use crate::objects::{StringMatch, VirtualServiceMatch};
use crate::refusal::Code;
use crate::validate::age::is_older;
use crate::validate::index::Index;
use crate::validate::listeners::Place;

/// Somebody's older VirtualService that takes all handshakes of a match first.
pub(super) fn virtual_service(
    candidate: &Candidate<'_>,
    gateway: &ObjectName,
    places: &[Place],
    index: &Index<'_>,
) -> Option<Hindrance> {
    let older = index.virtual_services.iter().filter(|(name, found)| {
        let is_here = |written: &String| match written.split_once('/') {
            Some((namespace, name)) => namespace == gateway.namespace && name == gateway.name,
            None => name.namespace == gateway.namespace && *written == gateway.name,
        };
        is_older(&found.object.metadata, &candidate.route.object.metadata)
            && found.object.spec.gateways.iter().any(is_here)
            && found
                .object
                .spec
                .hosts
                .iter()
                .any(|host| meets(&Hostname::new(host), places))
    });
    for (name, found) in older {
        for (i, (_, matches)) in candidate.rules.iter().enumerate() {
            for (j, matching) in matches.iter().enumerate() {
                let takes = found.object.spec.http.iter().any(|route| {
                    route.r#match.is_empty() && is_catch_all(matching)
                        || route.r#match.iter().any(|theirs| takes(theirs, matching))
                });
                if takes {
                    return Some(shadowed(i, j, &format!("VirtualService {name}")));
                }
            }
        }
    }
    None
}

/// An older route of another namespace that does.
pub(super) fn route<'a>(
    candidate: &Candidate<'_>,
    places: &[Place],
    others: impl Iterator<Item = &'a AttachedRoute>,
) -> Option<Hindrance> {
    for other in others.filter(|other| other.name.namespace != candidate.name.namespace) {
        if !other.hostnames.iter().any(|host| meets(host, places)) {
            continue;
        }
        for (i, (_, matches)) in candidate.rules.iter().enumerate() {
            for (j, matching) in matches.iter().enumerate() {
                if other.rules.iter().any(|theirs| theirs.matching.covers(matching)) {
                    return Some(shadowed(i, j, &format!("WebSocketRoute {}", other.name)));
                }
            }
        }
    }
    None
}

fn meets(host: &Hostname, places: &[Place]) -> bool {
    // A virtual host has one name: another name, even a broader one, is another virtual host.
    places.iter().any(|place| place.hostname == *host)
}

fn shadowed(rule: usize, matching: usize, who: &str) -> Hindrance {
    let message = format!(
        "{who} is older and takes these handshakes first; narrow it, move its hosts, or put the rules into one object"
    );
    (
        Code::MatchShadowed,
        format!("spec.rules[{rule}].matches[{matching}]"),
        message,
    )
}

fn is_catch_all(matching: &Match) -> bool {
    matching.path == Path::Prefix(String::new())
        && matching.headers.is_empty()
        && matching.query.is_empty()
        && matching.subprotocols.is_empty()
}

/// Whether all that ours takes is theirs. In doubt it is not.
fn takes(theirs: &VirtualServiceMatch, ours: &Match) -> bool {
    let path = match &theirs.uri {
        None => return theirs.others.is_empty() && is_catch_all(ours),
        Some(path) => path,
    };
    let takes_everything = match path {
        StringMatch::Prefix(prefix) => prefix == "/",
        StringMatch::Regex(regex) => regex == ".*",
        StringMatch::Exact(_) => false,
    };
    if takes_everything && theirs.others.is_empty() {
        return is_catch_all(ours);
    }
    takes_path(path, &ours.path)
        && theirs.others.iter().all(|(field, value)| match field.as_str() {
            "headers" => value
                .as_object()
                .is_some_and(|all| all_written(all, &ours.headers)),
            "queryParams" => value.as_object().is_some_and(|all| all_written(all, &ours.query)),
            "method" => value["exact"] == "GET",
            _ => false,
        })
}

fn takes_path(theirs: &StringMatch, ours: &Path) -> bool {
    match (theirs, ours) {
        (StringMatch::Exact(theirs), Path::Exact(ours)) => theirs == ours,
        (StringMatch::Prefix(theirs), Path::Exact(ours)) => ours.starts_with(theirs),
        (StringMatch::Prefix(theirs), Path::Prefix(ours)) => theirs == "/" || ours.starts_with(theirs),
        (StringMatch::Regex(theirs), Path::Exact(ours)) => {
            theirs == ".*" || Expression::new(theirs.clone()).is_match(ours.as_bytes())
        }
        (StringMatch::Regex(theirs), Path::Regex(ours)) => theirs == ours.as_str(),
        (StringMatch::Regex(theirs), _) => theirs == ".*",
        _ => false,
    }
}

fn all_written(theirs: &Map<String, Value>, ours: &[(String, Pattern)]) -> bool {
    theirs.iter().all(|(name, value)| {
        ours.iter().any(|(our_name, pattern)| {
            our_name.eq_ignore_ascii_case(name)
                && match pattern {
                    Pattern::Exact(text) => value["exact"] == text.as_str(),
                    Pattern::Regex(expression) => value["regex"] == expression.as_str(),
                }
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::takes;
    use crate::model::{Match, Path, Pattern};

    fn ours(path: Path) -> Match {
        Match {
            path,
            headers: vec![("x-tenant".to_owned(), Pattern::Exact("acme".to_owned()))],
            query: Vec::new(),
            subprotocols: Vec::new(),
        }
    }

    #[test]
    fn takes_what_it_certainly_takes() {
        let prefix = || ours(Path::Prefix("/ws/rooms".to_owned()));
        for (theirs, taken) in [
            (json!({"uri": {"prefix": "/ws"}}), true),
            (json!({"uri": {"prefix": "/w"}}), true),
            (json!({"uri": {"prefix": "/ws/rooms/"}}), false),
            (json!({"uri": {"exact": "/ws/rooms"}}), false),
            (
                json!({"uri": {"prefix": "/ws"}, "headers": {"x-tenant": {"exact": "acme"}}}),
                true,
            ),
            (
                json!({"uri": {"prefix": "/ws"}, "headers": {"x-tenant": {"exact": "other"}}}),
                false,
            ),
            (
                json!({"uri": {"prefix": "/ws"}, "headers": {"cookie": {"regex": ".*"}}}),
                false,
            ),
            (
                json!({"uri": {"prefix": "/ws"}, "method": {"exact": "POST"}}),
                false,
            ),
            // Moved to the end, behind ours.
            (json!({"uri": {"prefix": "/"}}), false),
            (json!({}), false),
            (
                json!({"uri": {"prefix": "/"}, "headers": {"x-tenant": {"exact": "acme"}}}),
                true,
            ),
        ] {
            let read = serde_json::from_value(theirs.clone()).unwrap();
            assert_eq!(takes(&read, &prefix()), taken, "{theirs}");
        }
        let exact = ours(Path::Exact("/ws".to_owned()));
        assert!(takes(
            &serde_json::from_value(json!({"uri": {"regex": "/w."}})).unwrap(),
            &exact
        ));
        assert!(!takes(
            &serde_json::from_value(json!({"uri": {"regex": "/w"}})).unwrap(),
            &exact
        ));
    }
}
