//! What a session costs a worker, whatever its peers send.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem::{needs_drop, size_of};
use std::rc::Rc;

use clew_filter_config::rule::{Backend, Pod, Rule};
use clew_filter_core::frame::Tracker;
use clew_filter_core::handshake::{self, Known, Placed, Presented, Random};
use clew_filter_core::live::Load;
use clew_filter_core::placement::Seed;
use clew_filter_core::session::{Direction, Event, Now, Session, Traffic};
use clew_filter_core::session_key::Request;
use clew_filter_core::world::{LaidBackend, LaidRule};

struct Counting;

thread_local! {
    /// Bytes that this thread took and did not give back.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What `make` makes, and how many bytes of the heap that holds.
fn held<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    let made = make();
    (made, LIVE.get().wrapping_sub(before))
}

/// The longest names that Kubernetes takes.
fn rule() -> LaidRule {
    let (name, label) = ("n".repeat(253), "l".repeat(63));
    let backend = format!("{label}/{label}:65535");
    let json = format!(
        r#"{{"config": "0000000a", "name": "{label}/{name}/{label}", "backends": [{{"id": "{backend}", "weight": 1}}],
            "sessionKey": [{{"type": "Header", "name": "x-room"}}],
            "drain": {{"timeoutMs": 1, "closeCode": 1012, "closeReason": ""}}}}"#
    );
    LaidRule::new(&SEED, Rule::parse(json.as_bytes()).expect("it is one"))
}

const SEED: Seed = Seed::new([7; 16]);

struct Dice;

impl Random for Dice {
    fn draw(&mut self) -> u64 {
        4
    }

    fn key(&mut self) -> Option<[u8; 16]> {
        Some([4; 16])
    }
}

fn place(rule: &LaidRule, key: &[u8]) -> Placed {
    let pod = Pod {
        name: "p".repeat(253),
        uid: String::new(),
        address: "10.0.0.1:80".into(),
        steer: None,
        draining: None,
    };
    let backends = [Some(Rc::new(LaidBackend::new(
        &SEED,
        Backend { pods: vec![pod] },
    )))];
    let known = Known {
        rule,
        seed: &SEED,
        backends: &backends,
        loads: &|_| Load::default(),
        presented: &Presented::Nothing,
        draining: false,
    };
    let request = Request {
        path: b"/ws",
        headers: &[(b"x-room", key)],
        peer: b"",
    };
    handshake::upgrade(&known, &request, || false, &mut Dice).expect("there is a pod")
}

/// A fixed number of bytes, and nothing elsewhere: what has nothing to drop owns no memory that could grow.
#[test]
fn a_session_is_small_and_owns_nothing_that_grows() {
    assert!(!needs_drop::<Session>());
    assert!(
        size_of::<Session>() <= 512,
        "{} bytes, of them 2 × {} for frames",
        size_of::<Session>(),
        size_of::<Tracker>()
    );
}

#[test]
fn what_passes_leaves_nothing_behind() {
    let mut noise = 1_u64;
    let mut byte = || {
        noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (noise >> 56) as u8
    };
    let chunks: Vec<Vec<u8>> = (0..10_000)
        .map(|_| (0..byte()).map(|_| byte()).collect())
        .collect();
    let rule = rule();
    let (_, bytes) = held(|| {
        let mut session = Session::new(true, 0);
        for (at, chunk) in chunks.iter().enumerate() {
            let mut read = |at: usize, out: &mut [u8]| {
                let from = chunk.get(at..).unwrap_or_default();
                let n = from.len().min(out.len());
                out[..n].copy_from_slice(&from[..n]);
                n
            };
            let direction = if at % 2 == 0 {
                Direction::Request
            } else {
                Direction::Response
            };
            let event = Event::Data {
                direction,
                len: chunk.len(),
                read: &mut read,
            };
            session.on(event, Now::default(), &rule.rule.terms, &mut Traffic::default());
        }
        session
    });
    assert_eq!(bytes, 0);
}

#[test]
fn what_a_handshake_holds_has_nothing_to_do_with_what_a_client_sends() {
    let rule = rule();
    let (_, little) = held(|| place(&rule, b"7"));
    let (placed, much) = held(|| place(&rule, &[b'7'; 60 << 10]));
    assert_eq!(little, much);
    assert!(little <= 1_024, "{little} bytes until the 101");
    // From then on: the names of the rule, the backend and the pod.
    let (place, bytes) = held(|| handshake::seat(&rule, &placed, None, None));
    let names = place.map_or(0, |place| {
        place.rule.len() + place.backend.len() + place.pod.len()
    });
    assert_eq!(names, 381 + 133 + 253);
    assert!(bytes <= names + 3 * (2 * size_of::<usize>() + 8), "{bytes} bytes");
}
