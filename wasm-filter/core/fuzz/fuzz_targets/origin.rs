//! An Origin passes only where a plain reading of it says so.
//!
//! Input, in lines: Host, then a value for each Origin header.
#![no_main]

use clew_filter_config::origin::OriginPolicy;
use clew_filter_core::origin::{Verdict, judge};
use clew_filter_core::session_key::Request;
use libfuzzer_sys::fuzz_target;

fn policy(allowed: &[&str]) -> OriginPolicy {
    OriginPolicy {
        allowed: allowed.iter().map(ToString::to_string).collect(),
        ..OriginPolicy::default()
    }
}

/// The host of an Origin, without its port and the dot at its end, in lowercase.
fn host(origin: &str) -> Option<String> {
    let (_, authority) = origin.split_once("://")?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    Some(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let authority = lines.next().unwrap_or_default();
    let origins: Vec<&[u8]> = lines.collect();
    let headers: Vec<(&[u8], &[u8])> = [(&b":authority"[..], authority)]
        .into_iter()
        .chain(origins.iter().map(|origin| (&b"origin"[..], *origin)))
        .collect();
    let request = Request {
        path: b"/",
        headers: &headers,
        peer: b"",
    };
    let passes = |policy: &OriginPolicy| judge(policy, &request) == Verdict::Allowed;

    let own = passes(&OriginPolicy::default());
    let listed = passes(&policy(&["https://app.example.com", "http://[::1]:3000"]));
    let below = passes(&policy(&["https://*.example.com"]));
    let every = passes(&policy(&["*"]));
    match origins.as_slice() {
        [] => assert!(own && listed && below && every),
        [origin] => {
            // What some policy lets pass is an Origin.
            assert!(every || !(own || listed || below));
            let text = String::from_utf8_lossy(origin.trim_ascii()).into_owned();
            if every && text != "null" {
                let (_, authority) = text.split_once("://").expect("a scheme");
                assert!(text.is_ascii() && !authority.contains(['/', '@', '?', '#', ' ', ',', '\\', '%']));
                let host = host(&text).expect("a host");
                if below {
                    assert!(host.ends_with(".example.com") && !host.starts_with('.') && !host.contains(".."));
                }
                if listed {
                    assert!(host == "app.example.com" || host.starts_with('['));
                }
                if own && !host.starts_with('[') {
                    let asked = String::from_utf8_lossy(request.headers[0].1).trim().to_ascii_lowercase();
                    assert!(asked.starts_with(&host), "{host} at {asked}");
                }
            }
        }
        _ => assert!(!own && !listed && !below && !every),
    }

    // A policy that reports refuses nothing, and says the same.
    let report = OriginPolicy {
        report: true,
        ..OriginPolicy::default()
    };
    let reported = judge(&report, &request);
    assert_eq!(reported, if own { Verdict::Allowed } else { Verdict::Reported });
});
