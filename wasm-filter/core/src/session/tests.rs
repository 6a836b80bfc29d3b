use clew_filter_config::rule::Draining;

use super::Action::{Arm, Close, Drop, Pass, Ping, Reset, Write};
use super::Direction::{Request, Response};
use super::{Action, Direction, Ended, Event, Now, PATIENCE_MS, Pace, Session, Traffic};
use crate::drain::Turns;

const WINDOW: Draining = Draining {
    since_ms: 1_000_000,
    timeout_ms: 100_000,
};
const DEADLINE: u64 = 1_100_000;
/// The moment of the first turn of `Turns::new(0)`: 0.618 of 95 seconds into the window.
const MOMENT: u64 = 1_058_713;

/// A session with its clock, and everything that it was told to do.
struct Scene {
    session: Session,
    now: Now,
    turns: Turns,
    window: Option<Draining>,
    traffic: Traffic,
}

impl Scene {
    fn new(armable: bool) -> Self {
        Self {
            session: Session::new(armable),
            now: Now {
                ms: 1_000_000,
                tick: 0,
                busy: false,
            },
            turns: Turns::new(0),
            window: None,
            traffic: Traffic::default(),
        }
    }

    /// After its 101, with both directions armed by their first, empty events.
    fn open() -> Self {
        let mut scene = Self::new(true);
        assert_eq!(scene.data(Request, b""), Arm);
        scene.on(Event::Opened);
        scene.on(Event::Resumed(Request));
        assert_eq!(scene.armed(Response, b""), Arm);
        scene
    }

    /// The same, in a pod that drains, after the session's moment; nothing was done yet.
    fn due() -> Self {
        let mut scene = Self::open();
        scene.window = Some(WINDOW);
        assert_eq!(scene.tick(), Pass);
        scene.now.ms = MOMENT;
        scene
    }

    fn on(&mut self, event: Event<'_>) -> Action {
        self.session.on(event, self.now, &mut self.traffic)
    }

    fn tick(&mut self) -> Action {
        self.now.tick += 1;
        let leave = self.window.map(|window| (window, &mut self.turns));
        self.session
            .on(Event::Tick { leave }, self.now, &mut self.traffic)
    }

    fn tick_at(&mut self, ms: u64) -> Action {
        self.now.ms = ms;
        self.tick()
    }

    fn data(&mut self, direction: Direction, buffer: &[u8]) -> Action {
        let mut read = |at: usize, out: &mut [u8]| {
            let from = buffer.get(at..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            n
        };
        self.on(Event::Data {
            direction,
            len: buffer.len(),
            read: &mut read,
        })
    }

    /// Data, and if the direction was paused, it goes on.
    fn armed(&mut self, direction: Direction, buffer: &[u8]) -> Action {
        let action = self.data(direction, buffer);
        self.on(Event::Resumed(direction));
        action
    }

    /// So many messages of a busy worker that a direction is no longer armed.
    fn tire(&mut self, direction: Direction, frame: &[u8]) {
        self.now.busy = true;
        while self.armed(direction, frame) == Arm {}
    }
}

fn server(message: &[u8]) -> Vec<u8> {
    [&[0x82, message.len() as u8], message].concat()
}

fn client(message: &[u8]) -> Vec<u8> {
    [&[0x82, 0x80 | message.len() as u8, 0, 0, 0, 0], message].concat()
}

const SERVER_CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe8];
const CLIENT_CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];

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
fn the_server_may_close_first() {
    let mut scene = Scene::open();
    scene.armed(Response, SERVER_CLOSE);
    scene.armed(Request, CLIENT_CLOSE);
    assert_eq!(scene.session.ended(), Ended::Server);
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
    let both = [server(b"one"), server(b"two")].concat();
    assert_eq!(scene.data(Response, &both[..5]), Arm);
    assert_eq!(scene.data(Response, &both), Arm);
    scene.on(Event::Resumed(Response));
    scene.data(Response, &server(b"three"));
    assert_eq!((scene.traffic.messages, scene.traffic.bytes), ([0, 3], [0, 17]));
}

#[test]
fn an_idle_session_leaves_at_its_moment() {
    let mut scene = Scene::open();
    scene.window = Some(WINDOW);
    assert_eq!(scene.tick(), Pass);
    assert!(scene.session.is_leaving());
    assert_eq!(scene.tick_at(MOMENT - 1), Pass);
    assert_eq!(scene.tick_at(MOMENT), Write(Response));
    assert_eq!(scene.tick(), Pass);
    // The client answers, the server too, which nobody needs any more.
    assert_eq!(scene.armed(Request, CLIENT_CLOSE), Pass);
    assert_eq!(scene.data(Response, SERVER_CLOSE), Drop);
    assert_eq!(scene.data(Response, b""), Pass);
    assert_eq!(scene.traffic.dropped, 0);
    assert_eq!(scene.session.ended(), Ended::Drain);
}

#[test]
fn a_busy_session_leaves_behind_its_next_message() {
    let mut scene = Scene::due();
    assert_eq!(scene.data(Response, &server(b"last")), Close { keep: 6 });
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
    assert_eq!(scene.data(Response, &long[50..]), Close { keep: 52 });
}

#[test]
fn a_fragmented_message_with_a_ping_inside_is_not_cut() {
    let mut scene = Scene::due();
    scene.armed(Response, &[0x01, 1, b'a']);
    scene.armed(Response, &[0x89, 0]);
    scene.armed(Response, &[0x00, 1, b'b']);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &[0x80, 1, b'c']), Close { keep: 3 });
}

#[test]
fn a_server_without_pause_is_cut_at_its_last_boundary() {
    let mut scene = Scene::due();
    let chunk = [&server(b"whole")[..], &[0x82, 100, 1, 2]].concat();
    // It is given the time to come to an end.
    scene.armed(Response, &chunk);
    scene.now.ms = MOMENT + 1_000;
    let rest = [&[1; 98][..], &server(b"whole"), &[0x82, 100, 1, 2]].concat();
    assert_eq!(scene.data(Response, &rest), Close { keep: 98 + 7 });
    assert_eq!(scene.traffic.dropped, 4);
}

#[test]
fn bytes_that_are_paused_stay_in_front_of_our_close() {
    let mut scene = Scene::open();
    scene.window = Some(WINDOW);
    scene.tick();
    let held = server(b"held");
    assert_eq!(scene.data(Response, &held), Arm);
    // A tick cannot write in front of them.
    assert_eq!(scene.tick_at(MOMENT), Pass);
    let more = [held, server(b"more")].concat();
    assert_eq!(scene.data(Response, &more), Close { keep: 12 });
}

#[test]
fn a_client_that_does_not_answer_is_given_up() {
    let mut scene = Scene::due();
    assert_eq!(scene.tick(), Write(Response));
    assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS - 1), Pass);
    assert_eq!(scene.tick_at(MOMENT + PATIENCE_MS), Write(Request));
    assert_eq!(scene.data(Request, &client(b"too late")), Drop);
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS - 1), Pass);
    assert_eq!(scene.session.ended(), Ended::Drain);
    // The server did not end it either.
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS), Reset);
    assert_eq!(scene.session.ended(), Ended::Reset);
    assert_eq!(scene.tick(), Pass);
}

#[test]
fn a_client_that_talks_on_is_given_up_between_two_messages() {
    let mut scene = Scene::due();
    scene.tire(Request, &client(b"x"));
    assert_eq!(scene.tick(), Write(Response));
    // However much it says, the direction stays ready.
    for _ in 0..100 {
        assert_eq!(scene.armed(Request, &client(b"x")), Arm);
    }
    scene.now.ms = MOMENT + PATIENCE_MS;
    let message = client(b"and on");
    scene.armed(Request, &message[..7]);
    assert_eq!(scene.data(Request, &message[7..]), Close { keep: 5 });
    assert_eq!(scene.tick_at(MOMENT + 2 * PATIENCE_MS), Reset);
}

#[test]
fn one_that_went_silent_in_a_burst_is_asked_for_an_event() {
    let mut scene = Scene::open();
    scene.tire(Response, &server(b"token"));
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Ping);
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &[0x8a, 0]), Close { keep: 2 });
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
    assert_eq!(scene.tick_at(DEADLINE), Reset);
    assert_eq!(scene.session.ended(), Ended::Reset);
}

#[test]
fn an_old_envoy_still_closes_whoever_speaks() {
    let mut scene = Scene::new(false);
    scene.on(Event::Opened);
    scene.window = Some(WINDOW);
    scene.tick();
    scene.now.ms = MOMENT;
    assert_eq!(scene.data(Response, &server(b"x")), Close { keep: 3 });
}

#[test]
fn nothing_is_written_where_boundaries_are_lost() {
    let mut scene = Scene::due();
    scene.armed(Response, &[0x83, 0]);
    assert_eq!(scene.tick(), Pass);
    scene.armed(Response, &server(b"x"));
    assert_eq!(scene.tick_at(DEADLINE), Reset);
}

#[test]
fn a_session_that_is_closing_by_itself_is_left_alone() {
    for (direction, close) in [(Request, CLIENT_CLOSE), (Response, SERVER_CLOSE)] {
        let mut scene = Scene::due();
        scene.armed(direction, close);
        assert_eq!(scene.tick(), Pass);
        assert_eq!(scene.tick_at(DEADLINE), Reset);
    }
}

#[test]
fn a_drain_that_is_called_off_spares_who_is_still_there() {
    let mut scene = Scene::due();
    scene.window = None;
    assert_eq!(scene.tick(), Pass);
    assert!(!scene.session.is_leaving());
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert_eq!(scene.armed(Response, &server(b"x")), Arm);
}

#[test]
fn another_window_sets_another_moment() {
    let mut scene = Scene::due();
    scene.window = Some(Draining {
        timeout_ms: 500_000,
        ..WINDOW
    });
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert_eq!(scene.tick_at(1_500_000), Reset);
}

#[test]
fn what_cannot_be_done_is_tried_again_or_given_up() {
    let mut scene = Scene::due();
    assert_eq!(scene.tick(), Write(Response));
    scene.session.failed(Write(Response), scene.now);
    // No longer armed: the request direction neither, as it may be the same fault.
    assert_eq!(scene.tick(), Pass);
    assert_eq!(scene.data(Response, &server(b"x")), Close { keep: 3 });
    scene.session.failed(Close { keep: 3 }, scene.now);
    assert_eq!(scene.tick_at(DEADLINE), Reset);
}

#[test]
fn nothing_happens_before_the_101() {
    let mut scene = Scene::new(true);
    scene.window = Some(WINDOW);
    assert_eq!(scene.tick_at(DEADLINE), Pass);
    assert!(!scene.session.is_leaving());
}

#[test]
fn a_worker_that_has_time_arms_every_event() {
    let mut scene = Scene::open();
    for _ in 0..1_000 {
        assert_eq!(scene.armed(Request, &client(b"x")), Arm);
        assert_eq!(scene.armed(Response, &server(b"x")), Arm);
    }
    // But no large chunks, however rare: they would gather in Envoy's buffer.
    let mut large = vec![0x82, 126, 0xff, 0xff];
    large.resize(20_000, 0);
    assert_eq!(scene.data(Response, &large), Pass);
}

#[test]
fn a_busy_worker_arms_one_direction_of_a_session_within_its_budget() {
    let mut scene = Scene::open();
    scene.now.busy = true;
    let mut echo = || {
        let request = scene.armed(Request, &client(b"x")) == Arm;
        (request, scene.armed(Response, &server(b"x")) == Arm)
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
fn one_that_a_busy_worker_armed_in_the_request_direction_only_is_asked_for_an_event() {
    let mut scene = Scene::open();
    scene.now.busy = true;
    for _ in 0..100 {
        assert_eq!(scene.armed(Request, &client(b"x")), Arm);
        scene.armed(Response, &server(b"x"));
    }
    scene.window = Some(WINDOW);
    scene.tick();
    assert_eq!(scene.tick_at(MOMENT), Ping);
    assert_eq!(scene.data(Response, &[0x8a, 0]), Close { keep: 2 });
}

#[test]
fn a_worker_is_busy_while_much_passes_and_until_a_tick_brought_little() {
    let mut pace = Pace::default();
    let events = |pace: &mut Pace, n| (0..n).filter(|_| pace.event()).count();
    assert_eq!(events(&mut pace, 512), 0);
    pace.tick();
    assert_eq!(events(&mut pace, 513), 1);
    pace.tick();
    assert_eq!(events(&mut pace, 100), 100);
    pace.tick();
    assert_eq!(events(&mut pace, 100), 0);
}
