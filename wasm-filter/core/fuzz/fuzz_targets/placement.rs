//! Any backend places any session where its promises allow.
#![no_main]

use arbitrary::Arbitrary;
use clew_filter_config::rule::{Backend, Balancer, Draining, Pod, WeightedBackend};
use clew_filter_core::placement::{Choice, Draw, KeyHash, Pods, Policy, Seed, Shares, place};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Name and address of each pod, whether it drains, and its sessions.
    pods: Vec<(String, u8, bool, u64)>,
    key: Vec<u8>,
    random: u64,
    percent: u32,
    weights: Vec<u32>,
}

fn layout<'a>(seed: &Seed, pods: impl Iterator<Item = &'a (String, u8, bool, u64)>) -> Pods {
    let pods = pods.map(|(name, address, drains, _)| Pod {
        name: name.clone(),
        uid: String::new(),
        address: address.to_string(),
        steer: None,
        draining: drains.then_some(Draining {
            since_ms: 0,
            timeout_ms: 0,
        }),
    });
    Pods::new(seed, Backend { pods: pods.collect() })
}

fuzz_target!(|input: Input| {
    let seed = Seed::new([7; 16]);
    let key = seed.key(&input.key);
    let pods = layout(&seed, input.pods.iter());
    let sessions = |pod: usize| input.pods.get(pod).map_or(0, |&(_, _, _, sessions)| sessions);
    let name = |pods: &Pods, pod: Option<usize>| {
        let pod = pods.get(pod?).expect("a pod that is there");
        assert!(pod.draining.is_none());
        Some(pod.name.clone())
    };

    let home = name(&pods, pods.by_key(key));
    assert_eq!(home.is_some(), pods.eligible() > 0);
    for placed in [
        pods.by_key_bounded(key, input.percent, sessions),
        pods.fewest_of_two(input.random, sessions),
        pods.at_random(input.random),
    ] {
        assert_eq!(name(&pods, placed).is_some(), home.is_some());
    }
    // What is not the key's home can leave without moving it.
    let leaves = input.pods.get(input.random as usize % input.pods.len().max(1));
    if let Some((leaves, ..)) = leaves.filter(|(name, ..)| Some(name) != home.as_ref()) {
        let rest = layout(&seed, input.pods.iter().filter(|(name, ..)| name != leaves));
        assert_eq!(name(&rest, rest.by_key(key)), home);
    }

    let backends: Vec<_> = (0..)
        .zip(&input.weights)
        .map(|(i, &weight)| WeightedBackend {
            id: format!("a/{i}:1"),
            weight,
        })
        .collect();
    let shares = Shares::new(&seed, &backends);
    let draw = Draw {
        key: Some(key),
        random: input.random,
    };
    let policy = Policy {
        balancer: Balancer::ConsistentHash,
        bounded_load_percent: None,
    };
    // Every second backend is one that nothing is known of.
    match place(
        policy,
        &shares,
        draw,
        |i| (i % 2 == 0).then_some(&pods),
        |_, pod| sessions(pod),
    ) {
        Some(Choice::Pod { backend, pod }) => {
            assert!(backend % 2 == 0 && input.weights[backend] > 0);
            assert_eq!(name(&pods, Some(pod)), home);
        }
        Some(Choice::Unlisted {
            backend,
            hash: KeyHash(hash),
        }) => {
            assert!(backend % 2 == 1 && input.weights[backend] > 0);
            assert_eq!(hash, key.0);
        }
        None => assert!(
            (0..)
                .zip(&input.weights)
                .all(|(i, &weight)| weight == 0 || i % 2 == 0 && home.is_none())
        ),
    }
});
