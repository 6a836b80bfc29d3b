//! Whose pages may open sessions: the entries of a policy as the filter compares them.

use std::net::{Ipv4Addr, Ipv6Addr};

use clew_crds::websocket_route::{MissingOrigin, OriginMode, OriginPolicy as Written};
use clew_filter_config::origin::{ANY, OriginPolicy, default_port};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::rules::Wrong;
use crate::refusal::Code;

/// Reads a policy; without one, only the request's own host is allowed.
pub(super) fn policy(written: Option<&Written>) -> Result<OriginPolicy, Wrong> {
    let Some(written) = written else {
        return Ok(OriginPolicy::default());
    };
    let mut allowed: Vec<String> = Vec::new();
    for (i, entry) in written.allowed.iter().enumerate() {
        let normal = normal(entry).map_err(|what| {
            let field = format!(".security.origin.allowed[{i}]");
            (Code::OriginInvalid, field, format!("{entry:?}: {what}"))
        })?;
        if !allowed.contains(&normal) {
            allowed.push(normal);
        }
    }
    Ok(OriginPolicy {
        allowed,
        deny_missing: written.missing == MissingOrigin::Deny,
        report: written.mode == OriginMode::Report,
    })
}

/// An entry in the ASCII serialization of RFC 6454, 6.2. Its shape is the schema's matter.
fn normal(entry: &str) -> Result<String, &'static str> {
    if entry == ANY {
        return Ok(ANY.to_owned());
    }
    let (scheme, rest) = entry
        .split_once("://")
        .ok_or("write scheme://host, or \"*\" for every Origin")?;
    let scheme = scheme.to_ascii_lowercase();
    let (below, authority) = match rest.strip_prefix("*.") {
        Some(domain) => ("*.", domain),
        None => ("", rest),
    };
    // The colons of an IPv6 address are in its brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = host_name(host)?;
    if !below.is_empty() && (host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok()) {
        return Err("nothing is below an address; write it without *.");
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port).filter(|port| default_port(&scheme) != Some(*port)),
        Some(_) => return Err("a port is a number from 1 to 65535"),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{below}{host}{port}"))
}

/// As browsers write it: A-labels, lowercase; addresses in their canonical text.
fn host_name(host: &str) -> Result<String, &'static str> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("what stands in the brackets is no IPv6 address"),
        };
    }
    let name = Uts46::new()
        .to_ascii(
            host.as_bytes(),
            AsciiDenyList::URL,
            Hyphens::Allow,
            DnsLength::Verify,
        )
        .map_err(|_| "no host can have this name; write it as the address bar of a browser shows it")?;
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if numeric && name.parse::<Ipv4Addr>().is_err() {
        return Err("a host that ends in a number is an IPv4 address; write all four numbers of it");
    }
    Ok(name.into_owned())
}

#[cfg(test)]
mod tests {
    use clew_crds::websocket_route::{MissingOrigin, OriginMode, OriginPolicy as Written};
    use clew_filter_config::origin::OriginPolicy;

    use super::{normal, policy};
    use crate::refusal::Code;

    #[test]
    fn entries_are_written_as_browsers_write_origins() {
        for (entry, wanted) in [
            ("*", "*"),
            ("https://app.example.com", "https://app.example.com"),
            ("https://App.Example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://*.BÜCHER.example", "https://*.xn--bcher-kva.example"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("https://[2001:DB8::0:1]", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            (
                "chrome-extension://abcdefghijklmnop",
                "chrome-extension://abcdefghijklmnop",
            ),
            (
                "https://under_score.example.com",
                "https://under_score.example.com",
            ),
        ] {
            assert_eq!(normal(entry).as_deref(), Ok(wanted), "{entry}");
        }
    }

    #[test]
    fn what_no_origin_can_equal_is_refused() {
        let long = format!("https://{}.example.com", "a".repeat(64));
        for entry in [
            "https://app.example.com:0",
            "https://app.example.com:65536",
            "https://[::1::2]",
            "https://*.[::1]",
            "https://*.127.0.0.1",
            "https://1.2.3",
            "https://xn--a.example",
            "https://a\u{0}b.example",
            "https://a b.example",
            "https://a..example",
            "app.example.com",
            &long,
        ] {
            assert!(normal(entry).is_err(), "{entry}: {:?}", normal(entry));
        }
        let written = Written {
            allowed: vec!["https://a.example".into(), "https://a.example:0".into()],
            ..Written::default()
        };
        let (code, field, message) = policy(Some(&written)).unwrap_err();
        assert_eq!(code, Code::OriginInvalid);
        assert_eq!(field, ".security.origin.allowed[1]");
        assert!(message.contains("65535"), "{message}");
    }

    #[test]
    fn a_policy_says_what_is_written_and_nothing_twice() {
        for written in [None, Some(&Written::default())] {
            assert_eq!(policy(written), Ok(OriginPolicy::default()));
        }
        let written = Written {
            mode: OriginMode::Report,
            allowed: vec!["https://a.example".into(), "https://A.example:443".into()],
            missing: MissingOrigin::Deny,
        };
        let wanted = OriginPolicy {
            allowed: vec!["https://a.example".into()],
            deny_missing: true,
            report: true,
        };
        assert_eq!(policy(Some(&written)), Ok(wanted));
    }
}
