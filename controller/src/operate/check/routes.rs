//! The routes and the policies: what the controller says of each, and whether the pods of routes last for their drains.

use std::collections::BTreeMap;

use clew_core::model::OwnerKind;

use super::{Check, Scene};
use crate::failure::Failure;
use crate::operate::{Standing, policies, routes};

const CATEGORY: &str = "routes";

pub(super) async fn check(scene: &Scene<'_>) -> Vec<Check> {
    let routes = routes::list(scene.connection, scene.watched.as_deref()).await;
    let mut checks = looked_at("routes", routes, |routes| standing("routes", routes));
    let policies = policies::list(scene.connection, scene.watched.as_deref()).await;
    checks.extend(looked_at("policies", policies, |policies| match policies {
        // Whoever has none need not know that there could be.
        [] => Vec::new(),
        policies => standing("policies", policies),
    }));
    if let Ok(Some(validated)) = &scene.validated {
        let truncated = validated.routes.iter().filter_map(|report| {
            let why = &report.truncated.first()?.why;
            Some((report.name.to_string(), why.as_str()))
        });
        checks.push(drains(&truncated.collect::<Vec<_>>()));
    }
    checks
}

fn looked_at(
    those: &str,
    listed: Result<Vec<Standing>, Failure>,
    standing: impl FnOnce(&[Standing]) -> Vec<Check>,
) -> Vec<Check> {
    match listed {
        Ok(all) => standing(&all),
        Err(why) => vec![Check::warning(
            CATEGORY,
            format!("{those} cannot be looked at: {why}"),
            "",
        )],
    }
}

/// A line for all that are ready, and one for each reason why others are not.
fn standing(those: &str, all: &[Standing]) -> Vec<Check> {
    let mut unready = BTreeMap::<_, Vec<_>>::new();
    for one in all.iter().filter(|one| !one.is_ready()) {
        let (reason, message) = why(one);
        unready.entry(reason).or_default().push((named(one), message));
    }
    if unready.is_empty() {
        return vec![Check::ok(
            CATEGORY,
            match all {
                [] => format!("there are no {those}"),
                [one] => format!("{} is ready", named(one)),
                _ => format!("all {} {those} are ready", all.len()),
            },
        )];
    }
    let line = |(reason, unready): (&String, &Vec<(String, String)>)| {
        let what = match &unready[..] {
            [(name, message)] => format!("{name} is not ready, {reason}: {message}"),
            several => {
                let (name, message) = several.first().cloned().unwrap_or_default();
                format!(
                    "{} of {} {those} are not ready, {reason}; {name} for one: {message}",
                    several.len(),
                    all.len()
                )
            }
        };
        match reason.as_str() {
            "DestinationRuleHidden" => Check::failed(
                CATEGORY,
                what,
                "narrow the host of that DestinationRule, export it as it says, or move it to the Service's namespace",
            )
            .see("a-destinationrule-that-hides-ours"),
            _ => Check::failed(CATEGORY, what, "clew status -A").see("a-route-that-is-not-ready"),
        }
    };
    unready.iter().map(line).collect()
}

fn named(one: &Standing) -> String {
    match one.kind {
        OwnerKind::Route => one.called(),
        OwnerKind::Policy => format!("policy {}", one.called()),
    }
}

/// Why one is not ready, and more of that.
fn why(one: &Standing) -> (String, String) {
    let [_, reason, message] = one.ready();
    // The summary of all of a route's parents begins with the reason of the one that is worst.
    match (one.kind, message.split_once(": ")) {
        (OwnerKind::Route, Some((worst, rest))) if !worst.contains(' ') => {
            (worst.to_owned(), rest.to_owned())
        }
        _ => (reason, message),
    }
}

/// Of the routes whose pods end before their drain does.
fn drains(truncated: &[(String, &str)]) -> Check {
    let what = match truncated {
        [] => return Check::ok(CATEGORY, "the pods of every route last for its drain"),
        [(name, why)] => format!("{name}: {why}"),
        [(name, why), ..] => format!(
            "{} routes have pods that end before their drain, {name} for one: {why}",
            truncated.len()
        ),
    };
    Check::failed(
        CATEGORY,
        what,
        "set both on the pods' template, or shorten drain.timeout; until then a rollout cuts what is open",
    )
    .see("a-prestop-too-short-for-the-drain")
}

#[cfg(test)]
mod tests {
    use super::super::{Check, Verdict};
    use super::{OwnerKind, Standing, drains, standing};
    use serde_json::json;

    fn route(name: &str, status: &str, message: &str) -> Standing {
        Standing {
            kind: OwnerKind::Route,
            namespace: "shop".into(),
            name: name.into(),
            generation: 1,
            spec: json!({}),
            status: json!({"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": status, "reason": "NotReady", "message": message},
            ]}),
        }
    }

    fn policy(name: &str, status: &str, reason: &str) -> Standing {
        let condition = |kind: &str, status: &str, reason: &str| {
            json!({"type": kind, "status": status, "reason": reason,
                "message": "spec.targetRefs[0]: why", "observedGeneration": 1})
        };
        let conditions = [
            condition("Accepted", "True", "Accepted"),
            condition("ResolvedRefs", "True", "ResolvedRefs"),
            condition("Programmed", status, reason),
        ];
        Standing {
            kind: OwnerKind::Policy,
            status: json!({"ancestors": [{"ancestorRef": {"name": "edge"},
                "controllerName": "clew.dev/controller", "conditions": conditions}]}),
            ..route(name, "", "")
        }
    }

    fn said(checks: &[Check]) -> Vec<(Verdict, &str)> {
        checks
            .iter()
            .map(|check| (check.verdict, check.what.as_str()))
            .collect()
    }

    #[test]
    fn policies_that_are_not_ready_are_said_as_routes_are() {
        let ready = policy("a", "True", "Programmed");
        assert_eq!(
            said(&standing("policies", std::slice::from_ref(&ready))),
            [(Verdict::Ok, "policy shop/a is ready")]
        );
        let policies = [
            ready,
            policy("b", "False", "FilterNotInstalled"),
            policy("c", "False", "ProxiesBehind"),
            policy("d", "False", "ProxiesBehind"),
        ];
        assert_eq!(
            said(&standing("policies", &policies)),
            [
                (
                    Verdict::Failed,
                    "policy shop/b is not ready, FilterNotInstalled: spec.targetRefs[0]: why"
                ),
                (
                    Verdict::Failed,
                    "2 of 4 policies are not ready, ProxiesBehind; policy shop/c for one: spec.targetRefs[0]: why"
                ),
            ]
        );
    }

    #[test]
    fn routes_that_are_not_ready_are_a_line_a_reason() {
        let ready = route("a", "True", "all is well");
        for (routes, expected) in [
            (vec![], "there are no routes"),
            (vec![ready.clone()], "shop/a is ready"),
            (vec![ready.clone(), ready.clone()], "all 2 routes are ready"),
        ] {
            assert_eq!(said(&standing("routes", &routes)), [(Verdict::Ok, expected)]);
        }
        let hidden = "DestinationRuleHidden: spec.rules[0]: DestinationRule x/y hides it";
        let routes = [
            ready,
            route("b", "False", "NotOwned: it is another's"),
            route("c", "False", "NotOwned: it is another's too"),
            route("d", "False", hidden),
            route("e", "Unknown", "no controller has said anything of it"),
        ];
        let checks = standing("routes", &routes);
        assert_eq!(
            said(&checks),
            [
                (
                    Verdict::Failed,
                    "shop/d is not ready, DestinationRuleHidden: spec.rules[0]: DestinationRule x/y hides it"
                ),
                (
                    Verdict::Failed,
                    "2 of 5 routes are not ready, NotOwned; shop/b for one: it is another's"
                ),
                (
                    Verdict::Failed,
                    "shop/e is not ready, NotReady: no controller has said anything of it"
                ),
            ]
        );
        assert!(
            checks[0].hint.contains("narrow the host")
                && checks[0].docs.ends_with("#a-destinationrule-that-hides-ours")
        );
    }

    #[test]
    fn drains_that_pods_do_not_last_for_are_one_line() {
        assert_eq!(drains(&[]).verdict, Verdict::Ok);
        let short = ("shop/chat".to_owned(), "the drain takes 60 s");
        assert_eq!(
            drains(std::slice::from_ref(&short)).what,
            "shop/chat: the drain takes 60 s"
        );
        let several = drains(&[short.clone(), short]);
        assert_eq!(several.verdict, Verdict::Failed);
        assert!(several.what.starts_with("2 routes") && several.what.contains("shop/chat for one"));
    }
}
