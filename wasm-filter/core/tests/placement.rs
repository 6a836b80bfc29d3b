//! Where keys go, that they stay there, and what moves them.

use std::collections::BTreeMap;

use clew_filter_config::rule::{Backend, Balancer, Draining, Pod, WeightedBackend};
use clew_filter_core::placement::{Choice, Draw, KeyHash, Pods, Policy, Seed, Shares, place};
use proptest::prelude::*;

fn seed() -> Seed {
    Seed::parse("000102030405060708090a0b0c0d0e0f").unwrap()
}

fn pod(name: impl ToString) -> Pod {
    Pod {
        name: name.to_string(),
        uid: String::new(),
        address: format!("{}.test:80", name.to_string()),
        steer: None,
        draining: None,
    }
}

fn draining(name: impl ToString) -> Pod {
    Pod {
        draining: Some(Draining {
            since_ms: 0,
            timeout_ms: 1,
        }),
        ..pod(name)
    }
}

fn pods(pods: impl IntoIterator<Item = Pod>) -> Pods {
    Pods::new(
        &seed(),
        Backend {
            pods: pods.into_iter().collect(),
        },
    )
}

fn numbered(n: usize) -> Pods {
    pods((0..n).map(|i| pod(format!("pod-{i}"))))
}

fn name(pods: &Pods, pod: Option<usize>) -> Option<&str> {
    Some(pods.get(pod?)?.name.as_str())
}

fn shares(weights: &[(&str, u32)]) -> Shares {
    let backends: Vec<_> = weights
        .iter()
        .map(|&(id, weight)| WeightedBackend {
            id: id.to_owned(),
            weight,
        })
        .collect();
    Shares::new(&seed(), &backends)
}

fn keys(n: usize) -> impl Iterator<Item = KeyHash> {
    let seed = seed();
    (0..n).map(move |i| seed.key(format!("key-{i}").as_bytes()))
}

/// Golden, from a second implementation: `golden/placement.py`. A difference moves live keys everywhere.
#[test]
fn keys_are_where_they_always_were() {
    let mut lines = 0;
    for line in include_str!("golden/placement.txt").lines() {
        let fields: Vec<_> = line.split('\t').collect();
        match fields[..] {
            ["key", key, hash] => assert_eq!(seed().key(key.as_bytes()).header(), hash, "{line}"),
            ["pod", n, key, expected] => {
                let pods = numbered(n.parse().unwrap());
                let pod = pods.by_key(seed().key(key.as_bytes()));
                assert_eq!(name(&pods, pod), Some(expected), "{line}");
            }
            ["backend", weights, key, expected] => {
                let weights: Vec<_> = weights
                    .split(' ')
                    .map(|share| share.split_once('=').unwrap())
                    .map(|(id, weight)| (id, weight.parse().unwrap()))
                    .collect();
                let backend = shares(&weights).choose(seed().key(key.as_bytes()), |_| true);
                assert_eq!(weights[backend.unwrap()].0, expected, "{line}");
            }
            _ => panic!("not a golden line: {line}"),
        }
        lines += 1;
    }
    assert_eq!(lines, 352);
}

proptest! {
    /// One of n leaves, or begins to drain: exactly its keys move. Read backwards: what joins moves only what it takes.
    #[test]
    fn only_the_keys_of_the_pod_that_leaves_move(
        names in prop::collection::btree_set("[a-z0-9.-]{1,12}", 2..40),
        leaves in any::<prop::sample::Index>(),
        drains: bool,
        keys in prop::collection::vec(any::<u64>(), 200),
    ) {
        let leaves = names.iter().nth(leaves.index(names.len())).unwrap();
        let before = pods(names.iter().map(pod));
        let after = if drains {
            pods(names.iter().map(|name| if name == leaves { draining(name) } else { pod(name) }))
        } else {
            pods(names.iter().filter(|name| *name != leaves).map(pod))
        };
        for key in keys.into_iter().map(KeyHash) {
            let (was, is) = (name(&before, before.by_key(key)), name(&after, after.by_key(key)));
            prop_assert_eq!(was != is, was == Some(leaves));
            prop_assert_ne!(is, Some(leaves.as_str()));
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(
        names in Just((0..30).map(|i| format!("pod-{i}")).collect::<Vec<_>>()).prop_shuffle(),
        key: u64,
    ) {
        let (shuffled, sorted) = (pods(names.iter().map(pod)), numbered(30));
        let key = KeyHash(key);
        prop_assert_eq!(name(&shuffled, shuffled.by_key(key)), name(&sorted, sorted.by_key(key)));
    }

    /// More weight for one takes keys from the others and moves none between them; less gives back.
    #[test]
    fn a_weight_moves_keys_one_way(
        weights in prop::collection::vec(0_u32..=1_000_000, 2..6),
        which in any::<prop::sample::Index>(),
        more in 1_u32..=1_000_000,
        keys in prop::collection::vec(any::<u64>(), 100),
    ) {
        let which = which.index(weights.len());
        let ids = ["a/a:1", "a/b:1", "a/c:1", "a/d:1", "a/e:1"];
        let table = |weights: &[u32]| {
            shares(&ids.into_iter().zip(weights.iter().copied()).collect::<Vec<_>>())
        };
        let mut raised = weights.clone();
        raised[which] += more;
        let (before, after) = (table(&weights), table(&raised));
        for key in keys.into_iter().map(KeyHash) {
            let (was, is) = (before.choose(key, |_| true), after.choose(key, |_| true));
            prop_assert!(was == is || is == Some(which), "{was:?} -> {is:?}");
            prop_assert!(was.is_none_or(|was| weights[was] > 0));
        }
    }

    /// It is the first in the order of preference that is below the bound, and there always is one.
    #[test]
    fn bounded_load_takes_the_best_below_the_bound(
        loads in prop::collection::vec(0_u64..50, 1..20),
        percent in 0_u32..300,
        key: u64,
    ) {
        let key = KeyHash(key);
        let n = loads.len() as u64;
        let bound = (u64::from(percent.max(100)) * (loads.iter().sum::<u64>() + 1)).div_ceil(100 * n);
        let mut left: Vec<_> = (0..loads.len()).map(|i| format!("pod-{i:02}")).collect();
        let all = pods(left.iter().map(pod));
        let expected = loop {
            let rest = pods(left.iter().map(pod));
            let best = name(&rest, rest.by_key(key)).expect("one is below the bound").to_owned();
            let index: usize = best["pod-".len()..].parse().unwrap();
            if loads[index] < bound {
                break index;
            }
            left.retain(|name| *name != best);
        };
        prop_assert_eq!(all.by_key_bounded(key, percent, |pod| loads[pod]), Some(expected));
    }

    #[test]
    fn two_different_pods_are_drawn_and_the_emptier_wins(n in 1_usize..50, random: u64) {
        let pods = numbered(n);
        let first = pods.fewest_of_two(random, |_| 7).unwrap();
        let other = pods.fewest_of_two(random, |pod| u64::from(pod == first)).unwrap();
        prop_assert_eq!(first == other, n == 1);
    }
}

/// Chi-squared of counts against shares; its mean is the degrees of freedom, its variance twice that.
fn chance(counts: &[u64], shares: &[f64]) -> bool {
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    let whole: f64 = shares.iter().sum();
    let chi: f64 = counts
        .iter()
        .zip(shares)
        .map(|(&count, share)| (count as f64 - total * share / whole).powi(2) / (total * share / whole))
        .sum();
    let freedom = counts.len() as f64 - 1.0;
    chi < freedom + 5.0 * (2.0 * freedom).sqrt()
}

#[test]
fn keys_spread_evenly() {
    for n in [2, 3, 5, 10, 30, 200] {
        let pods = numbered(n);
        let (mut by_key, mut by_two, mut by_chance) = (vec![0; n], vec![0; n], vec![0; n]);
        for key in keys(20_000) {
            by_key[pods.by_key(key).unwrap()] += 1;
            by_two[pods.fewest_of_two(key.0, |_| 0).unwrap()] += 1;
            by_chance[pods.at_random(key.0).unwrap()] += 1;
        }
        for counts in [by_key, by_two, by_chance] {
            assert!(chance(&counts, &vec![1.0; n]), "{counts:?}");
        }
    }
}

#[test]
fn weights_are_shares_and_a_change_moves_only_the_difference() {
    let of = |stable, canary| shares(&[("shop/chat:80", stable), ("shop/canary:80", canary)]);
    let (before, after) = (of(90, 10), of(80, 20));
    let (mut counts, mut moved, mut back) = ([0; 2], 0_u64, 0);
    let n = 20_000;
    for key in keys(n) {
        let (was, is) = (
            before.choose(key, |_| true).unwrap(),
            after.choose(key, |_| true).unwrap(),
        );
        counts[was] += 1;
        moved += u64::from((was, is) == (0, 1));
        back += u64::from((was, is) == (1, 0));
    }
    assert!(chance(&counts, &[90.0, 10.0]), "{counts:?}");
    assert!(chance(&[moved, n as u64 - moved], &[10.0, 90.0]), "{moved}");
    assert_eq!(back, 0);

    let uneven = shares(&[("a/a:1", 1), ("a/b:1", 0), ("a/c:1", 20), ("a/d:1", 400)]);
    let mut counts = [0; 4];
    for key in keys(100_000) {
        counts[uneven.choose(key, |_| true).unwrap()] += 1;
    }
    let [a, b, c, d] = counts;
    assert!(b == 0 && chance(&[a, c, d], &[1.0, 20.0, 400.0]), "{counts:?}");
}

/// A backend and a pod are drawn by the same hash; that must not show.
#[test]
fn the_pod_does_not_depend_on_the_backend() {
    let (shares, pods) = (shares(&[("a/a:1", 1), ("a/b:1", 1)]), numbered(5));
    let mut counts = vec![0; 10];
    for key in keys(20_000) {
        counts[shares.choose(key, |_| true).unwrap() * 5 + pods.by_key(key).unwrap()] += 1;
    }
    assert!(chance(&counts, &[1.0; 10]), "{counts:?}");
}

#[test]
fn bounded_load_holds_under_skewed_keys() {
    // Zipf with exponent 1.1: the first key alone has a sixth of all sessions.
    let (n, sessions) = (10, 20_000);
    let weights: Vec<f64> = (1..=5_000).map(|rank| f64::from(rank).powf(-1.1)).collect();
    let whole: f64 = weights.iter().sum();
    let pods = numbered(n);
    let (mut bounded, mut unbounded) = (vec![0_u64; n], vec![0_u64; n]);
    // Every key's sessions, dealt in turns so that the skew is there from the begin.
    for turn in 0..10 {
        for (rank, weight) in weights.iter().enumerate() {
            let all = (weight / whole * f64::from(sessions)).round() as u64;
            let key = seed().key(format!("key-{rank}").as_bytes());
            for _ in 0..all / 10 + u64::from(turn < all % 10) {
                let pod = pods.by_key_bounded(key, 125, |pod| bounded[pod]).unwrap();
                bounded[pod] += 1;
                unbounded[pods.by_key(key).unwrap()] += 1;
            }
        }
    }
    let worst =
        |counts: &[u64]| *counts.iter().max().unwrap() as f64 * n as f64 / counts.iter().sum::<u64>() as f64;
    assert!(worst(&bounded) <= 1.25 + 0.001, "{bounded:?}");
    assert!(worst(&unbounded) > 1.5, "the keys are not skewed: {unbounded:?}");
}

const BY_KEY: Policy = Policy {
    balancer: Balancer::ConsistentHash,
    bounded_load_percent: None,
};
const KEYED: Draw = Draw {
    key: Some(KeyHash(42)),
    random: 1 << 63 | 7,
};

#[test]
fn the_balancer_decides_how_a_pod_is_chosen() {
    let (shares, pods) = (shares(&[("a/a:1", 1)]), numbered(10));
    let mut sessions = [0; 10];
    let home = pods.by_key(KeyHash(42)).unwrap();
    sessions[home] = 100;
    let keyless = Draw { key: None, ..KEYED };
    let choose = |balancer, bounded_load_percent, draw| {
        let policy = Policy {
            balancer,
            bounded_load_percent,
        };
        match place(policy, &shares, draw, |_| Some(&pods), |_, pod| sessions[pod]) {
            Some(Choice::Pod { backend: 0, pod }) => pod,
            other => panic!("{other:?}"),
        }
    };
    let fewest = pods.fewest_of_two(KEYED.random, |pod| sessions[pod]).unwrap();
    let random = pods.at_random(KEYED.random).unwrap();
    assert!(home != fewest && home != random, "the draw shows no difference");

    assert_eq!(choose(Balancer::ConsistentHash, None, KEYED), home);
    assert_ne!(choose(Balancer::ConsistentHash, Some(125), KEYED), home);
    for (balancer, draw) in [
        (Balancer::ConsistentHash, keyless),
        (Balancer::LeastSessions, keyless),
        (Balancer::LeastSessions, KEYED),
    ] {
        assert_eq!(choose(balancer, Some(125), draw), fewest);
    }
    assert_eq!(choose(Balancer::Random, None, KEYED), random);
}

#[test]
fn a_backend_without_pods_is_passed_over_and_an_unknown_one_gets_the_hash() {
    let shares = shares(&[("a/a:1", 1), ("a/b:1", 1)]);
    let full = numbered(3);
    let empty = pods([draining("pod-0")]);
    let mut chosen = BTreeMap::new();
    for key in keys(100) {
        let draw = Draw {
            key: Some(key),
            random: 0,
        };
        let choose = |a, b| place(BY_KEY, &shares, draw, |i| [a, b][i], |_, _| 0);

        let pod = full.by_key(key).unwrap();
        assert_eq!(
            choose(Some(&full), Some(&empty)),
            Some(Choice::Pod { backend: 0, pod })
        );
        assert_eq!(
            choose(Some(&empty), Some(&full)),
            Some(Choice::Pod { backend: 1, pod })
        );
        assert_eq!(choose(Some(&empty), Some(&empty)), None);
        assert_eq!(
            choose(None, Some(&empty)),
            Some(Choice::Unlisted {
                backend: 0,
                hash: key
            })
        );
        if let Some(Choice::Pod { backend, .. } | Choice::Unlisted { backend, .. }) =
            choose(Some(&full), None)
        {
            *chosen.entry(backend).or_insert(0) += 1;
        }
    }
    assert!(chosen.values().all(|&count| count > 30), "{chosen:?}");
}

#[test]
fn pods_are_in_the_order_of_their_names_and_know_how_to_be_reached() {
    let steered = Pod {
        steer: Some("10.0.0.1:80#3".to_owned()),
        ..pod("b")
    };
    let table = pods([pod("c"), steered, draining("a")]);
    let names: Vec<_> = table.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((table.len(), table.eligible()), (3, 2));
    assert_eq!(table.steer(1), Some("10.0.0.1:80#3"));
    assert_eq!(table.steer(2), Some("c.test:80"));
    assert_eq!(table.steer(3), None);

    let none = pods([]);
    assert!(none.is_empty());
    assert_eq!(none.by_key(KeyHash(1)), None);
    assert_eq!(none.by_key_bounded(KeyHash(1), 125, |_| 0), None);
    assert_eq!(none.fewest_of_two(1, |_| 0), None);
    assert_eq!(none.at_random(1), None);
}
