use std::fmt;

/// The hosts that a listener or a route serves: all, one, or everything below a domain. Lowercase.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hostname {
    /// Every host.
    #[default]
    Any,
    /// `*.example.com` without its asterisk: `.example.com`. One or more labels stand before it.
    Below(String),
    /// This host alone.
    Exact(String),
}

impl Hostname {
    /// Reads Gateway API's way of writing.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some("") => Self::Any,
            Some(domain) => Self::Below(domain.to_owned()),
            None => Self::Exact(text),
        }
    }

    /// Whether every host of `other` is one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(domain), Self::Below(host) | Self::Exact(host)) => {
                host.ends_with(domain.as_str()) && (host != domain || matches!(other, Self::Below(_)))
            }
            (Self::Exact(a), Self::Exact(b)) => a == b,
            _ => false,
        }
    }

    /// The hosts that both serve. Two hostnames either contain one another or have nothing in common.
    #[must_use]
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else {
            other.covers(self).then_some(self)
        }
    }

    /// Whether a request's `Host` is one of these: a port is ignored.
    #[must_use]
    pub fn serves(&self, host: &str) -> bool {
        let host = match host.rfind(':') {
            // The last colon of a bracketed IPv6 address is not a port's.
            Some(colon) if !host[colon..].contains(']') => &host[..colon],
            _ => host,
        };
        let host = host.to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
            Self::Exact(name) => *name == host,
        }
    }

    /// Larger for what Envoy tries first: one host, then the longest domain, then all.
    #[must_use]
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(domain) => (1, domain.len()),
            Self::Exact(host) => (2, host.len()),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(domain) => write!(f, "*{domain}"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hostname;

    #[test]
    fn the_intersection_is_the_narrower_of_the_two() {
        for (a, b, both) in [
            ("*", "*.example.com", Some("*.example.com")),
            ("*.example.com", "chat.example.com", Some("chat.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.chat.example.com", Some("*.chat.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "badexample.com", None),
            ("*.a.com", "*.b.com", None),
            ("a.com", "b.com", None),
        ] {
            let (a, b) = (Hostname::new(a), Hostname::new(b));
            assert_eq!(
                a.intersection(&b).map(ToString::to_string).as_deref(),
                both,
                "{a} {b}"
            );
            assert_eq!(b.intersection(&a), a.intersection(&b), "{a} {b}");
        }
    }

    #[test]
    fn serves_hosts_in_any_case_and_with_any_port() {
        let below = Hostname::new("*.Example.com");
        for (host, served) in [
            ("chat.example.com", true),
            ("A.B.EXAMPLE.COM:8443", true),
            ("example.com", false),
            (".example.com", false),
        ] {
            assert_eq!(below.serves(host), served, "{host}");
        }
        assert!(Hostname::new("[::1]").serves("[::1]:80"));
        assert!(Hostname::new("[::1]").serves("[::1]"));
    }
}
