//! What nothing disturbs.

use super::*;

#[test]
fn where_a_stream_takes_no_more_than_a_read_a_client_that_sends_much_is_not_armed_any_more() {
    let say = client(b"hello");
    for (narrow, apart, then) in [(true, 0, Pass), (true, 1, StayArmed), (false, 0, StayArmed)] {
        let mut scene = Scene::open();
        if narrow {
            scene.session.narrow();
        }
        // Just more than a MiB, in one tick or in as many as there are messages.
        for _ in 0..65 {
            scene.disarm(Request);
            scene.now.tick += apart;
        }
        scene.armed(Request, &say);
        assert_eq!(scene.armed(Request, &say), then, "{narrow} {apart}");
        // What the server says goes back as ever.
        assert_eq!(scene.armed(Response, &server(b"hello")), StayArmed);
    }
}

#[test]
fn a_session_that_nothing_disturbs_is_counted_and_passes() {
    let mut scene = Scene::open();
    for _ in 0..3 {
        scene.armed(Request, &client(b"hi"));
        scene.armed(Response, &server(b"hello"));
        assert_eq!(scene.tick(), Pass);
    }
    assert_eq!(
        scene.traffic,
        Traffic {
            messages: [3, 3],
            bytes: [24, 21],
            dropped: 0
        }
    );
    assert_eq!(scene.session.ended(), Ended::Aborted);
    scene.armed(Request, CLIENT_CLOSE);
    scene.armed(Response, SERVER_CLOSE);
    assert_eq!(scene.session.ended(), Ended::Client);
}

#[test]
fn the_code_of_the_first_close_is_told_whoever_said_it() {
    let policy = DrainPolicy {
        timeout_ms: 1,
        close_code: 3001,
        close_reason: String::new(),
    };
    let mut scene = Scene::open();
    assert_eq!(scene.session.close_code(&policy), 1006, "none yet");
    // Its code comes byte by byte.
    for byte in CLIENT_CLOSE {
        scene.armed(Request, &[*byte]);
    }
    scene.armed(Response, SERVER_CLOSE);
    assert_eq!(scene.session.close_code(&policy), 1012);

    let mut scene = Scene::open();
    scene.armed(Response, &[0x88, 0x00]);
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(
        (scene.session.ended(), scene.session.close_code(&policy)),
        (Ended::Server, 1005)
    );

    let mut scene = Scene::due();
    assert_eq!(scene.tick(), Write(Response, Cause::Drain));
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.session.close_code(&policy), 3001, "ours was first");

    // Reset before anybody was told anything.
    let mut scene = Scene::due();
    scene.armed(Response, &[0x82, 0x7e]);
    scene.tick_at(DEADLINE);
    assert!(matches!(scene.session.ended(), Ended::Ours { reset: true, .. }));
    assert_eq!(scene.session.close_code(&policy), 1006);
}

#[test]
fn what_a_client_sends_before_the_101_waits_and_counts_once() {
    let mut scene = Scene::new(true);
    let early = client(b"early");
    assert_eq!(scene.data(Request, b""), Arm);
    assert_eq!(scene.data(Request, &early[..4]), Arm);
    assert_eq!(scene.data(Request, &early), Arm);
    scene.on(Event::Opened);
    scene.on(Event::Resumed(Request));
    scene.armed(Request, &client(b"late"));
    assert_eq!((scene.traffic.messages, scene.traffic.bytes), ([2, 0], [21, 0]));
}

#[test]
fn what_gathers_while_paused_counts_once() {
    let mut scene = Scene::open();
    scene.disarm(Response);
    scene.traffic = Traffic::default();
    let both = [server(b"one"), server(b"two")].concat();
    assert_eq!(scene.data(Response, &both[..5]), Arm);
    assert_eq!(scene.data(Response, &both), Arm);
    scene.on(Event::Resumed(Response));
    scene.data(Response, &server(b"three"));
    assert_eq!((scene.traffic.messages, scene.traffic.bytes), ([0, 3], [0, 17]));
}

#[test]
fn a_worker_that_has_time_keeps_both_directions_armed_and_nothing_waits() {
    let mut scene = Scene::open();
    for _ in 0..1_000 {
        assert_eq!(scene.data(Request, &client(b"x")), StayArmed);
        assert_eq!(scene.data(Response, &server(b"x")), StayArmed);
    }
    // But no large chunks, however rare: they would gather in Envoy's buffer. What follows is let go on by and by.
    scene.disarm(Response);
    assert_eq!(scene.armed(Response, &server(b"x")), Arm);
    assert_eq!(scene.data(Response, &server(b"x")), StayArmed);
}

#[test]
fn a_busy_worker_arms_one_direction_of_a_session_within_its_budget() {
    let mut scene = Scene::open();
    scene.now.busy = true;
    let mut echo = || {
        let request = scene.armed(Request, &client(b"x")) != Pass;
        (request, scene.armed(Response, &server(b"x")) != Pass)
    };
    // At first both, then one, then the other, and none.
    let armed: Vec<_> = (0..1_000).map(|_| echo()).collect();
    let expected = [
        ((true, true), 8),
        ((true, false), 120),
        ((false, true), 8),
        ((false, false), 864),
    ];
    let expected = expected.map(|(armed, times)| vec![armed; times]).concat();
    assert_eq!(armed, expected);
    // Who pauses for a minute is armed again.
    scene.now.tick += 240;
    assert_eq!(scene.armed(Request, &client(b"x")), Arm);
}

#[test]
fn a_worker_is_busy_while_much_passes_and_until_a_tick_brought_little() {
    let mut pace = Pace::default();
    let events = |pace: &mut Pace, n| (0..n).filter(|_| pace.event()).count();
    assert_eq!(events(&mut pace, 1024), 0);
    pace.tick();
    assert_eq!(events(&mut pace, 1025), 1);
    pace.tick();
    assert_eq!(events(&mut pace, 100), 100);
    pace.tick();
    assert_eq!(events(&mut pace, 100), 0);
}
