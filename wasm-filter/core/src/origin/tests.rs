use clew_filter_config::origin::OriginPolicy;

use super::{Verdict, judge};
use crate::session_key::Request;

fn policy(allowed: &[&str]) -> OriginPolicy {
    OriginPolicy {
        allowed: allowed.iter().map(ToString::to_string).collect(),
        ..OriginPolicy::default()
    }
}

fn verdict(policy: &OriginPolicy, headers: &[(&str, &[u8])]) -> Verdict {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), *value))
        .collect();
    judge(
        policy,
        &Request {
            path: b"/ws",
            headers: &headers,
            peer: b"",
        },
    )
}

fn passes(policy: &OriginPolicy, host: &str, origin: &str) -> bool {
    let headers = [(":authority", host.as_bytes()), ("origin", origin.as_bytes())];
    verdict(policy, &headers) == Verdict::Allowed
}

#[test]
fn by_default_the_page_is_of_the_same_host_and_port() {
    for (host, origin) in [
        ("chat.example.com", "https://chat.example.com"),
        ("chat.example.com", "http://chat.example.com"),
        ("chat.example.com", "https://chat.example.com:443"),
        ("chat.example.com:443", "https://chat.example.com"),
        ("chat.example.com:80", "https://chat.example.com"),
        ("chat.example.com:8080", "http://chat.example.com:8080"),
        ("Chat.Example.COM", "HTTPS://chat.EXAMPLE.com"),
        ("chat.example.com.", "https://chat.example.com"),
        ("chat.example.com", "https://chat.example.com."),
        ("localhost:3000", "http://localhost:3000"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[2001:DB8:0::1]", "https://[2001:db8::1]"),
    ] {
        assert!(
            passes(&OriginPolicy::default(), host, origin),
            "{origin} at {host}"
        );
    }
    for (host, origin) in [
        ("chat.example.com", "https://evil.example"),
        ("chat.example.com", "https://chat.example.com.evil.example"),
        ("chat.example.com", "https://evil-chat.example.com"),
        ("chat.example.com", "https://sub.chat.example.com"),
        ("chat.example.com", "https://example.com"),
        ("chat.example.com", "https://chat.example.com:8443"),
        ("chat.example.com", "https://chat.example.com:80"),
        ("chat.example.com:8080", "http://chat.example.com"),
        ("chat.example.com", "ftp://chat.example.com"),
        ("chat.example.com", "chrome-extension://chat.example.com"),
        ("chat.example.com", "null"),
        ("[::1]", "http://[::2]"),
        ("::1", "http://[::1]"),
        ("", "http://"),
        ("", "null"),
    ] {
        assert!(
            !passes(&OriginPolicy::default(), host, origin),
            "{origin} at {host}"
        );
    }
}

#[test]
fn listed_origins_are_compared_by_scheme_host_and_port() {
    let policy = policy(&[
        "https://app.example.com",
        "http://dev.example.com:3000",
        "https://xn--bcher-kva.example",
        "https://[2001:db8::1]:8443",
        "chrome-extension://abcdefghijklmnop",
    ]);
    for origin in [
        "https://app.example.com",
        "https://app.example.com:443",
        "https://APP.example.com.",
        "http://dev.example.com:3000",
        "https://xn--bcher-kva.example",
        "https://XN--BCHER-KVA.example",
        "https://[2001:db8:0:0::1]:8443",
        "chrome-extension://abcdefghijklmnop",
    ] {
        assert!(passes(&policy, "chat.example.com", origin), "{origin}");
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com:80",
        "https://dev.example.com:3000",
        "http://dev.example.com",
        "https://bücher.example",
        "https://[2001:db8::1]",
        "https://[2001:db8::2]:8443",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "moz-extension://abcdefghijklmnop",
        // The request's own host is not listed.
        "https://chat.example.com",
    ] {
        assert!(!passes(&policy, "chat.example.com", origin), "{origin}");
    }
}

#[test]
fn an_asterisk_before_the_host_stands_for_one_or_more_labels() {
    let policy = policy(&["https://*.example.com", "https://*.dev.example:8443"]);
    for origin in [
        "https://a.example.com",
        "https://a.b.example.com",
        "https://A.EXAMPLE.com:443",
        "https://a.example.com.",
        "https://a.dev.example:8443",
    ] {
        assert!(passes(&policy, "chat.example.com", origin), "{origin}");
    }
    for origin in [
        "https://example.com",
        "https://.example.com",
        "https://aexample.com",
        "https://*.example.com",
        "https://a..example.com",
        "https://a.example.com:8443",
        "http://a.example.com",
        "https://a.dev.example",
        "https://a.example.com.evil.example",
        "https://evil.example/.example.com",
        "https://evil.example?.example.com",
        "https://evil.example#.example.com",
        "https://evil.example%2f.example.com",
        "https://evil.example\\.example.com",
        "https://[::1].example.com",
    ] {
        assert!(!passes(&policy, "chat.example.com", origin), "{origin}");
    }
}

#[test]
fn whatever_is_not_one_origin_is_refused() {
    let every = policy(&["*"]);
    let long = format!("https://{}example.com", "a.".repeat(200));
    let label = format!("https://{}.example.com", "a".repeat(64));
    for origin in [
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?q",
        "https://user@app.example.com",
        "https://user:word@app.example.com",
        "https://a..example.com",
        "https://.example.com",
        "https://app.example.com..",
        "https://app.example.com:",
        "https://app.example.com:+443",
        "https://app.example.com:65536",
        "https://app.example.com:443:443",
        "https://[::1",
        "https://[::1]443",
        "https://[1.2.3.4]",
        "https://[::1%25eth0]",
        "https://app.example.com https://evil.example",
        "https://app.example.com,https://evil.example",
        "https:/app.example.com",
        "https:app.example.com",
        "//app.example.com",
        "app.example.com",
        "://app.example.com",
        "1https://app.example.com",
        "file://",
        "https://",
        "https://.",
        "https://b\u{fc}cher.example",
        "NULL",
        "",
        &long,
        &label,
    ] {
        assert!(!passes(&every, "app.example.com", origin), "{origin:?}");
    }
    let one: &[u8] = b"https://app.example.com";
    let own = OriginPolicy::default();
    for policy in [&every, &own] {
        let twice = [
            (":authority", &b"app.example.com"[..]),
            ("origin", one),
            ("origin", one),
        ];
        assert_eq!(verdict(policy, &twice[..2]), Verdict::Allowed);
        assert_eq!(verdict(policy, &twice), Verdict::Refused);
        let bytes = [
            (":authority", &b"app.example.com"[..]),
            ("origin", b"https://\xff.example.com"),
        ];
        assert_eq!(verdict(policy, &bytes), Verdict::Refused);
    }
}

#[test]
fn the_asterisk_alone_allows_every_origin_and_no_other_entry_allows_null() {
    for origin in ["https://evil.example", "null", "chrome-extension://abc"] {
        assert!(passes(&policy(&["*"]), "chat.example.com", origin), "{origin}");
    }
    assert!(!passes(
        &policy(&["https://*.example.com"]),
        "chat.example.com",
        "null"
    ));
}

#[test]
fn a_handshake_without_an_origin_passes_unless_the_policy_denies_it() {
    let host = [(":authority", &b"chat.example.com"[..])];
    assert_eq!(verdict(&OriginPolicy::default(), &host), Verdict::Allowed);
    for allowed in [&[][..], &["*"]] {
        let strict = OriginPolicy {
            deny_missing: true,
            ..policy(allowed)
        };
        assert_eq!(verdict(&strict, &host), Verdict::Refused);
        assert!(passes(&strict, "chat.example.com", "https://chat.example.com"));
    }
}

#[test]
fn a_policy_that_reports_refuses_nothing() {
    let policy = OriginPolicy {
        report: true,
        deny_missing: true,
        ..policy(&["https://app.example.com"])
    };
    let with = |origin: &[u8]| verdict(&policy, &[("origin", origin)]);
    assert_eq!(with(b"https://app.example.com"), Verdict::Allowed);
    assert_eq!(with(b"https://evil.example"), Verdict::Reported);
    assert_eq!(with(b"\xff"), Verdict::Reported);
    assert_eq!(verdict(&policy, &[]), Verdict::Reported);
}
