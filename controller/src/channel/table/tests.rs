use super::{CHANGES, Scope, Snapshot, Table};
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::{Backend, Draining, Pod};

fn backends(names: &[&str]) -> Snapshot {
    Snapshot {
        backends: names
            .iter()
            .map(|name| ((*name).to_owned(), Backend::default()))
            .collect(),
        ..Snapshot::default()
    }
}

#[test]
fn nothing_is_said_before_the_first_snapshot() {
    assert_eq!(Table::new("e".into(), "s".into()).since(None), None);
}

#[test]
fn a_new_proxy_gets_everything_and_then_nothing() {
    let mut table = Table::new("e".into(), "s".into());
    table.publish(backends(&["a", "b"]));
    let update = table.since(None).unwrap();
    assert!(update.full);
    assert_eq!(update.seed, "s");
    assert_eq!(update.backends.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(table.since(Some(&update.version)), None);
}

#[test]
fn an_empty_first_snapshot_is_an_answer() {
    let mut table = Table::new("e".into(), "s".into());
    table.publish(Snapshot::default());
    assert!(table.since(None).unwrap().full);
}

#[test]
fn equal_snapshots_are_one_version() {
    let mut table = Table::new("e".into(), "s".into());
    assert_eq!(table.publish(backends(&["a"])), 1);
    assert_eq!(table.publish(backends(&["a"])), 1);
}

#[test]
fn an_older_proxy_gets_the_difference() {
    let mut table = Table::new("e".into(), "s".into());
    table.publish(backends(&["a", "b"]));
    let mut next = backends(&["a", "c"]);
    next.backends.get_mut("a").unwrap().pods.push(Pod {
        name: "p".into(),
        uid: String::new(),
        address: "127.0.0.1:1".into(),
        steer: None,
        draining: None,
    });
    table.publish(next);
    let delta = table.since(Some("e:1")).unwrap();
    assert!(!delta.full);
    assert!(delta.version.starts_with("e:2:"), "{}", delta.version);
    assert_eq!(delta.backends["a"].as_ref().unwrap().pods.len(), 1);
    assert_eq!(delta.backends["b"], None);
    assert!(delta.backends["c"].is_some());
}

#[test]
fn a_version_of_another_life_counts_as_none() {
    let mut table = Table::new("e".into(), "s".into());
    table.publish(backends(&["a"]));
    for have in ["f:1", "e:2", "e:", "1", ""] {
        assert!(table.since(Some(have)).unwrap().full, "{have}");
    }
}

#[test]
fn a_version_of_another_controller_that_says_the_same_is_known() {
    let mut ours = Table::new("e".into(), "s".into());
    let mut theirs = Table::new("f".into(), "s".into());
    ours.publish(backends(&["a", "b"]));
    ours.publish(backends(&["a"]));
    theirs.publish(backends(&["a"]));
    let same = theirs.since(None).unwrap().version;
    assert_eq!((ours.number(&same), ours.since(Some(&same))), (Some(2), None));
    theirs.publish(backends(&["b", "a"]));
    let older = theirs.since(None).unwrap().version;
    let delta = ours.since(Some(&older)).unwrap();
    assert!(!delta.full && delta.backends["b"].is_none());
    theirs.publish(backends(&["c"]));
    assert_eq!(ours.number(&theirs.since(None).unwrap().version), None);
    let mut reseeded = Table::new("g".into(), "t".into());
    reseeded.publish(backends(&["a"]));
    assert_eq!(reseeded.number(&same), None, "another seed");
}

#[test]
fn a_drain_of_the_whole_proxy_is_a_new_version() {
    let mut table = Table::new("e".into(), "s".into());
    table.publish(backends(&["a"]));
    let mut next = backends(&["a"]);
    next.draining = Some(Draining {
        since_ms: 1,
        timeout_ms: 2,
    });
    table.publish(next);
    let delta = table.since(Some("e:1")).unwrap();
    assert_eq!((delta.full, delta.backends.len()), (false, 0));
    assert_eq!(
        delta.draining,
        Some(Draining {
            since_ms: 1,
            timeout_ms: 2
        })
    );
}

#[test]
fn signing_keys_are_a_new_version_and_come_with_each() {
    let mut table = Table::new("e".into(), "s".into());
    let with = |signs| Snapshot {
        signing_keys: vec![SigningKey {
            secret: "ab".into(),
            signs,
        }],
        ..backends(&["a"])
    };
    table.publish(with(false));
    assert_eq!(table.publish(with(true)), 2);
    let delta = table.since(Some("e:1")).unwrap();
    assert_eq!((delta.full, delta.signing_keys), (false, with(true).signing_keys));
}

#[test]
fn a_part_says_nothing_of_the_rest_and_comes_to_the_same_as_all_at_once() {
    let (mut parts, mut whole) = (
        Table::new("e".into(), "s".into()),
        Table::new("f".into(), "s".into()),
    );
    parts.publish(backends(&["a", "b", "c"]));
    let scope = Scope {
        backends: ["b".to_owned(), "d".to_owned()].into(),
        ..Scope::default()
    };
    assert_eq!(parts.part(&scope), backends(&["b"]));
    assert_eq!(parts.publish_part(&scope, backends(&["d"])), 2);
    assert_eq!(parts.publish_part(&scope, backends(&["d"])), 2);
    let delta = parts.since(Some("e:1")).unwrap();
    assert_eq!(delta.backends.keys().collect::<Vec<_>>(), ["b", "d"]);
    whole.publish(backends(&["a", "c", "d"]));
    let same = whole.since(None).unwrap().version;
    assert_eq!((parts.number(&same), parts.since(Some(&same))), (Some(2), None));
}

#[test]
fn forgotten_removals_become_a_full_answer() {
    let mut table = Table::new("e".into(), "s".into());
    for i in 0..=CHANGES {
        table.publish(backends(&["a", &format!("b{i}")]));
    }
    let update = table.since(Some("e:1")).unwrap();
    assert!(update.full);
    assert_eq!(update.backends.len(), 2);
    assert!(update.backends.values().all(Option::is_some));
}
