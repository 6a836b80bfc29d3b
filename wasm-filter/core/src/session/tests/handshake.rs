//! Closing handshakes that the two ends begin.

use super::*;

#[test]
fn the_server_may_close_first() {
    let mut scene = Scene::open();
    scene.armed(Response, SERVER_CLOSE);
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.session.ended(), Ended::Server);
}

#[test]
fn a_session_that_is_closing_by_itself_is_not_told_to_leave() {
    for (direction, close, ended) in [
        (Request, CLIENT_CLOSE, Ended::Client),
        (Response, SERVER_CLOSE, Ended::Server),
    ] {
        let mut scene = Scene::due();
        scene.armed(direction, close);
        assert_eq!(scene.tick(), Pass);
        assert_eq!(scene.tick_at(MOMENT + HANDSHAKE_PATIENCE_MS - 1), Pass);
        assert_eq!(scene.session.due(), MOMENT + HANDSHAKE_PATIENCE_MS);
        assert_eq!(scene.tick_at(MOMENT + HANDSHAKE_PATIENCE_MS), Reset(None));
        assert_eq!(scene.session.ended(), ended);
    }
}

#[test]
fn a_handshake_that_does_not_end_is_cut_at_the_deadline_of_a_drain() {
    let mut scene = Scene::due();
    scene.window = Some(Window {
        timeout_ms: MOMENT + 10_000 - WINDOW.since_ms,
        ..WINDOW
    });
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.tick_at(MOMENT), Pass);
    assert_eq!(scene.tick_at(MOMENT + 9_999), Pass);
    assert_eq!(scene.tick_at(MOMENT + 10_000), Reset(None));
    assert_eq!(scene.session.ended(), Ended::Client);
}

#[test]
fn nothing_of_a_handshake_is_touched() {
    let long = [&[0x88, 126, 0, 200][..], &[b'x'; 200]].concat();
    let one_byte = vec![0x88, 0x81, 0, 0, 0, 0, 7];
    let reserved = vec![0x88, 0x02, 0x03, 0xed];
    let in_a_message = [&[0x01, 1, b'a'][..], SERVER_CLOSE].concat();
    for (direction, bytes) in [
        (Response, long),
        (Request, one_byte),
        (Response, reserved),
        (Response, in_a_message),
    ] {
        let mut scene = Scene::open();
        let action = scene.armed(direction, &bytes);
        assert!(matches!(action, Pass | StayArmed), "{action:?}");
        // Both ends at once.
        let other = match direction {
            Request => (Response, SERVER_CLOSE),
            Response => (Request, CLIENT_CLOSE),
        };
        let action = scene.armed(other.0, other.1);
        assert!(matches!(action, Pass | StayArmed), "{action:?}");
        assert_eq!(scene.tick(), Pass);
    }
}

#[test]
fn what_a_server_still_says_after_the_clients_close_passes() {
    let mut scene = Scene::open();
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.armed(Response, &server(b"almost done")), StayArmed);
    assert_eq!(scene.armed(Response, SERVER_CLOSE), Pass);
    assert_eq!(scene.traffic.messages, [0, 1]);
    assert_eq!(scene.session.ended(), Ended::Client);
}

#[test]
fn nobody_is_told_to_leave_who_begins_to_close_before_it_could_be() {
    let mut scene = Scene::due();
    // In the middle of a message: our Close has to wait.
    let message = server(&[7; 100]);
    scene.armed(Response, &message[..50]);
    assert_eq!(scene.tick(), Pass);
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.armed(Response, &message[50..]), StayArmed);
    assert_eq!(scene.armed(Response, SERVER_CLOSE), Pass);
    assert_eq!(scene.session.ended(), Ended::Client);
}
