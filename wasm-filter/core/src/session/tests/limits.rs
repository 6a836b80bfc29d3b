//! Messages beyond a limit.

use super::*;
use crate::session::Cause::{self, MessageRate as Rate, MessageSize, Protocol};

impl Scene {
    fn limited(most: u64) -> Self {
        let mut scene = Self::open();
        scene.terms.max_message_bytes = most;
        scene
    }

    fn rated(messages: u64, burst: u64) -> Self {
        let mut scene = Self::open();
        scene.terms.rate_messages = messages;
        scene.terms.rate_interval_ms = 1_000;
        scene.terms.rate_burst = burst;
        scene
    }
}

const fn close(keep: usize, cause: Cause) -> Action {
    Close { keep, cause }
}

#[test]
fn a_message_that_fits_passes() {
    let mut scene = Scene::limited(10);
    assert_eq!(scene.armed(Request, &client(&[1; 10])), StayArmed);
    assert_eq!(scene.armed(Response, &server(&[1; 10])), StayArmed);
    let fragments = [&[0x01, 5][..], &[1; 5], &[0x89, 3, 1, 2, 3], &[0x80, 5], &[1; 5]].concat();
    assert_eq!(scene.armed(Response, &fragments), StayArmed);
    assert_eq!(scene.traffic.messages, [1, 2]);
}

#[test]
fn a_frame_that_is_too_long_is_cut_off_with_its_header_and_both_are_told() {
    let mut scene = Scene::limited(10);
    let chunk = [client(b"fits"), client(&[1; 11])].concat();
    assert_eq!(scene.data(Request, &chunk), close(10, MessageSize));
    assert_eq!((scene.traffic.messages, scene.traffic.bytes), ([1, 0], [10, 0]));
    assert_eq!(scene.tick(), Write(Response, MessageSize));
    assert_eq!(scene.data(Request, &client(b"more")), Drop);
    assert_eq!(scene.data(Response, &server(b"more")), Drop);
    assert_eq!(scene.traffic.dropped, 0, "a drain's alone are counted");
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: MessageSize,
            reset: false
        }
    );
    assert_eq!(scene.tick_at(1_000_000 + PATIENCE_MS), Reset(Some(MessageSize)));
}

#[test]
fn fragments_are_added_up_and_what_is_open_may_be_closed_between_them() {
    let mut scene = Scene::limited(10);
    assert_eq!(
        scene.armed(Response, &[&[0x02, 6][..], &[1; 6]].concat()),
        StayArmed
    );
    assert_eq!(
        scene.data(Response, &[&[0x00, 5][..], &[1; 5]].concat()),
        close(0, MessageSize)
    );
    assert_eq!(scene.tick(), Write(Request, MessageSize));
}

#[test]
fn the_length_is_judged_before_any_of_it_has_come() {
    let mut scene = Scene::limited(1 << 20);
    let header = [0x82, 127, 0, 0, 0, 0, 0, 0x10, 0, 1];
    assert_eq!(scene.data(Response, &header), close(0, MessageSize));
}

#[test]
fn a_header_in_pieces_is_kept_back_until_it_is_whole() {
    let mut scene = Scene::limited(10);
    let first = [&server(b"hi")[..], &[0x82, 126]].concat();
    assert_eq!(scene.data(Response, &first), KeepBack { keep: 4 });
    assert_eq!(scene.session.kept_back(Response), [0x82, 126]);
    // An event without bytes changes nothing.
    assert_eq!(scene.quiet(Response), Arm);
    scene.on(Event::Resumed(Response));
    assert_eq!(scene.data(Response, &[0]), KeepBack { keep: 0 });
    assert_eq!(scene.session.kept_back(Response), [0x82, 126, 0]);
    assert_eq!(scene.data(Response, &[11]), close(0, MessageSize));
    assert!(scene.session.kept_back(Response).is_empty());
    // One that fits goes on, and counts once.
    let mut scene = Scene::limited(10);
    assert_eq!(scene.data(Request, &client(b"hi")[..3]), KeepBack { keep: 0 });
    assert_eq!(scene.data(Request, &client(b"hi")[3..]), Arm);
    assert_eq!((scene.traffic.messages, scene.traffic.bytes), ([1, 0], [8, 0]));
}

#[test]
fn a_header_that_began_to_pass_leaves_no_place_for_a_close() {
    let mut scene = Scene::open();
    let long = client(&[1; 100]);
    scene.armed(Request, &long[..3]);
    scene.terms.max_message_bytes = 10;
    assert_eq!(scene.data(Request, &long[3..]), Drop);
    assert_eq!(scene.tick(), Write(Response, MessageSize));
    assert_eq!(scene.tick_at(1_000_000 + PATIENCE_MS), Reset(Some(MessageSize)));
}

#[test]
fn an_answer_is_replaced_by_our_close() {
    // The server answers our Close before it could go to the client.
    let mut scene = Scene::limited(10);
    assert_eq!(scene.data(Request, &client(&[1; 11])), close(0, MessageSize));
    let chunk = [server(b"last"), SERVER_CLOSE.to_vec()].concat();
    assert_eq!(scene.data(Response, &chunk), close(6, MessageSize));
    assert_eq!(scene.traffic.messages, [0, 1]);
    // And the other way round.
    let mut scene = Scene::limited(10);
    assert_eq!(scene.data(Response, &server(&[1; 11])), close(0, MessageSize));
    assert_eq!(scene.data(Request, CLIENT_CLOSE), close(0, MessageSize));
}

#[test]
fn the_other_side_is_told_behind_the_message_that_has_begun() {
    let mut scene = Scene::limited(1_000);
    let long = server(&[7; 100]);
    scene.armed(Response, &long[..50]);
    scene.data(Request, &[0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &long[50..]), close(52, MessageSize));
}

#[test]
fn a_message_without_end_does_not_keep_our_close_from_the_client() {
    let mut scene = Scene::limited(1_000);
    scene.armed(Response, &[0x02, 1, 1]);
    scene.data(Request, &[0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4]);
    assert_eq!(scene.tick_at(1_000_999), Pass);
    assert_eq!(scene.armed(Response, &[0x00, 1, 1]), StayArmed);
    assert_eq!(scene.tick_at(1_001_000), Write(Response, MessageSize));
}

#[test]
fn a_message_beyond_the_rate_is_cut_off() {
    let mut scene = Scene::rated(10, 3);
    let chunk = client(b"x").repeat(5);
    assert_eq!(scene.data(Request, &chunk), close(21, Rate));
    assert_eq!(scene.traffic.messages, [3, 0]);
    assert_eq!(scene.tick(), Write(Response, Rate));
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Rate,
            reset: false
        }
    );
}

#[test]
fn fragments_pings_and_the_servers_messages_have_no_rate() {
    let mut scene = Scene::rated(10, 1);
    let message = [
        &[0x01, 0x80, 0, 0, 0, 0][..],
        &[0x89, 0x80, 0, 0, 0, 0],
        &[0x00, 0x80, 0, 0, 0, 0],
        &[0x80, 0x80, 0, 0, 0, 0],
    ];
    assert_eq!(scene.armed(Request, &message.concat()), StayArmed);
    assert_eq!(scene.armed(Response, &server(b"x").repeat(100)), StayArmed);
    scene.now.ms += 99;
    let mut early = scene.session.clone();
    core::mem::swap(&mut scene.session, &mut early);
    assert_eq!(scene.data(Request, &client(b"x")), close(0, Rate));
    core::mem::swap(&mut scene.session, &mut early);
    scene.now.ms += 1;
    assert_eq!(scene.data(Request, &client(b"x")), StayArmed);
}

#[test]
fn what_cannot_be_followed_does_not_get_past_a_limit() {
    let mut scene = Scene::limited(10);
    let chunk = [client(b"hi"), vec![0x83, 0x80, 0, 0, 0, 0]].concat();
    assert_eq!(scene.data(Request, &chunk), close(8, Protocol));
    // Without a limit it is none of ours.
    let mut scene = Scene::open();
    assert_eq!(scene.armed(Request, &chunk), StayArmed);
}

#[test]
fn a_limit_that_breaks_while_the_client_leaves_ends_it_too() {
    let mut scene = Scene::due();
    scene.terms.max_message_bytes = 10;
    assert_eq!(scene.tick(), Write(Response, Cause::Drain));
    assert_eq!(scene.data(Request, &client(&[1; 11])), close(0, MessageSize));
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Cause::Drain,
            reset: false
        }
    );
}

#[test]
fn before_the_101_a_limit_holds_too() {
    let mut scene = Scene::new(true);
    scene.terms.max_message_bytes = 10;
    assert_eq!(scene.data(Request, &client(b"fits")), Arm);
    let both = [client(b"fits"), client(&[1; 11])].concat();
    assert_eq!(scene.data(Request, &both), close(10, MessageSize));
    assert_eq!(scene.tick(), Pass);
    scene.on(Event::Opened);
    scene.armed(Response, b"");
    assert_eq!(scene.tick(), Write(Response, MessageSize));
}
