use super::{EventType, ParentReport, RouteReport, kept, transition, truncation};
use clew_core::model::{ObjectName, OwnerKind, Parent};
use clew_core::objects::Source;
use clew_crds::status::WebSocketRouteStatus;
use serde_json::json;

fn says(programmed: &str, reason: &str, message: &str) -> WebSocketRouteStatus {
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({"parents": [{
        "parentRef": {"name": "edge"}, "controllerName": "clew.dev/controller",
        "conditions": [condition("Accepted", "True", "Accepted"), condition("Programmed", programmed, reason)],
    }]}))
    .unwrap()
}

/// The same text, of a route whose only parent is this one.
fn report(parent: &Parent, generation: i64) -> RouteReport {
    RouteReport {
        kind: OwnerKind::Route,
        name: ObjectName::new("shop", "chat"),
        source: Source::default(),
        generation: Some(generation),
        parents: vec![ParentReport {
            reference: serde_json::from_value(json!({"name": "edge"})).unwrap(),
            parent: Some(parent.clone()),
            in_force: true,
            unsupported: Vec::new(),
        }],
        refusals: Vec::new(),
        truncated: Vec::new(),
    }
}

#[test]
fn what_was_said_is_kept_of_this_very_text_and_only_where_it_held() {
    let edge = Parent::IstioGateway(ObjectName::new("infra", "edge"));
    let other = Parent::IstioGateway(ObjectName::new("infra", "other"));
    let said = |programmed: &str, generation: i64, controller: &str| {
        let mut status = says(programmed, "Programmed", "3 of 3 proxies");
        status.parents[0].controller_name = controller.to_owned();
        for condition in &mut status.parents[0].conditions {
            condition.observed_generation = Some(generation);
        }
        status
    };
    let ours = "clew.dev/controller";
    let good = said("True", 7, ours);
    let report = report(&edge, 7);
    assert_eq!(
        kept(&report, &edge, Some(&good)).as_deref(),
        Some("3 of 3 proxies")
    );
    assert_eq!(kept(&report, &edge, None), None, "nothing was said");
    assert_eq!(kept(&report, &other, Some(&good)), None, "not of this parent");
    for (why, before) in [
        ("another text", said("True", 6, ours)),
        ("it did not hold", said("False", 7, ours)),
        ("it was not known", said("Unknown", 7, ours)),
        ("somebody else said it", said("True", 7, "example.com/other")),
    ] {
        assert_eq!(kept(&report, &edge, Some(&before)), None, "{why}");
    }
}

#[test]
fn an_event_is_of_a_transition_and_of_no_other_change() {
    let pending = says("Unknown", "Pending", "no proxy is connected yet");
    let good = says("True", "Programmed", "1 of 1 proxies");
    let event = transition(None, &pending).unwrap();
    assert_eq!(
        (event.type_, event.reason.as_str()),
        (EventType::Normal, "Pending")
    );
    assert!(transition(Some(&pending), &good).is_some());
    assert!(transition(Some(&good), &says("True", "Programmed", "2 of 2 proxies")).is_none());
    let behind = transition(Some(&good), &says("False", "ProxiesBehind", "0 of 1 proxies")).unwrap();
    assert_eq!(behind.type_, EventType::Normal, "every edit is told first");
    let bad = transition(Some(&good), &says("False", "NotOwned", "rename it")).unwrap();
    assert_eq!(
        (bad.type_, bad.note.as_deref()),
        (EventType::Warning, Some("rename it"))
    );
}

#[test]
fn pods_that_end_too_soon_are_an_event_with_what_to_set() {
    let good = says("True", "Programmed", "1 of 1 proxies");
    let mut truncated = good.clone();
    let mut condition = truncated.parents[0].conditions[1].clone();
    condition.type_ = "PartiallySupported".to_owned();
    condition.reason = "DrainTruncated".to_owned();
    condition.message = "set preStop".to_owned();
    truncated.parents[0].conditions.push(condition);
    let event = truncation(Some(&good), &truncated).unwrap();
    assert_eq!(
        (event.type_, event.reason.as_str(), event.note.as_deref()),
        (EventType::Warning, "DrainTruncated", Some("set preStop"))
    );
    assert!(truncation(Some(&truncated), &truncated).is_none());
    assert!(truncation(None, &good).is_none());
}
