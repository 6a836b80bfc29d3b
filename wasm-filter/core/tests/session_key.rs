//! Every source of a session key: what it finds, and what it does not take for a value.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use clew_filter_config::rule::KeySource;
use clew_filter_core::session_key::{READ_AT_MOST, Request, find};
use proptest::prelude::*;

const GET: Request<'_> = Request {
    path: b"/",
    headers: &[],
    peer: b"192.0.2.1:5000",
};

/// The value of one source, as text.
fn key(source: &KeySource, request: &Request<'_>) -> Option<String> {
    let found = find(std::slice::from_ref(source), request)?;
    assert_eq!(found.source, 0);
    assert!(!found.value.is_empty());
    Some(String::from_utf8(found.value.into_owned()).unwrap())
}

fn with_headers(source: &KeySource, headers: &[(&str, &str)]) -> Option<String> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let request = Request {
        headers: &headers,
        ..GET
    };
    key(source, &request)
}

fn with_path(source: &KeySource, path: &str) -> Option<String> {
    let request = Request {
        path: path.as_bytes(),
        ..GET
    };
    key(source, &request)
}

fn cookie() -> KeySource {
    KeySource::Cookie {
        name: "sid".to_owned(),
    }
}

fn header(name: &str) -> KeySource {
    KeySource::Header {
        name: name.to_owned(),
    }
}

fn query() -> KeySource {
    KeySource::QueryParam {
        name: "room".to_owned(),
    }
}

fn segment(index: u32) -> KeySource {
    KeySource::PathSegment { index }
}

fn claim(path: &[&str]) -> KeySource {
    KeySource::JwtClaim {
        path: path.iter().map(ToString::to_string).collect(),
        header: "authorization".to_owned(),
        verified: false,
    }
}

fn subprotocol() -> KeySource {
    KeySource::Subprotocol {
        prefix: "room.".to_owned(),
    }
}

fn source_ip(trusted_hops: u32) -> KeySource {
    KeySource::SourceIp { trusted_hops }
}

#[test]
fn the_first_source_with_a_value_wins() {
    let sources = [cookie(), query(), header("x-room")];
    let headers: [(&[u8], &[u8]); 2] = [(b"cookie", b"sid="), (b"x-room", b"3")];
    let request = Request {
        path: b"/?room=2",
        headers: &headers,
        ..GET
    };
    let found = find(&sources, &request).unwrap();
    assert_eq!((found.source, found.value), (1, Cow::Borrowed(b"2".as_slice())));
    assert_eq!(find(&sources, &GET), None);
    assert_eq!(find(&[], &request), None);
}

#[test]
fn cookies() {
    for (headers, expected) in [
        (&["sid=a"][..], Some("a")),
        (&["other=1; sid=a; third=2"], Some("a")),
        (&["other=1;sid=a"], Some("a")),
        (&["other=1", "sid=a"], Some("a")),
        (&["sid=\"a\""], Some("a")),
        (&["sid = a "], Some("a")),
        (&["sid=a=b=="], Some("a=b==")),
        (&["sid=%41"], Some("%41")),
        // Of several the first with a value: the one with the longest path (RFC 6265, 5.4).
        (&["sid=a; sid=b"], Some("a")),
        (&["sid=; sid=\"\"; sid=b"], Some("b")),
        (&["sid=\"a"], Some("\"a")),
        (&["sid=\""], Some("\"")),
        (&["SID=a"], None),
        (&["xsid=a"], None),
        (&["sid"], None),
        (&["sid="], None),
        (&["=a"], None),
        (&[""], None),
        (&[], None),
    ] {
        let headers: Vec<_> = headers.iter().map(|&value| ("cookie", value)).collect();
        assert_eq!(
            with_headers(&cookie(), &headers).as_deref(),
            expected,
            "{headers:?}"
        );
    }
}

#[test]
fn a_cookie_ends_within_the_bound_or_is_none() {
    let filler = |len: usize| format!("f={}", "x".repeat(len - 2));
    // `f=xxx…;sid=a` of exactly the bound, and one byte more.
    let fits = format!("{};sid=a", filler(READ_AT_MOST - 6));
    assert_eq!(fits.len(), READ_AT_MOST);
    assert_eq!(
        with_headers(&cookie(), &[("cookie", &fits)]).as_deref(),
        Some("a")
    );
    for beyond in [format!("{fits}b"), format!("{};sid=a", filler(64 * 1024))] {
        assert_eq!(with_headers(&cookie(), &[("cookie", &beyond)]), None);
    }
    // The bound is one for all headers.
    let half = filler(READ_AT_MOST / 2);
    let headers = [("cookie", half.as_str()), ("cookie", &half), ("cookie", "sid=a")];
    assert_eq!(with_headers(&cookie(), &headers), None);
    assert_eq!(with_headers(&cookie(), &headers[1..]).as_deref(), Some("a"));
    let before = format!("sid=a; {}", filler(64 * 1024));
    assert_eq!(
        with_headers(&cookie(), &[("cookie", &before)]).as_deref(),
        Some("a")
    );
}

#[test]
fn headers() {
    let source = header("x-room");
    for (headers, expected) in [
        (&[("x-room", "7")][..], Some("7")),
        (&[("x-room", " 7\t")], Some("7")),
        (&[("x-room", "7"), ("x-room", "8")], Some("7")),
        (&[("x-room", " "), ("x-room", "8")], Some("8")),
        // A comma may be part of a value.
        (&[("x-room", "a, b")], Some("a, b")),
        (&[("x-rooms", "7")], None),
        (&[("x-room", "")], None),
    ] {
        assert_eq!(with_headers(&source, headers).as_deref(), expected, "{headers:?}");
    }
}

#[test]
fn a_long_key_is_whole() {
    let long = "k".repeat(3 * READ_AT_MOST);
    assert_eq!(with_headers(&header("x-room"), &[("x-room", &long)]), Some(long));
}

#[test]
fn query_parameters() {
    for (path, expected) in [
        ("/ws?room=7", Some("7")),
        ("/ws?a=1&room=7&b=2", Some("7")),
        ("?room=7", Some("7")),
        ("/ws?room=7&room=8", Some("7")),
        ("/ws?room=&room=8", Some("8")),
        ("/ws?room=a=b?c/d", Some("a=b?c/d")),
        // As forms are decoded, in the name too.
        ("/ws?r%6fom=a%2Bb+c%20d", Some("a+b c d")),
        ("/ws?room=%c3%bc", Some("ü")),
        ("/ws?room=100%&x", Some("100%")),
        ("/ws?room=%zz%4", Some("%zz%4")),
        ("/ws?Room=7", None),
        ("/ws?room", None),
        ("/ws?room;=7", None),
        ("/ws/room=7", None),
        ("/ws?", None),
        ("", None),
    ] {
        assert_eq!(with_path(&query(), path).as_deref(), expected, "{path}");
    }
}

#[test]
fn path_segments() {
    for (path, index, expected) in [
        ("/ws/room42", 0, Some("ws")),
        ("/ws/room42", 1, Some("room42")),
        ("/ws/room42?x=/y", 1, Some("room42")),
        ("/ws/room42", 2, None),
        ("/ws/", 1, None),
        ("/ws//a", 1, None),
        ("/ws//a", 2, Some("a")),
        ("/ws/room%34%32", 1, Some("room42")),
        ("/ws/a%2Fb+c", 1, Some("a/b+c")),
        ("/", 0, None),
        ("", 0, None),
        ("*", 0, None),
        ("ws/room42", 0, None),
        ("/ws", u32::MAX, None),
    ] {
        assert_eq!(
            with_path(&segment(index), path).as_deref(),
            expected,
            "{path} {index}"
        );
    }
}

#[test]
fn a_target_is_read_up_to_the_bound() {
    let long = "x".repeat(READ_AT_MOST);
    assert_eq!(
        with_path(&query(), &format!("/ws?room=7&f={long}")).as_deref(),
        Some("7")
    );
    assert_eq!(with_path(&query(), &format!("/ws?room={long}")), None);
    assert_eq!(with_path(&query(), &format!("/ws?f={long}&room=7")), None);
    assert_eq!(with_path(&query(), &format!("/{long}?room=7")), None);
    assert_eq!(
        with_path(&segment(0), &format!("/ws/{long}")).as_deref(),
        Some("ws")
    );
    assert_eq!(with_path(&segment(1), &format!("/ws/{long}")), None);
    assert_eq!(
        with_path(&segment(1), &format!("/ws/a?{long}")).as_deref(),
        Some("a")
    );
    let exact = format!("/{}", "x".repeat(READ_AT_MOST - 1));
    assert_eq!(with_path(&segment(0), &exact), Some(exact[1..].to_owned()));
}

fn bearer(claims: &str) -> String {
    format!("Bearer {}", token(claims))
}

fn token(claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(r#"{"alg":"HS256"}"#), encode(claims))
}

#[test]
fn jwt_claims() {
    for (claims, path, expected) in [
        (r#"{"sub":"user-7"}"#, &["sub"][..], Some("user-7")),
        (r#"{"sub":"\u00fc\n"}"#, &["sub"], Some("ü\n")),
        (r#"{"user":{"org":{"id":7}}}"#, &["user", "org", "id"], Some("7")),
        (
            r#"{"https://example.com/id":7}"#,
            &["https://example.com/id"],
            Some("7"),
        ),
        (r#"{"n":-0007}"#, &["n"], None),
        (r#"{"n":-7}"#, &["n"], Some("-7")),
        (
            r#"{"n":18446744073709551615}"#,
            &["n"],
            Some("18446744073709551615"),
        ),
        (r#"{"n":18446744073709551616}"#, &["n"], None),
        (r#"{"n":1.5}"#, &["n"], None),
        (r#"{"n":1e3}"#, &["n"], None),
        (r#"{"b":true}"#, &["b"], None),
        (r#"{"z":null}"#, &["z"], None),
        (r#"{"l":["a"]}"#, &["l"], None),
        (r#"{"l":["a"]}"#, &["l", "0"], None),
        (r#"{"o":{}}"#, &["o"], None),
        (r#"{"sub":""}"#, &["sub"], None),
        (r#"{"sub":"a"}"#, &["sub", "x"], None),
        (r#"{"sub":"a"}"#, &["x", "sub"], None),
        (r#"{"sub":"a"}"#, &[], None),
        (r#"["sub"]"#, &["sub"], None),
        (r#"{"sub":"a"} "#, &["sub"], Some("a")),
        (r#"{"sub":"a"}x"#, &["sub"], None),
        (r#"{"sub":"a""#, &["sub"], None),
        ("", &["sub"], None),
    ] {
        let headers = [("authorization", bearer(claims))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(
            with_headers(&claim(path), &headers).as_deref(),
            expected,
            "{claims} {path:?}"
        );
    }
}

#[test]
fn jwt_forms() {
    let token = token(r#"{"sub":"a"}"#);
    let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("not three parts: {token}")
    };
    let padded = URL_SAFE.encode(r#"{"sub":"a"}"#);
    assert!(padded.ends_with('='));
    for (value, expected) in [
        (token.clone(), Some("a")),
        (format!("Bearer {token}"), Some("a")),
        (format!("bEARER   {token} "), Some("a")),
        (format!("Bearer {head}.{padded}.{signature}"), Some("a")),
        (format!("Bearer {head}.{claims}."), Some("a")),
        (format!("Bearer {head}.{claims}"), None),
        (format!("Bearer {head}.{claims}.{signature}.x.y"), None),
        (format!("Bearer {head}.{claims}!.{signature}"), None),
        ("Bearer ".to_owned(), None),
        ("Bearer".to_owned(), None),
        ("not a token".to_owned(), None),
        ("..".to_owned(), None),
    ] {
        let found = with_headers(&claim(&["sub"]), &[("authorization", &value)]);
        assert_eq!(found.as_deref(), expected, "{value}");
    }
}

#[test]
fn a_token_is_bounded_in_size_and_depth() {
    let sub = claim(&["sub"]);
    let of_len = |padding: usize| bearer(&format!(r#"{{"sub":"a","x":"{}"}}"#, "x".repeat(padding)));
    assert_eq!(
        with_headers(&sub, &[("authorization", &of_len(6_000))]).as_deref(),
        Some("a")
    );
    assert_eq!(with_headers(&sub, &[("authorization", &of_len(6_200))]), None);
    let nested = |depth: usize| {
        bearer(&format!(
            r#"{{"sub":"a","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    assert_eq!(
        with_headers(&sub, &[("authorization", &nested(100))]).as_deref(),
        Some("a")
    );
    assert_eq!(with_headers(&sub, &[("authorization", &nested(3_000))]), None);
}

#[test]
fn subprotocols() {
    for (headers, expected) in [
        (&["room.42"][..], Some("42")),
        (&["graphql-ws, room.42,room.43"], Some("42")),
        (&["graphql-ws", "room.42"], Some("42")),
        (&["room., room.42"], Some("42")),
        (&["Room.42"], None),
        (&["xroom.42"], None),
        (&["room.", ","], None),
        (&[], None),
    ] {
        let headers: Vec<_> = headers
            .iter()
            .map(|&value| ("sec-websocket-protocol", value))
            .collect();
        assert_eq!(
            with_headers(&subprotocol(), &headers).as_deref(),
            expected,
            "{headers:?}"
        );
    }
}

#[test]
fn peers() {
    for (peer, expected) in [
        ("192.0.2.1:5000", Some("192.0.2.1")),
        ("192.0.2.1", Some("192.0.2.1")),
        ("[2001:DB8:0:0::1]:5000", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[::ffff:192.0.2.1]:5000", Some("192.0.2.1")),
        ("[::ffff:c000:201]:5000", Some("192.0.2.1")),
        ("[fe80::1%eth0]:5000", Some("fe80::1")),
        ("192.0.2.1:", None),
        ("192.0.2.1:+1", None),
        ("192.0.2.1:65536", None),
        ("192.0.2.256:5000", None),
        ("192.0.02.1:5000", None),
        ("[192.0.2.1]:5000", None),
        ("[2001:db8::1:5000", None),
        ("[2001:db8::1]5000", None),
        ("/run/envoy.sock", None),
        ("", None),
    ] {
        let request = Request {
            peer: peer.as_bytes(),
            ..GET
        };
        assert_eq!(key(&source_ip(0), &request).as_deref(), expected, "{peer}");
    }
}

#[test]
fn forwarded_addresses() {
    for (headers, hops, expected) in [
        (&["198.51.100.1, 198.51.100.2"][..], 1, Some("198.51.100.2")),
        (&["198.51.100.1, 198.51.100.2"], 2, Some("198.51.100.1")),
        (&["198.51.100.1, 198.51.100.2"], 3, None),
        (&["198.51.100.1", "198.51.100.2"], 1, Some("198.51.100.2")),
        (&["198.51.100.1", "198.51.100.2"], 2, Some("198.51.100.1")),
        (&["198.51.100.1,, ,198.51.100.2,"], 2, Some("198.51.100.1")),
        (&["198.51.100.1:99"], 1, Some("198.51.100.1")),
        (&["[2001:DB8::1]:99"], 1, Some("2001:db8::1")),
        (&["2001:DB8::1"], 1, Some("2001:db8::1")),
        (&["::ffff:198.51.100.1"], 1, Some("198.51.100.1")),
        // What a client forges on the left changes nothing.
        (&["forged\"<>, 198.51.100.1"], 1, Some("198.51.100.1")),
        (&["198.51.100.1, unknown"], 1, None),
        (&["198.51.100.1"], u32::MAX, None),
        (&[], 1, None),
    ] {
        let headers: Vec<_> = headers.iter().map(|&value| ("x-forwarded-for", value)).collect();
        assert_eq!(
            with_headers(&source_ip(hops), &headers).as_deref(),
            expected,
            "{headers:?} {hops}"
        );
    }
}

fn every_source() -> Vec<KeySource> {
    vec![
        cookie(),
        header("x-room"),
        query(),
        segment(1),
        claim(&["sub"]),
        subprotocol(),
        source_ip(0),
        source_ip(2),
    ]
}

proptest! {
    /// Header bytes promise nothing, and least of all UTF-8.
    #[test]
    fn any_bytes_are_read_without_harm(
        path in prop::collection::vec(any::<u8>(), 0..200),
        value in prop::collection::vec(any::<u8>(), 0..200),
        peer in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let names = ["cookie", "x-room", "authorization", "sec-websocket-protocol", "x-forwarded-for"];
        let headers: Vec<_> = names.iter().map(|name| (name.as_bytes(), value.as_slice())).collect();
        let request = Request { path: &path, headers: &headers, peer: &peer };
        for source in every_source() {
            let found = find(std::slice::from_ref(&source), &request);
            prop_assert!(found.is_none_or(|found| !found.value.is_empty()));
        }
    }

    /// Whatever a key is, its percent-encoded spelling is the same key.
    #[test]
    fn a_key_survives_its_encoding(key in prop::collection::vec(any::<u8>(), 1..40)) {
        let encoded: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/ws/{encoded}?a=b&room={encoded}");
        let request = Request { path: path.as_bytes(), ..GET };
        for source in [segment(1), query()] {
            prop_assert_eq!(&*find(&[source], &request).unwrap().value, key.as_slice());
        }
    }
}
