use clew_filter_config::limits::Limits;
use proptest::prelude::*;

use super::{BUCKETS, Bucket, Seats, Subject, retry_after, take};
use crate::placement::Seed;

const SEED: Seed = Seed::new([7; 16]);

fn subject(name: &str) -> Subject {
    Subject::rule(&SEED, name)
}

#[test]
fn a_key_is_a_subject_of_its_own_under_each_rule_and_each_seed() {
    let key = SEED.key(b"alice");
    let (one, other) = (subject("shop/chat/one"), subject("shop/chat/other"));
    assert_ne!(one, other);
    assert_ne!(one.key(&SEED, key), other.key(&SEED, key));
    assert_ne!(one.key(&SEED, key), one.key(&SEED, SEED.key(b"bob")));
    assert_ne!(one.key(&SEED, key), one.key(&Seed::new([8; 16]), key));
    assert!(one.bucket() < BUCKETS);
}

#[test]
fn all_workers_together_take_as_many_as_there_may_be() {
    let mut bucket = Bucket::default();
    let it = subject("a");
    assert!(bucket.admit(it, 1, 0, 3));
    assert!(bucket.admit(it, 2, 0, 3));
    assert!(bucket.admit(it, 1, 1, 3));
    assert!(!bucket.admit(it, 2, 1, 3));
    assert!(!bucket.admit(it, 3, 0, 3));
    assert!(bucket.admit(subject("b"), 2, 0, 3), "another subject has room");
    bucket.set(it, 1, 1);
    assert!(bucket.admit(it, 3, 0, 3));
    assert_eq!(Bucket::decode(&bucket.encode()), bucket);
    for member in 1..=3 {
        bucket.set(it, member, 0);
        bucket.set(subject("b"), member, 0);
    }
    assert_eq!(bucket.encode(), b"", "nothing is left");
}

#[test]
fn the_dead_hold_no_seats() {
    let mut bucket = Bucket::default();
    let it = subject("a");
    assert!(bucket.admit(it, 1, 0, 2) && bucket.admit(it, 2, 0, 2));
    assert!(!bucket.clone().admit(it, 3, 0, 2));
    bucket.bury(3, &[2]);
    assert!(bucket.admit(it, 3, 0, 2));
    assert!(!bucket.admit(it, 4, 0, 2));
    // Who has not said yet that it lives still knows itself.
    bucket.bury(3, &[]);
    assert_eq!(bucket.others(it, 9), 1);
}

#[test]
fn what_is_no_row_is_left_out() {
    assert_eq!(Bucket::decode(b"broken"), Bucket::default());
    let mut bucket = Bucket::default();
    bucket.set(subject("a"), 1, 7);
    let mut bytes = bucket.encode();
    bytes.extend(b"more");
    assert_eq!(Bucket::decode(&bytes), bucket);
}

#[test]
fn a_worker_tells_until_it_is_known() {
    let mut seats = Seats::default();
    let it = subject("a");
    seats.leave(it);
    assert_eq!(seats.of(it), 0);
    seats.enter(it);
    seats.enter(it);
    assert!(!seats.is_shared(it), "nobody asked");
    seats.tell(it);
    seats.tell(it);
    assert_eq!(seats.take_stale(), [it]);
    assert_eq!(seats.take_stale(), []);
    seats.told(it);
    assert!(seats.is_shared(it));
    seats.tell_all();
    assert_eq!(seats.take_stale(), [it]);
    seats.leave(it);
    seats.leave(it);
    seats.told(it);
    assert!(!seats.is_shared(it));
}

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_800_000_000 * SECOND;

/// Two a second, five at once.
fn two_a_second() -> Limits {
    Limits {
        handshake_interval_ns: SECOND / 2,
        handshake_burst: 5,
        ..Limits::default()
    }
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let limits = two_a_second();
    let mut entry = Vec::new();
    let mut take = |now: u64| take(&limits, &entry, now).map(|new| entry = new.to_vec());
    for _ in 0..5 {
        assert_eq!(take(NOW), Ok(()));
    }
    assert_eq!(take(NOW), Err(SECOND / 2));
    assert_eq!(take(NOW + SECOND / 4), Err(SECOND / 4));
    assert_eq!(take(NOW + SECOND / 2), Ok(()));
    assert_eq!(take(NOW + SECOND / 2), Err(SECOND / 2));
    for _ in 0..5 {
        assert_eq!(take(NOW + 60 * SECOND), Ok(()));
    }
    assert!(take(NOW + 60 * SECOND).is_err(), "no more than the burst gathers");
}

#[test]
fn a_clock_that_was_set_back_shuts_nobody_out() {
    let limits = two_a_second();
    let ahead = (NOW + 3_600 * SECOND).to_le_bytes();
    assert_eq!(take(&limits, &ahead, NOW), Err(SECOND / 2));
    let nothing = take(&limits, b"broken", NOW);
    assert_eq!(nothing, Ok((NOW + SECOND / 2).to_le_bytes()));
}

#[test]
fn clients_come_back_when_there_is_a_token_and_not_together() {
    let seen: std::collections::BTreeSet<_> = (0..100).map(|draw| retry_after(1, draw)).collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(retry_after(10 * SECOND + 1, 0), 11);
    assert_eq!(retry_after(10 * SECOND, 9), 19);
    assert!(retry_after(u64::MAX, u64::MAX) > 18_446_744_073);
}

/// Its bytes and its number.
type Entry = (Vec<u8>, u32);

/// A worker's step: it reads the entry, and later swaps it, if nobody else did in between.
#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Swap(usize),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    (0..3usize, 0..3u8).prop_map(|(worker, what)| match what {
        0 => Step::Read(worker),
        1 => Step::Swap(worker),
        _ => Step::Leave(worker),
    })
}

proptest! {
    #[test]
    fn however_workers_race_no_session_is_too_many(most in 1u32..6, steps in prop::collection::vec(step(), 0..200)) {
        let it = subject("a");
        let mut entry: Entry = (Vec::new(), 0);
        let mut workers: [(Seats, Option<Entry>); 3] = Default::default();
        for step in steps {
            match step {
                Step::Read(worker) => workers[worker].1 = Some(entry.clone()),
                Step::Swap(worker) => {
                    let (seats, read) = &mut workers[worker];
                    let Some((bytes, version)) = read.take() else { continue };
                    let mut bucket = Bucket::decode(&bytes);
                    if bucket.admit(it, worker as u64, seats.of(it), most) && version == entry.1 {
                        entry = (bucket.encode(), version + 1);
                        seats.enter(it);
                    }
                }
                Step::Leave(worker) => {
                    let seats = &mut workers[worker].0;
                    seats.leave(it);
                    let mut bucket = Bucket::decode(&entry.0);
                    bucket.set(it, worker as u64, seats.of(it));
                    entry = (bucket.encode(), entry.1 + 1);
                }
            }
            let all: u32 = workers.iter().map(|(seats, _)| seats.of(it)).sum();
            prop_assert!(all <= most, "{all} of {most}");
        }
    }
}
