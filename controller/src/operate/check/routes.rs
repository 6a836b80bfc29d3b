//! The routes: what the controller says of each, and whether their pods last for their drains.

use std::collections::BTreeMap;

use super::{Check, Scene};
use crate::operate::routes::{self, Route};

const CATEGORY: &str = "routes";

pub(super) async fn check(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = match routes::list(scene.connection, None).await {
        Ok(routes) => standing(&routes),
        Err(why) => vec![Check::warning(
            CATEGORY,
            format!("routes cannot be looked at: {why}"),
            "",
        )],
    };
    if let Ok(Some(validated)) = &scene.validated {
        let truncated = validated.routes.iter().filter_map(|report| {
            let why = &report.truncated.first()?.why;
            Some((report.name.to_string(), why.as_str()))
        });
        checks.push(drains(&truncated.collect::<Vec<_>>()));
    }
    checks
}

/// A line for all that are ready, and one for each reason why others are not.
fn standing(routes: &[Route]) -> Vec<Check> {
    let mut unready = BTreeMap::<_, Vec<_>>::new();
    for route in routes.iter().filter(|route| !route.is_ready()) {
        let [_, summary, message] = route.ready();
        // The summary of all parents begins with the reason of the one that is worst.
        let (reason, message) = match message.split_once(": ") {
            Some((reason, rest)) if !reason.contains(' ') => (reason.to_owned(), rest.to_owned()),
            _ => (summary, message),
        };
        let name = format!("{}/{}", route.namespace, route.name);
        unready.entry(reason).or_default().push((name, message));
    }
    if unready.is_empty() {
        return vec![Check::ok(
            CATEGORY,
            format!("all of {} routes are ready", routes.len()),
        )];
    }
    let line = |(reason, those): (&String, &Vec<(String, String)>)| {
        let what = match &those[..] {
            [(name, message)] => format!("{name} is not ready, {reason}: {message}"),
            several => {
                let (name, message) = several.first().cloned().unwrap_or_default();
                format!(
                    "{} of {} routes are not ready, {reason}; {name} for one: {message}",
                    several.len(),
                    routes.len()
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
    use super::super::Verdict;
    use super::{Route, drains, standing};
    use serde_json::json;

    fn route(name: &str, status: &str, message: &str) -> Route {
        Route {
            namespace: "shop".into(),
            name: name.into(),
            generation: 1,
            spec: json!({}),
            status: json!({"observedGeneration": 1, "conditions": [
                {"type": "Ready", "status": status, "reason": "NotReady", "message": message},
            ]}),
        }
    }

    #[test]
    fn routes_that_are_not_ready_are_a_line_a_reason() {
        let ready = route("a", "True", "all is well");
        assert_eq!(
            standing(std::slice::from_ref(&ready))[0].what,
            "all of 1 routes are ready"
        );
        let hidden = "DestinationRuleHidden: spec.rules[0]: DestinationRule x/y hides it";
        let checks = standing(&[
            ready,
            route("b", "False", "NotOwned: it is another's"),
            route("c", "False", "NotOwned: it is another's too"),
            route("d", "False", hidden),
            route("e", "Unknown", "no controller has said anything of it"),
        ]);
        let said: Vec<_> = checks
            .iter()
            .map(|check| (check.verdict, check.what.as_str()))
            .collect();
        assert_eq!(
            said,
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
