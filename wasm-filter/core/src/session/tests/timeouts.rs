//! Sessions that are silent, or old, or whose token is.

use super::*;
use crate::session::Cause::{Duration, Idle, TokenExpired};

impl Scene {
    fn timed(idle_ms: u64, max_duration_ms: u64) -> Self {
        let mut scene = Self::open();
        scene.terms.idle_ms = idle_ms;
        scene.terms.max_duration_ms = max_duration_ms;
        assert_eq!(scene.tick(), Pass);
        scene
    }
}

#[test]
fn a_session_without_terms_needs_no_ticks() {
    let scene = Scene::timed(0, 0);
    assert_eq!(scene.session.due(), u64::MAX);
}

#[test]
fn an_idle_session_is_closed_client_first() {
    let mut scene = Scene::timed(10_000, 0);
    assert_eq!(scene.session.due(), 1_010_000);
    scene.now.ms = 1_005_000;
    scene.armed(Request, &client(b"x"));
    // It was due then, and is not any more.
    assert_eq!(scene.tick_at(1_010_000), Pass);
    assert_eq!(scene.session.due(), 1_015_000);
    assert_eq!(scene.tick_at(1_015_000), Write(Response, Idle));
    assert_eq!(scene.armed(Request, CLIENT_CLOSE), Pass);
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Idle,
            reset: false
        }
    );
    assert_eq!(scene.tick_at(1_020_000), Reset(Some(Idle)));
}

#[test]
fn a_ping_is_a_sign_of_life() {
    let mut scene = Scene::timed(10_000, 0);
    scene.now.ms = 1_009_000;
    scene.armed(Response, &[0x89, 0]);
    assert_eq!(scene.tick_at(1_018_999), Pass);
    assert_eq!(scene.tick_at(1_019_000), Write(Response, Idle));
}

#[test]
fn who_speaks_while_it_could_not_be_told_is_not_idle() {
    let mut scene = Scene::timed(10_000, 0);
    scene.tire(Response, &server(b"x"));
    scene.tire(Request, &client(b"x"));
    assert_eq!(scene.tick_at(1_010_000), Pass);
    assert_eq!(scene.armed(Response, &server(b"x")), Arm);
    assert_eq!(scene.tick_at(1_019_999), Pass);
    assert!(!scene.is_leaving());
}

#[test]
fn an_idle_one_that_went_silent_in_a_burst_is_asked_for_an_event() {
    let mut scene = Scene::timed(10_000, 0);
    scene.tire(Response, &server(b"x"));
    assert_eq!(scene.tick_at(1_010_000), Ping);
    assert_eq!(scene.data(Response, &[0x8a, 0]), Close { keep: 2, cause: Idle });
}

#[test]
fn an_idle_one_that_cannot_be_told_is_reset() {
    let mut scene = Scene::new(false);
    scene.terms.idle_ms = 10_000;
    scene.on(Event::Opened);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.tick_at(1_010_000), Pass);
    assert_eq!(scene.tick_at(1_019_999), Pass);
    assert_eq!(scene.tick_at(1_020_000), Reset(Some(Idle)));
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Idle,
            reset: true
        }
    );
}

#[test]
fn one_that_went_silent_inside_a_message_is_told_between_its_frames() {
    let mut scene = Scene::timed(10_000, 0);
    scene.armed(Response, &[0x01, 1, b'a']);
    assert_eq!(scene.tick_at(1_010_000), Write(Response, Idle));
}

#[test]
fn a_session_lasts_as_long_as_it_may_and_those_of_one_age_end_one_by_one() {
    let mut scene = Scene::timed(0, 100_000);
    assert_eq!(scene.session.due(), 1_100_000);
    assert_eq!(scene.tick_at(1_099_999), Pass);
    assert_eq!(scene.tick_at(1_100_000), Write(Response, Duration));
    for (lot, end) in [(u32::MAX, 1_090_001), (1 << 31, 1_095_000)] {
        let mut scene = Scene::open();
        scene.session.lot = lot;
        scene.terms.max_duration_ms = 100_000;
        assert_eq!(scene.tick(), Pass);
        assert_eq!(scene.session.due(), end);
    }
}

#[test]
fn other_terms_hold_for_those_who_are_there() {
    let mut scene = Scene::timed(0, 100_000);
    scene.session.lot = 1 << 31;
    scene.now.ms = 1_050_000;
    // Too old already: all of them are, so they do not end at once.
    scene.terms.max_duration_ms = 20_000;
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.session.due(), 1_051_000);
    scene.terms.max_duration_ms = 0;
    assert_eq!(scene.tick_at(1_051_000), Pass);
    assert_eq!(scene.session.due(), u64::MAX);
    scene.terms.idle_ms = 60_000;
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.session.due(), 1_060_000);
    scene.terms.idle_ms = 10_000;
    assert_eq!(scene.tick(), Write(Response, Idle));
}

#[test]
fn terms_that_are_lifted_spare_who_has_not_been_told() {
    let mut scene = Scene::timed(0, 100_000);
    scene.armed(Response, &server(&[7; 100])[..50]);
    assert_eq!(scene.tick_at(1_100_000), Pass);
    assert!(scene.is_leaving());
    scene.terms.max_duration_ms = 0;
    assert_eq!(scene.tick(), Pass);
    assert!(!scene.is_leaving());
}

#[test]
fn an_old_session_ends_behind_its_message_or_between_two_frames_of_it() {
    let close = |keep| Close {
        keep,
        cause: Duration,
    };
    let mut scene = Scene::timed(0, 100_000);
    let long = server(&[7; 100]);
    scene.armed(Response, &long[..50]);
    assert_eq!(scene.tick_at(1_100_000), Pass);
    assert_eq!(scene.data(Response, &long[50..]), close(52));
    // One that does not come to an end.
    let mut scene = Scene::timed(0, 100_000);
    scene.armed(Response, &[0x01, 1, b'a']);
    assert_eq!(scene.tick_at(1_100_000), Pass);
    scene.armed(Response, &[0x00, 1, b'b']);
    scene.now.ms = 1_110_000;
    assert_eq!(scene.data(Response, &[0x00, 1, b'b', 0x00]), close(3));
}

#[test]
fn whoever_has_an_expired_token_says_no_more() {
    let close = |keep| Close {
        keep,
        cause: TokenExpired,
    };
    let mut scene = Scene::timed(0, 0);
    scene.session.expires_at(1_060_000);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.session.due(), 1_060_000);
    assert_eq!(scene.tick_at(1_060_000), Write(Response, TokenExpired));
    assert_eq!(scene.tick(), Write(Request, TokenExpired));
    assert_eq!(scene.data(Request, &client(b"too late")), Drop);
    assert_eq!(scene.tick_at(1_060_000 + PATIENCE_MS), Reset(Some(TokenExpired)));
    // One that is talking.
    let mut scene = Scene::timed(0, 0);
    scene.session.expires_at(1_060_000);
    scene.tire(Request, &client(b"x"));
    assert_eq!(scene.tick_at(1_060_000), Write(Response, TokenExpired));
    assert_eq!(scene.data(Request, &client(b"x")), close(7));
}

#[test]
fn whoever_sets_the_clock_ends_tokens_and_nothing_else() {
    const DAY: u64 = 86_400_000;
    let steps: [fn(u64) -> u64; 3] = [|ms| ms + DAY, |ms| ms, |ms| ms.saturating_sub(DAY)];
    for step in steps {
        let mut scene = Scene::timed(30_000, 40_000);
        scene.window = Some(WINDOW);
        assert_eq!(scene.tick(), Pass);
        scene.now.unix_ms = step(scene.now.unix_ms);
        // Idle, the end of what it may last, and the moment in the window are as far off as before.
        assert_eq!(scene.tick_at(1_029_999), Pass);
        assert_eq!(scene.session.due(), 1_030_000);
        scene.armed(Request, &client(b"x"));
        assert_eq!(scene.tick_at(1_039_999), Pass);
        scene.terms.max_duration_ms = 0;
        scene.armed(Request, &client(b"x"));
        assert_eq!(scene.tick_at(MOMENT - 1), Pass);
        assert_eq!(scene.tick_at(MOMENT), Write(Response, Cause::Drain));
        // Nor does it hurry who was told.
        scene.now.unix_ms = step(scene.now.unix_ms);
        assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS - 1), Pass);
        assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS), Write(Request, Cause::Drain));
    }
    // A token is good until then by the clock on the wall.
    let mut scene = Scene::timed(0, 0);
    scene.session.expires_at(1_060_000);
    assert_eq!(scene.tick_at(1_010_000), Pass);
    assert_eq!(scene.session.due(), 1_060_000);
    scene.now.unix_ms -= 20_000;
    assert_eq!(scene.tick_at(1_060_000), Pass, "set back");
    assert_eq!(scene.session.due(), 1_080_000);
    scene.now.unix_ms += 30_000;
    assert_eq!(
        scene.tick_at(1_060_001),
        Write(Response, TokenExpired),
        "set forward"
    );
}

#[test]
fn what_calls_first_is_the_cause() {
    let mut scene = Scene::timed(20_000, 100_000);
    scene.session.expires_at(1_020_000);
    scene.window = Some(WINDOW);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.tick_at(1_020_000), Write(Response, TokenExpired));
}
