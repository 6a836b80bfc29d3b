//! Whole sessions against a proxy that does what they answer: what reaches each end makes sense, and everything ends.

use proptest::prelude::*;

#[expect(dead_code, reason = "only what the reference needs of it")]
#[path = "rfc6455/follow.rs"]
mod follow;
#[path = "session/model.rs"]
mod model;
#[path = "rfc6455/reference.rs"]
mod reference;

/// What the fuzz target begins with is good.
#[test]
fn the_seeds() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/session");
    let mut n = 0;
    for seed in std::fs::read_dir(seeds).unwrap() {
        model::run(&std::fs::read(seed.unwrap().path()).unwrap());
        n += 1;
    }
    assert!(n >= 10, "{n}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_life(life in prop::collection::vec(any::<u8>(), 0..400)) {
        model::run(&life);
    }
}
