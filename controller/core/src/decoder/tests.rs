use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::{TABLE_SIZE, Table, steer};

/// What `capture.py` wrote down: which host a real Envoy sent each value to.
#[derive(Deserialize)]
struct Captured {
    envoy: String,
    table_size: u32,
    hosts: Vec<String>,
    looked_up: BTreeMap<String, String>,
}

#[test]
fn agrees_with_envoy_on_every_look_up() {
    let captured: Vec<Captured> = serde_json::from_str(include_str!("captured.json")).unwrap();
    assert!(captured.len() >= 4);
    for case in captured {
        let table = Table::new(&case.hosts, case.table_size);
        assert!(case.looked_up.len() >= 400);
        for (value, host) in &case.looked_up {
            assert_eq!(
                table.host_of(value),
                Some(host.as_str()),
                "Envoy {} sent {value} elsewhere",
                case.envoy
            );
        }
        for (host, steer) in case.hosts.iter().zip(steer(&case.hosts, case.table_size)) {
            let value = steer.as_ref().unwrap_or(host);
            if let Some(seen) = case.looked_up.get(value) {
                assert_eq!(seen, host, "Envoy {} took {value} elsewhere", case.envoy);
            }
        }
    }
}

#[test]
fn a_host_whose_slot_is_taken_gets_another_value() {
    // Enough hosts that some pair wants one slot (the birthday paradox: about eight of a thousand).
    let hosts: Vec<_> = (0..1000)
        .map(|n| format!("10.0.{}.{}:8080", n / 250, n % 250 + 1))
        .collect();
    let steers = steer(&hosts, TABLE_SIZE);
    let table = Table::new(&hosts, TABLE_SIZE);
    let mut moved = 0;
    for (host, steer) in hosts.iter().zip(&steers) {
        if let Some(value) = steer {
            moved += 1;
            assert_ne!(table.host_of(host), Some(host.as_str()));
            assert_eq!(table.host_of(value), Some(host.as_str()));
        }
    }
    assert!((1..50).contains(&moved), "{moved}");
}

#[test]
fn no_hosts_no_answer() {
    assert_eq!(Table::new(&[], TABLE_SIZE).host_of("10.0.0.1:80"), None);
    assert!(steer(&[], TABLE_SIZE).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// A small prime makes collisions the rule, so the first round's argument is tried hard.
    #[test]
    fn every_host_is_reached_by_its_value(hosts in proptest::collection::btree_set(0_u16.., 1..60), size in proptest::sample::select(vec![61_u32, 127, 1009])) {
        let hosts: Vec<_> = hosts.into_iter().map(|n| format!("10.0.{}.{}:80", n >> 8, n & 255)).collect();
        let table = Table::new(&hosts, size);
        for (host, steer) in hosts.iter().zip(steer(&hosts, size)) {
            let value = steer.clone().unwrap_or_else(|| host.clone());
            prop_assert_eq!(table.host_of(&value), Some(host.as_str()));
            prop_assert_eq!(steer.is_none(), table.host_of(host) == Some(host.as_str()));
        }
    }
}
