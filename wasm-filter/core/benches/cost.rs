//! What one frame, one key and one placement cost natively: `cargo bench -p clew-filter-core`.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clew_filter_config::rule::{Backend, KeySource, Pod, WeightedBackend};
use clew_filter_core::frame::{Event, Tracker};
use clew_filter_core::placement::{Pods, Seed, Shares};
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
                |_, event| messages += u64::from(event == Event::Message),
            );
            messages
        });
    });
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

criterion_group!(benches, frame, session_key, placement);
criterion_main!(benches);
