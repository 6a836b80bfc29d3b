use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::model::{ObjectName, Owner};
use serde_json::{Value, json};

use super::{Cluster, Hindrance, Key, Step, Steps, Wanted};
use crate::cluster::kind::Kind;
use crate::cluster::seen::Live;
use crate::packed::Packed;

fn key(kind: Kind, name: &str) -> Key {
    (kind, ObjectName::new("shop", name))
}

fn wanted(kind: Kind, name: &str, spec: Value) -> Wanted {
    Wanted {
        key: key(kind, name),
        object: Packed::of(&json!({"metadata": {"name": name}, "spec": spec})),
        routes: [Owner::route(ObjectName::new("shop", "chat"))].into(),
    }
}

fn live(objects: &[(Kind, &str, Value, bool)]) -> Cluster {
    let of = |(kind, name, spec, ours): &(Kind, &str, Value, bool)| {
        let live = Live::new(&json!({"metadata": {"name": name}, "spec": spec}), *ours, *ours);
        (key(*kind, name), (format!("uid-{name}"), Arc::new(live)))
    };
    objects.iter().map(of).collect()
}

fn steps(wanted: &[Wanted], cluster: &Cluster, settled: bool) -> Steps {
    Steps::new(wanted, cluster, &BTreeSet::new(), settled)
}

const RULE: Kind = Kind::DestinationRule;
const ROUTE: Kind = Kind::VirtualService;

#[test]
fn there_is_nothing_to_do_where_all_is_as_it_is_to_be() {
    let all = [
        wanted(RULE, "a", json!({"subsets": [{"name": "clew"}]})),
        wanted(ROUTE, "r", json!({"hosts": ["a"]})),
    ];
    let cluster = live(&[
        (RULE, "a", json!({"subsets": [{"name": "clew"}]}), true),
        (ROUTE, "r", json!({"hosts": ["a"]}), true),
        (ROUTE, "theirs", json!({"hosts": ["b"]}), false),
    ]);
    let steps = steps(&all, &cluster, true);
    assert!(steps.is_done() && steps.hindered.is_empty(), "{steps:?}");
}

#[test]
fn what_routes_need_comes_before_them() {
    let all = [wanted(ROUTE, "r", json!({})), wanted(RULE, "a", json!({}))];
    let steps = steps(&all, &Cluster::new(), true);
    assert!(
        matches!(&steps.needs[..], [Step::Create((RULE, _), _)]),
        "{steps:?}"
    );
    assert!(matches!(&steps.routes[..], [Step::Create((ROUTE, _), _)]));
    assert!(steps.waits);
}

#[test]
fn no_route_waits_for_what_only_does_not_say_whose_it_is() {
    let object = |owners: &[&str], host: &str| {
        let owners: Vec<_> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        json!({"metadata": {"name": "a", "ownerReferences": owners}, "spec": {"host": host}})
    };
    let live = Live::new(&object(&["a", "b"], "a"), true, true);
    let cluster = Cluster::from([(key(RULE, "a"), ("uid-a".to_owned(), Arc::new(live)))]);
    let steps = |owners: &[&str], host: &str| {
        let object = Packed::of(&object(owners, host));
        let wanted = wanted(RULE, "a", Value::Null);
        steps(&[Wanted { object, ..wanted }], &cluster, true)
    };
    let same = steps(&["b", "c"], "a");
    assert!(same.needs.is_empty() && !same.is_done(), "{same:?}");
    assert!(
        matches!(&same.owners[..], [Step::Change((RULE, _), ..)]),
        "{same:?}"
    );
    assert!(same.unwritten().any(|one| *one == key(RULE, "a")));
    let waits = [
        steps(&["b", "c"], "another host"),
        // Nobody keeps it from being collected as garbage.
        steps(&["c"], "a"),
    ];
    for steps in waits {
        assert!(steps.owners.is_empty(), "{steps:?}");
        assert!(
            matches!(&steps.needs[..], [Step::Change((RULE, _), ..)]),
            "{steps:?}"
        );
    }
}

#[test]
fn what_is_said_in_an_annotation_is_waited_for() {
    let object = |seen: &str, owners: Value| {
        let annotations = json!({"networking.istio.io/exportTo": seen});
        json!({"metadata": {"name": "a", "annotations": annotations, "ownerReferences": owners}, "spec": {}})
    };
    let a = json!([{"uid": "a"}]);
    let live = Live::new(&object("one", a.clone()), true, true);
    let cluster = Cluster::from([(key(Kind::Service, "a"), ("uid-a".to_owned(), Arc::new(live)))]);
    let wanted = Wanted {
        object: Packed::of(&object("one,two", a)),
        ..wanted(Kind::Service, "a", Value::Null)
    };
    let steps = steps(&[wanted], &cluster, true);
    assert!(steps.owners.is_empty() && steps.needs.len() == 1, "{steps:?}");
}

#[test]
fn what_is_replaced_stays_until_what_replaces_it_is_there() {
    let of = |uid: &str| json!({"metadata": {"name": "x", "ownerReferences": [{"uid": uid}]}, "spec": {}});
    let there = |name: &str, uid: &str| {
        let live = Arc::new(Live::new(&of(uid), true, true));
        (
            key(Kind::BackendTrafficPolicy, name),
            (format!("uid-{name}"), live),
        )
    };
    let wanted = [Wanted {
        object: Packed::of(&of("a")),
        ..wanted(Kind::BackendTrafficPolicy, "new", Value::Null)
    }];
    let gone = |cluster: &Cluster| {
        let steps = steps(&wanted, cluster, true);
        let gone: Vec<_> = steps
            .leftovers
            .iter()
            .map(|step| step.key().1.name.clone())
            .collect();
        (steps.needs.len(), gone, steps.waits)
    };
    let mut cluster = Cluster::from([there("old", "a"), there("another", "b")]);
    assert_eq!(gone(&cluster), (1, vec!["another".into()], true));
    cluster.extend([there("new", "a")]);
    let both = ["another", "old"].map(Into::into);
    assert_eq!(gone(&cluster), (0, both.to_vec(), false));
}

#[test]
fn what_no_route_needs_goes_when_the_routes_that_did_are_long_gone() {
    let cluster = live(&[(RULE, "a", json!({}), true), (ROUTE, "r", json!({}), true)]);
    let first = steps(&[], &cluster, true);
    assert_eq!(first.routes, [Step::Delete(key(ROUTE, "r"), "uid-r".into())]);
    assert!(first.leftovers.is_empty() && first.waits);
    let cluster = live(&[(RULE, "a", json!({}), true)]);
    let early = steps(&[], &cluster, false);
    assert!(early.leftovers.is_empty() && early.waits);
    let late = steps(&[], &cluster, true);
    assert_eq!(late.leftovers, [Step::Delete(key(RULE, "a"), "uid-a".into())]);
    assert!(!late.waits);
}

#[test]
fn a_subset_stays_until_no_proxy_sends_anybody_there() {
    let all = [
        wanted(RULE, "a", json!({"subsets": [{"name": "new"}]})),
        wanted(ROUTE, "r", json!({"to": "new"})),
    ];
    let rule = |subsets: Value| (RULE, "a", json!({"subsets": subsets}), true);
    let route = |to: &str| (ROUTE, "r", json!({"to": to}), true);
    let written = |steps: &Steps| match &steps.needs[..] {
        [Step::Change(_, _, object)] => object.value()["spec"]["subsets"].clone(),
        other => panic!("{other:?}"),
    };
    let (old, new) = (json!({"name": "old"}), json!({"name": "new"}));
    let begin = steps(&all, &live(&[rule(json!([old])), route("old")]), true);
    assert_eq!(written(&begin), json!([new, old]));
    assert_eq!(begin.routes.len(), 1);
    let between = steps(&all, &live(&[rule(json!([new, old])), route("new")]), false);
    assert!(
        between.needs.is_empty() && between.routes.is_empty() && between.waits,
        "{between:?}"
    );
    let end = steps(&all, &live(&[rule(json!([new, old])), route("new")]), true);
    assert_eq!(written(&end), json!([new]));
}

#[test]
fn what_is_somebody_elses_is_left_alone_and_routes_that_need_it_are_not_written() {
    let all = [wanted(RULE, "a", json!({"x": 1})), wanted(ROUTE, "r", json!({}))];
    let steps = steps(&all, &live(&[(RULE, "a", json!({}), false)]), true);
    assert_eq!(
        steps.hindered,
        BTreeMap::from([(key(RULE, "a"), Hindrance::NotOwned)])
    );
    assert!(steps.needs.is_empty() && steps.routes.is_empty());
}

#[test]
fn an_object_with_our_label_is_adopted_and_one_that_we_did_not_write_is_not_pruned() {
    let mut cluster = live(&[(RULE, "a", json!({}), true), (RULE, "b", json!({}), true)]);
    for (_, live) in cluster.values_mut() {
        Arc::get_mut(live).unwrap().is_written = false;
    }
    let steps = steps(&[wanted(RULE, "a", json!({"x": 1}))], &cluster, true);
    assert!(matches!(&steps.needs[..], [Step::Change(..)]) && steps.leftovers.is_empty());
}

#[test]
fn a_kind_that_is_not_installed_hinders() {
    let missing = [ROUTE].into();
    let steps = Steps::new(&[wanted(ROUTE, "r", json!({}))], &Cluster::new(), &missing, true);
    assert_eq!(steps.hindered[&key(ROUTE, "r")], Hindrance::TargetMissing);
    assert!(steps.is_done());
}

/// An HTTPRoute of a WebSocketRoute, wanted and as it is in the cluster.
fn http_route(name: &str, owner: &str, weight: u32) -> (Wanted, (Key, (String, Arc<Live>))) {
    let object = json!({
        "metadata": {"name": name, "ownerReferences": [{"uid": owner}]},
        "spec": {"rules": [{"backendRefs": [{"name": "pods", "weight": weight}]}]},
    });
    let live = Live::new(&object, true, true);
    let key = key(Kind::HttpRoute, name);
    let wanted = Wanted {
        object: Packed::of(&object),
        ..wanted(Kind::HttpRoute, name, json!({}))
    };
    (wanted, (key, (format!("uid-{name}"), Arc::new(live))))
}

#[test]
fn a_replaced_http_route_waits_for_its_own_successors_only() {
    let (_, old) = http_route("chat-old", "chat", 1);
    let (new, new_live) = http_route("chat-new", "chat", 1);
    let (other, _) = http_route("other", "other", 2);
    let (_, other_live) = http_route("other", "other", 1);
    let goes = |wanted: &[Wanted], cluster: &Cluster, settled| {
        let all = steps(wanted, cluster, settled).routes;
        all.contains(&Step::Delete(
            key(Kind::HttpRoute, "chat-old"),
            "uid-chat-old".into(),
        ))
    };
    let cluster: Cluster = [old.clone(), other_live.clone()].into();
    assert!(
        !goes(&[new.clone(), other.clone()], &cluster, true),
        "not written"
    );
    let cluster: Cluster = [old.clone(), new_live, other_live.clone()].into();
    assert!(
        !goes(&[new.clone(), other.clone()], &cluster, false),
        "not settled"
    );
    assert!(
        goes(&[new, other.clone()], &cluster, true),
        "an edit of another route"
    );
    let cluster: Cluster = [old, other_live].into();
    assert!(goes(&[other], &cluster, false), "nothing takes its place");
}
