use clew_crds::status::WebSocketRouteStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::json;

use super::{Applied, Progress, status};
use crate::fixture::{Manifests, good};
use crate::model::ObjectName;
use crate::objects::{ParentKind, PodEnd};
use crate::validate::{Target, Unsupported, validate};

fn said(
    manifests: &Manifests,
    progress: Progress,
    before: Option<&WebSocketRouteStatus>,
    now: i64,
) -> WebSocketRouteStatus {
    let validated = validate(&manifests.objects(), Target::Standalone);
    status(&validated.routes[0], |_| progress.clone(), before, &time(now))
}

/// Seconds since the Unix epoch, read as the API reads a time.
fn time(seconds: i64) -> Time {
    let text = format!("1970-01-01T00:{:02}:{:02}Z", seconds / 60, seconds % 60);
    serde_json::from_value(json!(text)).unwrap()
}

fn find<'s>(status: &'s WebSocketRouteStatus, kind: &str) -> Option<&'s Condition> {
    let conditions = status.conditions.iter().chain(&status.parents[0].conditions);
    conditions.into_iter().find(|condition| condition.type_ == kind)
}

fn short(status: &WebSocketRouteStatus, kind: &str) -> (String, String) {
    let condition = find(status, kind).unwrap();
    (condition.status.clone(), condition.reason.clone())
}

#[test]
fn programmed_says_how_many_proxies_have_it() {
    let applied = |acknowledged, connected| {
        Progress::Applied(Applied {
            acknowledged,
            connected,
        })
    };
    for (progress, programmed, ready) in [
        (Progress::Prepared, ("Unknown", "Pending"), ("Unknown", "Pending")),
        (applied(0, 0), ("Unknown", "Pending"), ("Unknown", "Pending")),
        (applied(2, 3), ("False", "ProxiesBehind"), ("False", "NotReady")),
        (applied(3, 3), ("True", "Programmed"), ("True", "Ready")),
        (
            Progress::Failed("no".to_owned()),
            ("False", "ApplyFailed"),
            ("False", "NotReady"),
        ),
    ] {
        let status = said(&good(), progress.clone(), None, 0);
        let owned = |(a, b): (&str, &str)| (a.to_owned(), b.to_owned());
        assert_eq!(short(&status, "Programmed"), owned(programmed), "{progress:?}");
        assert_eq!(short(&status, "Ready"), owned(ready), "{progress:?}");
    }
    let behind = said(&good(), applied(2, 3), None, 0);
    assert_eq!(find(&behind, "Programmed").unwrap().message, "2 of 3 proxies");
}

#[test]
fn while_the_parents_kind_is_not_installed_nothing_is_decided() {
    let mut manifests = good();
    manifests.gateways.clear();
    manifests.unknown_parents.push(ParentKind::Gateway);
    let status = said(&manifests, Progress::Prepared, None, 0);
    for kind in ["Accepted", "Programmed", "Ready"] {
        let undecided = ("Unknown".to_owned(), "Pending".to_owned());
        assert_eq!(short(&status, kind), undecided, "{kind}");
    }
    let message = &find(&status, "Accepted").unwrap().message;
    assert!(
        message.contains("gateway.networking.k8s.io") && message.contains("install"),
        "{message}"
    );
}

#[test]
fn a_time_moves_only_with_its_condition() {
    let first = said(&good(), Progress::Prepared, None, 10);
    let second = said(
        &good(),
        Progress::Applied(Applied {
            acknowledged: 1,
            connected: 1,
        }),
        Some(&first),
        20,
    );
    let third = said(
        &good(),
        Progress::Applied(Applied {
            acknowledged: 2,
            connected: 2,
        }),
        Some(&second),
        30,
    );
    let since = |kind: &str| find(&third, kind).unwrap().last_transition_time.clone();
    assert_eq!(since("Accepted"), time(10));
    assert_eq!(since("Programmed"), time(20));
    assert_eq!(since("Ready"), time(20));
}

#[test]
fn what_is_ignored_is_said_and_spoils_nothing() {
    let mut report = validate(&good().objects(), Target::Standalone).routes.remove(0);
    report.parents[0].unsupported.push(Unsupported {
        field: "spec.rules[0].limits.maxMessageSize".to_owned(),
        why: "messages of every size pass".to_owned(),
    });
    let progress = Progress::Applied(Applied {
        acknowledged: 1,
        connected: 1,
    });
    let status = status(&report, |_| progress.clone(), None, &time(0));
    assert_eq!(
        short(&status, "PartiallySupported"),
        ("True".to_owned(), "FieldsIgnored".to_owned())
    );
    assert!(
        find(&status, "PartiallySupported")
            .unwrap()
            .message
            .starts_with("spec.rules[0].limits.maxMessageSize: ")
    );
    assert_eq!(short(&status, "Ready").0, "True");
}

#[test]
fn a_message_is_never_longer_than_the_api_takes() {
    let mut manifests = good();
    let many: Vec<_> = (0..2000)
        .map(|n| json!({"name": format!("é-gone-{n}"), "port": 8080}))
        .collect();
    Manifests::set(&mut manifests.routes, "/spec/rules/0/backendRefs", json!(many));
    let status = said(&manifests, Progress::Prepared, None, 0);
    let length = find(&status, "ResolvedRefs").unwrap().message.len();
    assert!((32_000..=32_768).contains(&length), "{length}");
}

#[test]
fn a_drain_that_the_pods_do_not_last_for_is_named() {
    let mut objects = good().objects();
    let mut said = |sleep_seconds, grace_seconds| {
        let end = PodEnd {
            sleep_seconds,
            grace_seconds,
        };
        objects.pods = [(ObjectName::new("shop", "chat-2"), end)].into();
        let validated = validate(&objects, Target::Standalone);
        let status = status(&validated.routes[0], |_| Progress::Prepared, None, &time(0));
        find(&status, "PartiallySupported").cloned()
    };
    let condition = said(0, 30).unwrap();
    assert_eq!(condition.reason, "DrainTruncated");
    assert!(
        condition.message.starts_with(
            "spec.rules[0].drain.timeout: the drain takes 60 s, and pod shop/chat-2 is told to end after 0 s"
        ),
        "{}",
        condition.message
    );
    assert!(
        condition.message.ends_with("terminationGracePeriodSeconds: 75"),
        "{}",
        condition.message
    );
    assert_eq!(said(60, 75), None);
}
