use std::cell::RefCell;
use std::collections::HashMap;

use clew_filter_config::channel::{News, Update};
use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::{Backend, Draining, Pod, Rule};

use super::World;
use crate::store::{self, Index, Names};

const RULE: &str = "0000000001";

/// The process's table of shared entries, with a count of how often it is read.
#[derive(Default)]
struct Table {
    entries: HashMap<String, Vec<u8>>,
    reads: RefCell<usize>,
}

impl Table {
    fn store(&mut self, update: Update) {
        let names = Names::new("g");
        let index = self
            .entries
            .get(&names.index())
            .and_then(|bytes| store::parse::<Index>(bytes));
        let json = serde_json::to_vec(&update).unwrap();
        for write in store::writes(&names, News::parse(&json).unwrap(), index.unwrap_or_default()) {
            self.entries.insert(write.name, write.bytes);
        }
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        *self.reads.borrow_mut() += 1;
        self.entries.get(name).cloned()
    }
}

fn rule(config: &str) -> Rule {
    let json = format!(
        r#"{{"config":"{config}","name":"shop/chat/rooms","backends":[{{"id":"b","weight":1}}],
            "drain":{{"timeoutMs":1,"closeCode":1012,"closeReason":""}}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

fn update(version: &str, rule: Option<Option<Rule>>) -> Update {
    Update {
        version: version.into(),
        seed: "00".repeat(16),
        rules: rule.into_iter().map(|rule| (RULE.into(), rule)).collect(),
        ..Update::default()
    }
}

fn pod(draining: bool) -> Backend {
    let draining = draining.then_some(Draining {
        since_ms: 1,
        timeout_ms: 2,
    });
    let pod = Pod {
        name: "p".into(),
        uid: String::new(),
        address: "10.0.0.1:80".into(),
        steer: None,
        draining,
    };
    Backend { pods: vec![pod] }
}

fn config_of(world: &mut World, table: &Table, config: &str) -> Option<String> {
    let name = RouteName { rule: RULE, config };
    world
        .rule(name, |name| table.read(name))
        .map(|laid| laid.rule.config.clone())
}

#[test]
fn a_rule_is_found_from_the_moment_it_is_stored() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    assert_eq!(config_of(&mut world, &table, "0000000a"), None);
    assert_eq!(world.version(), None);
    table.store(update("v1", Some(Some(rule("0000000a")))));
    // No tick was needed.
    assert_eq!(
        config_of(&mut world, &table, "0000000a").as_deref(),
        Some("0000000a")
    );
    assert_eq!(world.version(), Some("v1"));
    // And once it is known, nothing is read.
    let reads = *table.reads.borrow();
    assert!(config_of(&mut world, &table, "0000000a").is_some());
    assert_eq!(*table.reads.borrow(), reads);
}

#[test]
fn an_older_configuration_serves_until_the_newer_one_is_there() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    table.store(update("v1", Some(Some(rule("0000000a")))));
    assert_eq!(
        config_of(&mut world, &table, "0000000b").as_deref(),
        Some("0000000a")
    );
    table.store(update("v2", Some(Some(rule("0000000b")))));
    assert_eq!(
        config_of(&mut world, &table, "0000000b").as_deref(),
        Some("0000000b")
    );
    // A route that is older than its rule is on its way out; the rule serves it as it is.
    assert_eq!(
        config_of(&mut world, &table, "0000000a").as_deref(),
        Some("0000000b")
    );
}

#[test]
fn a_tick_takes_over_changes_and_removals() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    table.store(update("v1", Some(Some(rule("0000000a")))));
    assert!(config_of(&mut world, &table, "0000000a").is_some());
    assert!(world.take_changed());
    world.refresh(|name| table.read(name));
    assert!(!world.take_changed());

    table.store(update("v2", Some(Some(rule("0000000b")))));
    world.refresh(|name| table.read(name));
    assert!(world.take_changed());
    assert_eq!(world.current(RULE).unwrap().rule.config, "0000000b");

    table.store(update("v3", Some(None)));
    world.refresh(|name| table.read(name));
    assert!(world.current(RULE).is_none());
    assert_eq!(config_of(&mut world, &table, "0000000b"), None);
}

#[test]
fn a_rule_that_this_module_cannot_read_stays_as_it_was() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    table.store(update("v1", Some(Some(rule("0000000a")))));
    assert!(config_of(&mut world, &table, "0000000a").is_some());
    table.store(update("v2", Some(Some(rule("0000000b")))));
    let newer =
        br#"{"config":"0000000b","name":"n","sessionKey":[{"type":"Tomorrow"}],"backends":[],"drain":{}}"#;
    table.entries.insert(Names::new("g").rule(RULE), newer.to_vec());
    world.refresh(|name| table.read(name));
    assert_eq!(world.version(), Some("v2"));
    assert_eq!(world.current(RULE).unwrap().rule.config, "0000000a");
    assert_eq!(
        config_of(&mut world, &table, "0000000b").as_deref(),
        Some("0000000a")
    );
}

#[test]
fn pods_that_drain_are_known_once_their_backend_was_needed() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    let backend = |version, backend| Update {
        backends: [("b".to_owned(), backend)].into(),
        ..update(version, None)
    };
    table.store(backend("v1", Some(pod(false))));
    world.refresh(|name| table.read(name));
    let eligible = |world: &mut World, table: &Table| {
        let backend = world.backend("b", |name| table.read(name));
        backend.unwrap().pods.eligible()
    };
    assert_eq!(eligible(&mut world, &table), 1);
    assert!(world.backend("other", |name| table.read(name)).is_none());
    assert_eq!(world.draining_pods().count(), 0);

    table.store(backend("v2", Some(pod(true))));
    world.refresh(|name| table.read(name));
    assert_eq!(eligible(&mut world, &table), 0);
    let draining: Vec<_> = world
        .draining_pods()
        .map(|(backend, pod, _)| (backend, pod.name.as_str()))
        .collect();
    assert_eq!(draining, [("b", "p")]);

    table.store(backend("v3", None));
    world.refresh(|name| table.read(name));
    assert!(world.backend("b", |name| table.read(name)).is_none());
}

#[test]
fn another_seed_is_another_placement() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    let pods: Vec<_> = (0..10)
        .map(|i| Pod {
            name: i.to_string(),
            ..pod(false).pods.remove(0)
        })
        .collect();
    let backend = Backend { pods };
    table.store(Update {
        backends: [("b".to_owned(), Some(backend))].into(),
        ..update("v1", None)
    });
    world.refresh(|name| table.read(name));
    let place = |world: &mut World, table: &Table| {
        let backend = world.backend("b", |name| table.read(name)).unwrap();
        let seed = world.seed().unwrap();
        (0..20)
            .map(|key: u8| backend.pods.by_key(seed.key(&[key])))
            .collect::<Vec<_>>()
    };
    let before = place(&mut world, &table);
    table.store(Update {
        seed: "01".repeat(16),
        ..update("v2", None)
    });
    world.refresh(|name| table.read(name));
    assert_ne!(place(&mut world, &table), before);
}

#[test]
fn a_head_that_cannot_be_read_changes_nothing() {
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    table.store(update("v1", Some(Some(rule("0000000a")))));
    assert!(config_of(&mut world, &table, "0000000a").is_some());
    for broken in [&b"{"[..], b"", br#"{"version":"v2","seed":"short"}"#] {
        table.entries.insert(Names::new("g").head(), broken.to_vec());
        world.refresh(|name| table.read(name));
        assert_eq!(world.version(), Some("v1"));
    }
}

#[test]
fn a_route_of_others_is_asked_for_once_until_the_table_changes() {
    const KEY: &str = "httproute/shop/chat/rooms";
    let mut table = Table::default();
    let mut world = World::new(Names::new("g"));
    let ask = |world: &mut World, table: &Table| {
        world.refresh(|name| table.read(name));
        let found = world.foreign(KEY, |name| table.read(name));
        found.map(|laid| laid.rule.config.clone())
    };
    assert_eq!(ask(&mut world, &table), None, "before the first update");
    let with = |version: &str, rule: Option<Rule>| Update {
        rules: [(KEY.into(), rule)].into(),
        ..update(version, None)
    };
    table.store(update("1", None));
    assert_eq!(ask(&mut world, &table), None);
    let before = *table.reads.borrow();
    assert_eq!(ask(&mut world, &table), None);
    assert_eq!(*table.reads.borrow(), before + 1, "of the head alone");
    table.store(with("2", Some(rule("a"))));
    assert_eq!(ask(&mut world, &table).as_deref(), Some("a"));
    table.store(with("3", Some(rule("b"))));
    assert_eq!(ask(&mut world, &table).as_deref(), Some("b"));
    table.store(with("4", None));
    assert_eq!(ask(&mut world, &table), None);
}
