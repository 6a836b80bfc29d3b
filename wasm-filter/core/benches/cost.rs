//! What one frame, one key and one placement cost natively: `cargo bench -p clew-filter-core`.

use std::collections::HashMap;
use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clew_filter_config::rule::{Backend, KeySource, Pod, WeightedBackend};
use clew_filter_config::terms::Terms;
use clew_filter_core::frame::{self, Tracker};
use clew_filter_core::placement::{Pods, Seed, Shares};
use clew_filter_core::session::{Action, Direction, Event, Now, Session, Traffic};
use clew_filter_core::session_key::{Request, find};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// One masked message of 128 bytes, whole in its chunk, as a client sends it.
fn frame(c: &mut Criterion) {
    let mut message = vec![0x82, 0x80 | 126, 0, 128, 1, 2, 3, 4];
    message.resize(message.len() + 128, 7);
    let mut tracker = Tracker::new();
    c.bench_function("frame/128 B", |b| {
        b.iter(|| {
            let mut messages = 0_u64;
            tracker.advance(
                message.len(),
                |at, out| {
                    out.copy_from_slice(&message[at..at + out.len()]);
                    out.len()
                },
                |_, event| messages += u64::from(event == frame::Event::Message),
            );
            messages
        });
    });
}

/// What a worker's tick asks of 10,000 sessions, of which none is due, and what it does for as many that all are, as
/// their terms have changed.
fn tick(c: &mut Criterion) {
    const SESSIONS: u32 = 10_000;
    let terms = Terms {
        idle_ms: 3_600_000,
        max_duration_ms: 86_400_000,
        ..Terms::default()
    };
    let now = Now {
        ms: 1_000_000,
        ..Now::default()
    };
    let mut traffic = Traffic::default();
    let session = |lot: u32| {
        let mut session = Session::new(true, lot.wrapping_mul(0x9e37_79b9));
        session.on(Event::Opened, now, &terms, &mut Traffic::default());
        session.on(Event::Tick { leave: None }, now, &terms, &mut Traffic::default());
        Box::new(session)
    };
    let mut sessions: HashMap<u32, (u64, Box<Session>)> = (0..SESSIONS)
        .map(|id| (id, session(id)))
        .map(|(id, session)| (id, (session.due(), session)))
        .collect();
    c.bench_function("tick/10,000 not due", |b| {
        b.iter(|| {
            let due = sessions.values().filter(|(due, _)| *due <= black_box(now.ms));
            due.count()
        });
    });
    c.bench_function("tick/10,000 changed", |b| {
        b.iter(|| {
            let mut passed = 0;
            for (due, session) in sessions.values_mut() {
                let action = session.on(Event::Tick { leave: None }, now, &terms, &mut traffic);
                passed += u32::from(action == Action::Pass);
                *due = session.due();
            }
            assert_eq!(passed, SESSIONS);
        });
    });
}

/// The same message as [`frame`], through a whole session, without and with limits.
fn message(c: &mut Criterion) {
    let mut message = vec![0x82, 0x80 | 126, 0, 128, 1, 2, 3, 4];
    message.resize(message.len() + 128, 7);
    let limits = Terms {
        max_message_bytes: 1 << 20,
        rate_messages: 1_000_000_000,
        rate_interval_ms: 1,
        rate_burst: 1_000_000_000,
        ..Terms::default()
    };
    for (name, terms) in [("free", Terms::default()), ("limited", limits)] {
        let mut session = Session::new(false, 0);
        let mut traffic = Traffic::default();
        let mut now = Now::default();
        session.on(Event::Opened, now, &terms, &mut traffic);
        c.bench_function(&format!("message/{name}"), |b| {
            b.iter(|| {
                now.ms += 1;
                let mut read = |at: usize, out: &mut [u8]| {
                    out.copy_from_slice(&message[at..at + out.len()]);
                    out.len()
                };
                let data = Event::Data {
                    direction: Direction::Request,
                    len: message.len(),
                    read: &mut read,
                };
                assert_eq!(session.on(data, now, &terms, &mut traffic), Action::Pass);
            });
        });
    }
}

fn session_key(c: &mut Criterion) {
    let claims = URL_SAFE_NO_PAD.encode(
        r#"{"iss":"https://issuer.example.com","aud":["chat"],"sub":"user-7","iat":1767225600,"exp":1767229200}"#,
    );
    let bearer = format!("Bearer eyJhbGciOiJIUzI1NiJ9.{claims}.c2lnbmF0dXJl");
    let headers: [(&[u8], &[u8]); 8] = [
        (b":authority", b"chat.example.com"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
        (b"authorization", bearer.as_bytes()),
        (b"sec-websocket-protocol", b"graphql-transport-ws, room.42"),
        (b"cookie", b"theme=dark; consent=yes; sid=0123456789abcdef"),
        (b"x-forwarded-for", b"198.51.100.1, 198.51.100.2"),
    ];
    let request = Request {
        path: b"/ws/room42?v=2&room=r%C3%BCm",
        headers: &headers,
        peer: b"192.0.2.1:5000",
    };
    let name = |name: &str| name.to_owned();
    let sources = [
        ("cookie", KeySource::Cookie { name: name("sid") }),
        ("query", KeySource::QueryParam { name: name("room") }),
        ("segment", KeySource::PathSegment { index: 1 }),
        (
            "jwt",
            KeySource::JwtClaim {
                path: vec![name("sub")],
                header: name("authorization"),
                verified: false,
            },
        ),
        (
            "subprotocol",
            KeySource::Subprotocol {
                prefix: name("room."),
            },
        ),
        ("forwarded", KeySource::SourceIp { trusted_hops: 1 }),
    ];
    for (name, source) in sources {
        let source = [source];
        assert!(find(&source, &request).is_some(), "{name}");
        c.bench_function(&format!("key/{name}"), |b| {
            b.iter(|| find(black_box(&source), black_box(&request)));
        });
    }
}

fn placement(c: &mut Criterion) {
    let seed = Seed::new([7; 16]);
    for n in [10_usize, 1_000] {
        let pod = |i: usize| Pod {
            name: format!("chat-7d9f8b6c5-{i:05}"),
            uid: String::new(),
            address: format!("10.0.{}.{}:8080", i / 256, i % 256),
            steer: None,
            draining: None,
        };
        let backend = Backend {
            pods: (0..n).map(pod).collect(),
        };
        let pods = Pods::new(&seed, backend);
        c.bench_with_input(BenchmarkId::new("placement/by key", n), &pods, |b, pods| {
            b.iter(|| pods.by_key(seed.key(black_box(b"0123456789abcdef"))));
        });
        c.bench_with_input(BenchmarkId::new("placement/bounded", n), &pods, |b, pods| {
            b.iter(|| pods.by_key_bounded(seed.key(black_box(b"0123456789abcdef")), 125, |pod| pod as u64));
        });
    }
    for n in [2, 16] {
        let weighted = |i: u32| WeightedBackend {
            id: format!("shop/chat-{i}:80"),
            weight: 1 + i,
        };
        let shares = Shares::new(&seed, &(0..n).map(weighted).collect::<Vec<_>>());
        c.bench_with_input(BenchmarkId::new("placement/shares", n), &shares, |b, shares| {
            b.iter(|| shares.choose(seed.key(black_box(b"0123456789abcdef")), |_| true));
        });
    }
}

criterion_group!(benches, frame, message, tick, session_key, placement);
criterion_main!(benches);
