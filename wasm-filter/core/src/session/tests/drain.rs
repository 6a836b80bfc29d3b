//! Sessions of a pod that goes away.

use super::*;
use crate::session::Cause::Drain;

const fn close(keep: usize) -> Action {
    Close { keep, cause: Drain }
}

const fn write(direction: Direction) -> Action {
    Write(direction, Drain)
}

#[test]
fn an_idle_session_leaves_at_its_moment() {
    let mut scene = Scene::open();
    scene.window = Some(WINDOW);
    assert_eq!(scene.tick(), Pass);
    assert!(scene.is_leaving());
    assert_eq!(scene.tick_at(MOMENT - 1), Pass);
    assert_eq!(scene.tick_at(MOMENT), write(Response));
    assert_eq!(scene.tick(), Pass);
    // The client answers, the server too, which nobody needs any more.
    assert_eq!(scene.armed(Request, CLIENT_CLOSE), Pass);
    assert_eq!(scene.data(Response, SERVER_CLOSE), Drop);
    assert_eq!(scene.data(Response, b""), Pass);
    assert_eq!(scene.traffic.dropped, 0);
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Drain,
            reset: false
        }
    );
}

#[test]
fn a_busy_session_leaves_behind_its_next_message() {
    let mut scene = Scene::due();
    let last = server(b"last");
    scene.armed(Response, &last[..2]);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &last[2..]), close(4));
    // What the client has still to say passes; what the server says is lost, and counted.
    scene.armed(Request, &client(b"from me"));
    assert_eq!(
        scene.data(Response, &[server(b"late"), SERVER_CLOSE.to_vec()].concat()),
        Drop
    );
    assert_eq!(
        scene.traffic,
        Traffic {
            messages: [1, 1],
            bytes: [13, 6],
            dropped: 6
        }
    );
}

#[test]
fn a_message_that_has_begun_is_waited_for() {
    let mut scene = Scene::due();
    let long = server(&[7; 100]);
    scene.armed(Response, &long[..50]);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &long[50..]), close(52));
}

#[test]
fn a_fragmented_message_with_a_ping_inside_is_not_cut() {
    let mut scene = Scene::due();
    scene.armed(Response, &[0x01, 1, b'a']);
    scene.armed(Response, &[0x89, 0]);
    scene.armed(Response, &[0x00, 1, b'b']);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &[0x80, 1, b'c']), close(3));
}

#[test]
fn a_server_without_pause_is_cut_at_its_last_boundary() {
    let mut scene = Scene::due();
    let chunk = [&server(b"whole")[..], &[0x82, 100, 1, 2]].concat();
    // It is given the time to come to an end.
    scene.armed(Response, &chunk);
    assert_eq!(scene.tick(), Pass);
    scene.now.ms = MOMENT + 1_000;
    let rest = [&[1; 98][..], &server(b"whole"), &[0x82, 100, 1, 2]].concat();
    assert_eq!(scene.data(Response, &rest), close(98 + 7));
    assert_eq!(scene.traffic.dropped, 4);
}

#[test]
fn bytes_that_are_paused_stay_in_front_of_our_close() {
    let mut scene = Scene::open();
    scene.window = Some(WINDOW);
    scene.tick();
    scene.disarm(Response);
    let held = server(b"held");
    assert_eq!(scene.data(Response, &held), Arm);
    // A tick cannot write in front of them.
    assert_eq!(scene.tick_at(MOMENT), Pass);
    let more = [held, server(b"more")].concat();
    assert_eq!(scene.data(Response, &more), close(12));
}

#[test]
fn a_client_that_does_not_answer_is_given_up() {
    let mut scene = Scene::due();
    assert_eq!(scene.tick(), write(Response));
    assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS - 1), Pass);
    assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS), write(Request));
    assert_eq!(scene.data(Request, &client(b"too late")), Drop);
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS - 1), Pass);
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Drain,
            reset: false
        }
    );
    // The server did not end it either.
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS), Reset(Some(Drain)));
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Drain,
            reset: true
        }
    );
    assert_eq!(scene.tick(), Pass);
}

#[test]
fn a_client_that_talks_on_is_given_up_between_two_messages() {
    let mut scene = Scene::due();
    scene.tire(Request, &client(b"x"));
    assert_eq!(scene.tick(), write(Response));
    // However much it says, the direction stays ready.
    for _ in 0..100 {
        assert!(matches!(scene.armed(Request, &client(b"x")), Arm | StayArmed));
    }
    scene.now.ms = MOMENT + PATIENCE_MS;
    let message = client(b"and on");
    scene.armed(Request, &message[..7]);
    assert_eq!(scene.data(Request, &message[7..]), close(5));
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS), Reset(Some(Drain)));
}

#[test]
fn one_that_went_silent_in_a_burst_is_asked_for_an_event() {
    let mut scene = Scene::open();
    scene.tire(Response, &server(b"token"));
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Ping);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &[0x8a, 0]), close(2));
}

#[test]
fn what_is_left_at_the_deadline_is_reset() {
    // An old Envoy and a silent session: nothing can be written.
    let mut scene = Scene::new(false);
    assert_eq!(scene.data(Request, b""), Pass);
    scene.on(Event::Opened);
    assert_eq!(scene.data(Response, b""), Pass);
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Pass);
    assert_eq!(scene.tick_at(DEADLINE - 1), Pass);
    assert_eq!(scene.tick_at(DEADLINE), Reset(Some(Drain)));
    assert_eq!(
        scene.session.ended(),
        Ended::Ours {
            cause: Drain,
            reset: true
        }
    );
}

#[test]
fn an_old_envoy_still_closes_whoever_speaks() {
    let mut scene = Scene::new(false);
    scene.on(Event::Opened);
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Pass);
    assert_eq!(scene.data(Response, &server(b"x")), close(3));
}

#[test]
fn nothing_is_written_where_boundaries_are_lost() {
    let mut scene = Scene::due();
    scene.armed(Response, &[0x83, 0]);
    assert_eq!(scene.tick(), Pass);
    scene.armed(Response, &server(b"x"));
    assert_eq!(scene.tick_at(DEADLINE), Reset(Some(Drain)));
}

#[test]
fn a_drain_that_is_called_off_spares_who_is_still_there() {
    let mut scene = Scene::due();
    scene.window = None;
    assert_eq!(scene.tick(), Pass);
    assert!(!scene.is_leaving());
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert_eq!(scene.armed(Response, &server(b"x")), StayArmed);
}

#[test]
fn another_window_sets_another_moment() {
    let mut scene = Scene::due();
    scene.window = Some(Window {
        timeout_ms: 500_000,
        ..WINDOW
    });
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert_eq!(scene.tick_at(1_500_000), Reset(Some(Drain)));
}

#[test]
fn what_cannot_be_done_is_tried_again_or_given_up() {
    let mut scene = Scene::due();
    assert_eq!(scene.tick(), write(Response));
    scene.session.failed(write(Response), scene.now);
    // No longer armed: the request direction neither, as it may be the same fault.
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &server(b"x")), close(3));
    scene.session.failed(close(3), scene.now);
    assert_eq!(scene.tick_at(DEADLINE), Reset(Some(Drain)));
}

#[test]
fn nothing_happens_before_the_101() {
    let mut scene = Scene::new(true);
    scene.window = Some(WINDOW);
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert!(!scene.is_leaving());
}

#[test]
fn one_that_a_busy_worker_armed_in_the_request_direction_only_is_asked_for_an_event() {
    let mut scene = Scene::open();
    scene.now.busy = true;
    for _ in 0..100 {
        assert_eq!(scene.armed(Request, &client(b"x")), StayArmed);
        scene.armed(Response, &server(b"x"));
    }
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Ping);
    assert_eq!(scene.data(Response, &[0x8a, 0]), close(2));
}
