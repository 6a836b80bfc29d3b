//! Any request has one key for all sources, or none, and it is well-formed.
//!
//! Input, in lines: `:path`, the peer, then `name:value` for each header.
#![no_main]

use std::net::IpAddr;

use clew_filter_config::rule::KeySource;
use clew_filter_core::session_key::{Request, find};
use libfuzzer_sys::fuzz_target;

fn sources() -> [KeySource; 9] {
    let name = || "k".to_owned();
    let claim = |path: &[&str]| KeySource::JwtClaim {
        path: path.iter().map(ToString::to_string).collect(),
        header: "authorization".to_owned(),
        verified: false,
    };
    [
        KeySource::Cookie { name: name() },
        claim(&["sub"]),
        claim(&["user", "id"]),
        KeySource::QueryParam { name: name() },
        KeySource::Header { name: name() },
        KeySource::PathSegment { index: 1 },
        KeySource::Subprotocol {
            prefix: "k.".to_owned(),
        },
        KeySource::SourceIp { trusted_hops: 2 },
        KeySource::SourceIp { trusted_hops: 0 },
    ]
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let (path, peer) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let headers: Vec<(&[u8], &[u8])> = lines
        .filter_map(|line| {
            // The first may be that of `:authority`.
            let colon = 1 + line.iter().skip(1).position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let request = Request {
        path,
        headers: &headers,
        peer,
    };

    let sources = sources();
    let alone = sources
        .each_ref()
        .map(|source| find(std::slice::from_ref(source), &request).map(|found| found.value));
    for (source, value) in sources.iter().zip(&alone) {
        let Some(value) = value else { continue };
        assert!(!value.is_empty());
        match source {
            KeySource::SourceIp { .. } => {
                let text = std::str::from_utf8(value).expect("an address is text");
                let address: IpAddr = text.parse().expect("an address");
                assert_eq!(address.to_canonical().to_string(), text);
            }
            KeySource::JwtClaim { .. } => {
                std::str::from_utf8(value).expect("JSON is text");
            }
            KeySource::Cookie { .. } => assert!(!value.contains(&b';')),
            KeySource::Subprotocol { .. } => assert!(!value.contains(&b',')),
            _ => {}
        }
    }

    let found = find(&sources, &request);
    let first = alone.iter().position(Option::is_some);
    assert_eq!(found.as_ref().map(|found| found.source), first);
    assert_eq!(
        found.map(|found| found.value),
        first.and_then(|first| alone[first].clone())
    );

    // One Cookie header says what one for each of its pairs says (RFC 9113, 8.2.3), up to the bound.
    if input.len() < clew_filter_core::session_key::READ_AT_MOST {
        let crumbs: Vec<(&[u8], &[u8])> = headers
            .iter()
            .flat_map(|&(name, value)| {
                let split = move |byte: &u8| name == b"cookie" && *byte == b';';
                value.split(split).map(move |crumb| (name, crumb))
            })
            .collect();
        let crumbled = Request {
            headers: &crumbs,
            ..request
        };
        let value = find(&sources[..1], &crumbled).map(|found| found.value);
        assert_eq!(value, alone[0]);
    }
});
