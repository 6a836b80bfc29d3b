//! What proxies of some versions do not do, seen in the versions that are named here.

use std::fmt;
use std::str::FromStr;

use clew_crds::websocket_route::SessionPolicy;
use clew_crds::{WebSocketPolicy, WebSocketRoute};

use crate::validate::Unsupported;

/// Of Envoy, or of Istio: major, minor and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64, pub u64, pub u64);

/// What comes after the three numbers is read over.
impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u64>().map_err(|_| ())
        };
        let mut parts = text.splitn(3, '.').map(digits);
        let mut next = || parts.next().unwrap_or(Err(()));
        Ok(Self(next()?, next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Before it, weighted clusters ignore the hash.
const OLDEST: Version = Version(1, 36, 0);
/// What everything is tried with. From here on a session that says nothing can be sent a Close.
pub const PREFERRED: Version = Version(1, 40, 0);
/// These do not notice that pods come and go: their hash tables stay as they were built first.
const ENVOY_THAT_BUILDS_TABLES_ONCE: Version = Version(1, 38, 0);
const ISTIO_THAT_BUILDS_TABLES_ONCE: Version = Version(1, 30, 0);

/// What is wrong with this version of Envoy: as an error a reason to run another one, else a warning.
///
/// # Errors
/// When sessions do not find their pods with it.
pub fn judge(envoy: Version) -> Result<Option<String>, String> {
    if envoy < OLDEST {
        return Err(format!(
            "Envoy {envoy} is older than {OLDEST}, the oldest that clew can drive"
        ));
    }
    if envoy == ENVOY_THAT_BUILDS_TABLES_ONCE {
        return Err(format!(
            "Envoy {envoy} does not notice when backends come and go; take its next patch or {PREFERRED}"
        ));
    }
    Ok((envoy < PREFERRED).then(|| {
        format!("Envoy {envoy} cannot send a Close into an idle session: on a drain such sessions are reset at the deadline, and where they are idle for too long; {PREFERRED} can")
    }))
}

/// What is wrong with this version of Istio.
#[must_use]
pub fn judge_istio(istio: Version) -> Option<String> {
    (istio == ISTIO_THAT_BUILDS_TABLES_ONCE)
        .then(|| format!("Istio {istio} does not notice when backends come and go; take its next patch"))
}

/// Whether a route may ask for something that some of these proxies do not do.
#[must_use]
pub fn lack_something(envoys: &[Version], istios: &[Version]) -> bool {
    let lacks = |envoy: &Version| *envoy < PREFERRED || *envoy == ENVOY_THAT_BUILDS_TABLES_ONCE;
    envoys.iter().any(lacks) || istios.contains(&ISTIO_THAT_BUILDS_TABLES_ONCE)
}

/// What a route asks for and some of these proxies do not do.
#[must_use]
pub fn unsupported(route: &WebSocketRoute, envoys: &[Version], istios: &[Version]) -> Vec<Unsupported> {
    let rules = route.spec.rules.iter().enumerate();
    let rules = rules.map(|(i, rule)| (format!("spec.rules[{i}]"), "backendRefs", &rule.policy));
    of_rules(rules, envoys, istios)
}

/// The same, of a policy.
#[must_use]
pub fn unsupported_of(policy: &WebSocketPolicy, envoys: &[Version], istios: &[Version]) -> Vec<Unsupported> {
    let rule = ("spec".to_owned(), "targetRefs", &policy.spec.policy);
    of_rules([rule].into_iter(), envoys, istios)
}

fn of_rules<'r>(
    rules: impl Iterator<Item = (String, &'static str, &'r SessionPolicy)>,
    envoys: &[Version],
    istios: &[Version],
) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut add = |field: String, why: String| found.push(Unsupported { field, why });
    let oldest = envoys.iter().min().filter(|oldest| **oldest < PREFERRED);
    let too_old = oldest.filter(|oldest| **oldest < OLDEST).map(|oldest| {
        format!("a proxy runs Envoy {oldest}, older than {OLDEST}, the oldest that Clew can drive; run a later one")
    });
    let builds_once = |of: &str, versions: &[Version], once| {
        let is_there = versions.contains(&once);
        is_there.then(|| {
            format!(
                "a proxy runs {of} {once}, which goes on with the pods that it knew first, so that sessions go elsewhere once pods come or go; run a later one"
            )
        })
    };
    let once = builds_once("Envoy", envoys, ENVOY_THAT_BUILDS_TABLES_ONCE)
        .or_else(|| builds_once("Istio", istios, ISTIO_THAT_BUILDS_TABLES_ONCE));
    for (path, backends, policy) in rules {
        if let Some(oldest) = oldest {
            let why = format!(
                "a proxy runs Envoy {oldest}, and below {PREFERRED} a session that says nothing is reset instead of closed"
            );
            for (written, field) in [
                (true, "drain"),
                (!policy.timeouts.idle.is_zero(), "timeouts.idle"),
                (
                    !policy.timeouts.max_connection_duration.is_zero(),
                    "timeouts.maxConnectionDuration",
                ),
                (
                    policy.security.close_at_token_expiry,
                    "security.closeAtTokenExpiry",
                ),
            ] {
                if written {
                    add(format!("{path}.{field}"), why.clone());
                }
            }
        }
        for why in too_old.iter().chain(&once) {
            add(format!("{path}.{backends}"), why.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Version, judge, unsupported};
    use crate::fixture::{Manifests, good};
    use serde_json::json;

    #[test]
    fn a_version_is_three_numbers_and_whatever_comes_after() {
        for (text, version) in [
            ("1.40.0", Ok(Version(1, 40, 0))),
            ("1.31.1-dev+x", Ok(Version(1, 31, 1))),
            ("1.40", Err(())),
            ("unknown", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(text.parse(), version, "{text}");
        }
    }

    #[test]
    fn an_envoy_is_refused_warned_of_or_well() {
        assert_eq!(judge(Version(1, 40, 0)), Ok(None));
        assert_eq!(judge(Version(1, 41, 2)), Ok(None));
        assert!(judge(Version(1, 39, 1)).unwrap().is_some());
        assert!(judge(Version(1, 38, 0)).is_err());
        assert!(judge(Version(1, 35, 9)).is_err());
    }

    #[test]
    fn a_route_is_told_what_its_oldest_proxy_does_not_do() {
        let mut manifests = good();
        Manifests::set(
            &mut manifests.routes,
            "/spec/rules/0/timeouts",
            json!({"idle": "1h"}),
        );
        let route = manifests.objects().routes[0].object.clone();
        let fields = |envoys: &[Version], istios: &[Version]| -> Vec<String> {
            let found = unsupported(&route, envoys, istios);
            found.into_iter().map(|one| one.field).collect()
        };
        let (new, old) = (Version(1, 40, 0), Version(1, 39, 2));
        assert!(fields(&[], &[]).is_empty());
        assert!(fields(&[new, Version(1, 41, 3)], &[Version(1, 31, 0)]).is_empty());
        assert_eq!(
            fields(&[new, old], &[]),
            ["spec.rules[0].drain", "spec.rules[0].timeouts.idle"]
        );
        let once = ["spec.rules[0].backendRefs"];
        assert_eq!(fields(&[], &[Version(1, 30, 0)]), once);
        for envoy in [Version(1, 38, 0), Version(1, 35, 9)] {
            assert!(fields(&[envoy], &[]).contains(&once[0].to_owned()), "{envoy}");
        }
    }
}
