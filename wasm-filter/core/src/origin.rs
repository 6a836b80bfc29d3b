//! Whose pages may open a session: the Origin of a handshake (RFC 6454) under a rule's policy. A browser sends it with
//! every handshake and lets no page forge it; nothing else keeps other sites' pages from a user's cookies here, for
//! WebSockets know no CORS.
//!
//! Whatever is not exactly one well-formed Origin is refused: several headers, a path or a slash at the end, user
//! information, an empty label, bytes that are not ASCII.

use core::net::Ipv6Addr;

use clew_filter_config::headers::AUTHORITY;
use clew_filter_config::origin::{ANY, OriginPolicy, default_port};

use crate::session_key::Request;

/// No Origin is longer: a scheme, a name of 253 bytes, a port. No Host either.
const MOST_BYTES: usize = 300;
/// No label is longer (RFC 1035, 2.3.4).
const MOST_LABEL_BYTES: usize = 63;

/// What becomes of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Allowed,
    /// It goes on, and is counted: the policy only reports.
    Reported,
    /// 403.
    Refused,
}

/// Looks at the Origin of a handshake.
#[must_use]
pub fn judge(policy: &OriginPolicy, request: &Request<'_>) -> Verdict {
    match (is_allowed(policy, request), policy.report) {
        (true, _) => Verdict::Allowed,
        (false, true) => Verdict::Reported,
        (false, false) => Verdict::Refused,
    }
}

fn is_allowed(policy: &OriginPolicy, request: &Request<'_>) -> bool {
    let mut origins = request.all("origin");
    let Some(origin) = origins.next() else {
        return !policy.deny_missing;
    };
    if origins.next().is_some() {
        return false;
    }
    let any = policy.allowed.iter().any(|allowed| allowed == ANY);
    if origin == b"null" {
        // A page that has no Origin of its own, such as one in a sandbox: it could be anybody's.
        return any;
    }
    let Some(origin) = Origin::parse(origin) else {
        return false;
    };
    if policy.allowed.is_empty() {
        return origin.is_of(request);
    }
    any || policy.allowed.iter().any(|allowed| origin.matches(allowed))
}

/// A scheme, a host and a port.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    fn parse(origin: &'a [u8]) -> Option<Self> {
        let (scheme, authority) = split(text(origin)?)?;
        let authority = Authority::parse(authority)?;
        is_scheme(scheme).then_some(Self { scheme, authority })
    }

    /// `None`: the scheme's own.
    fn port(&self) -> Option<u16> {
        self.authority
            .port
            .filter(|port| default_port(self.scheme) != Some(*port))
    }

    /// Whether the page came from where the handshake goes. TLS may end before this proxy, so the scheme says nothing:
    /// the ports that http and https have of themselves are the same.
    fn is_of(&self, request: &Request<'_>) -> bool {
        let is_page = self.scheme.eq_ignore_ascii_case("https") || self.scheme.eq_ignore_ascii_case("http");
        let Some(host) = request
            .header(AUTHORITY)
            .and_then(text)
            .and_then(Authority::parse)
        else {
            return false;
        };
        let port = host.port.filter(|port| !matches!(port, 80 | 443));
        is_page && self.authority.host == host.host && self.port() == port
    }

    /// Whether it is an entry of a policy, or one of those that an entry stands for.
    fn matches(&self, entry: &str) -> bool {
        let Some((scheme, rest)) = split(entry) else {
            return false;
        };
        let (below, authority) = match rest.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, rest),
        };
        let Some(authority) = Authority::parse(authority) else {
            return false;
        };
        let entry = Origin { scheme, authority };
        let host = if below {
            self.authority.host.is_below(entry.authority.host)
        } else {
            self.authority.host == entry.authority.host
        };
        host && self.scheme.eq_ignore_ascii_case(scheme) && self.port() == entry.port()
    }
}

/// A host, and a port where one is written.
#[derive(Clone, Copy, Debug)]
struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    // Once a handshake is seldom enough: the module stays small.
    #[inline(never)]
    fn parse(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let port = match port.strip_prefix(':') {
                Some(digits) => Some(port_number(digits)?),
                None if port.is_empty() => None,
                None => return None,
            };
            let host = Host::V6(address.parse().ok()?);
            return Some(Self { host, port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, digits)) => (name, Some(port_number(digits)?)),
            None => (text, None),
        };
        let host = Host::name(name)?;
        Some(Self { host, port })
    }
}

#[derive(Clone, Copy, Debug)]
enum Host<'a> {
    /// A name or an IPv4 address, without a dot at its end.
    Name(&'a str),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    fn name(name: &'a str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name);
        name.split('.').all(is_label).then_some(Self::Name(name))
    }

    /// Whether it is `domain` with one or more labels in front.
    fn is_below(self, domain: Self) -> bool {
        let (Self::Name(name), Self::Name(domain)) = (self, domain) else {
            return false;
        };
        let at = name.len().checked_sub(domain.len());
        at.and_then(|at| name.split_at_checked(at))
            .is_some_and(|(labels, rest)| labels.ends_with('.') && rest.eq_ignore_ascii_case(domain))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            (Self::V6(one), Self::V6(other)) => one == other,
            _ => false,
        }
    }
}

/// What stands before and behind `://`.
fn split(origin: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = origin.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    let short = bytes.len() <= MOST_BYTES && bytes.is_ascii();
    core::str::from_utf8(bytes).ok().filter(|_| short)
}

fn is_scheme(scheme: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(may_stand)
}

fn is_label(label: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MOST_LABEL_BYTES).contains(&label.len()) && label.bytes().all(may_stand)
}

fn port_number(digits: &str) -> Option<u16> {
    let all = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod tests;
