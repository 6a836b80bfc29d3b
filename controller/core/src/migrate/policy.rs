//! The words that all three have in common: session keys, durations, paths.

use super::document::Map;
use super::plan::Path;

/// Where a session's key is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Cookie(String),
    Header(String),
    Query(String),
    Segment(u32),
    Claim(String),
    Address { hops: u32 },
}

/// `sessionPersistence` by a cookie, which lives for so many milliseconds, or no longer than the browser.
pub(super) fn by_cookie(mut cookie: Map, lifetime: Option<u64>) -> Map {
    let persistence = Map::default().with("type", "Cookie");
    match lifetime.filter(|ms| *ms > 0) {
        Some(ms) => {
            cookie.set("lifetimeType", "Permanent");
            persistence
                .with("cookie", cookie)
                .with("absoluteTimeout", duration(ms))
        }
        None => persistence.with("cookie", cookie),
    }
}

impl Key {
    pub(super) fn map(&self) -> Map {
        let of = |kind: &str, field: &str, member: Map| Map::default().with("type", kind).with(field, member);
        let named = |name: &str| Map::default().with("name", name);
        match self {
            Self::Cookie(name) => of("Cookie", "cookie", named(name)),
            Self::Header(name) => of("Header", "header", named(name)),
            Self::Query(name) => of("QueryParam", "queryParam", named(name)),
            Self::Segment(index) => of("PathSegment", "pathSegment", Map::default().with("index", *index)),
            Self::Claim(name) => of("JWTClaim", "jwtClaim", named(name).with("verification", "None")),
            Self::Address { hops } => of("SourceIP", "sourceIP", Map::default().with("trustedHops", *hops)),
        }
    }

    /// In a sentence.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Cookie(name) => format!("the cookie {name}"),
            Self::Header(name) => format!("the header {name}"),
            Self::Query(name) => format!("the query parameter {name}"),
            Self::Segment(index) => format!("segment {index} of the path"),
            Self::Claim(name) => format!("the token's claim {name}"),
            Self::Address { hops: 0 } => "the client's address".to_owned(),
            Self::Address { .. } => "the client's address in X-Forwarded-For".to_owned(),
        }
    }
}

/// Whether the API takes this as the name of a cookie or a header.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&b))
}

/// Whether the API takes this as the path of a cookie.
pub(super) fn is_cookie_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|b| b.is_ascii_graphic() && b != b';')
}

/// Whether Kubernetes takes this as a name: labels with dots between them.
pub(super) fn is_name(name: &str) -> bool {
    !name.starts_with("*.") && is_hostname(name)
}

/// Whether the API takes this as a hostname.
pub(super) fn is_hostname(name: &str) -> bool {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_address = labels.parse::<std::net::IpAddr>().is_ok();
    name.len() <= 253 && !is_address && labels.split('.').all(is_label)
}

/// Whether the API takes this as a path that is compared as it is.
pub(super) fn is_path(path: &str) -> bool {
    let parts = ["//", "/./", "/../", "%2f", "%2F", "?", "#"];
    path.starts_with('/')
        && path.len() <= 1024
        && !parts.iter().any(|part| path.contains(part))
        && !path.ends_with("/.")
        && !path.ends_with("/..")
        && path.bytes().all(|b| b.is_ascii_graphic())
}

/// An expression that finds something in a path, as one that is the whole path; none where RE2 has no such expression.
pub(super) fn whole(expression: &str, ignore_case: bool) -> Option<Path> {
    let begins = expression.strip_prefix('^');
    let rest = begins.unwrap_or(expression);
    let ends = rest.strip_suffix('$').filter(|rest| !rest.ends_with('\\'));
    let inner = ends.unwrap_or(rest);
    // `a|b$` has no single end.
    let inner = if inner.contains('|') && !(inner.starts_with('(') && inner.ends_with(')')) {
        format!("({inner})")
    } else {
        inner.to_owned()
    };
    let begin = if begins.is_some() { "" } else { ".*" };
    let end = if ends.is_some() { "" } else { ".*" };
    let case = if ignore_case { "(?i)" } else { "" };
    let whole = format!("{case}{begin}{inner}{end}");
    (is_expression(&whole) && !expression.contains("$|") && !expression.contains("|^"))
        .then_some(Path::Expression(whole))
}

/// Whether it is an RE2 expression that the API takes.
pub(super) fn is_expression(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 1024
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        && regex_syntax::Parser::new().parse(text).is_ok()
        && !["&&", "--", "~~", "(?<", "\\b{", "\\u", "\\U"]
            .iter()
            .any(|own| text.contains(own))
}

/// How many segments a path has that is compared from its beginning.
pub(super) fn segments(path: &str) -> u32 {
    let count = path.split('/').filter(|segment| !segment.is_empty()).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A duration as Gateway API writes them: `1h`, `90s`, `1500ms`.
pub(super) fn duration(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 && ms / 3_600_000 <= 99_999 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms / 60_000 <= 99_999 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 && ms / 1000 <= 99_999 => format!("{}s", ms / 1000),
        ms if ms <= 99_999 => format!("{ms}ms"),
        ms if ms / 1000 <= 99_999 => format!("{}s", ms / 1000),
        ms => format!("{}h", (ms / 3_600_000).min(99_999)),
    }
}

/// `30`, `30s`, `1h30m`, `1d`, `500ms`, with the unit of a bare number in milliseconds.
pub(super) fn millis(text: &str, bare: u64) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let scale = match rest.get(..unit)?.trim() {
            "" => bare,
            "us" => return Some(0),
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "M" => 2_592_000_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(scale)?)?;
        rest = rest.get(unit..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("60", "1m"),
            ("3600s", "1h"),
            ("1h30m", "90m"),
            ("1d", "24h"),
            ("7d", "168h"),
            ("500ms", "500ms"),
            ("0", "0s"),
            ("90061", "90061s"),
        ] {
            assert_eq!(
                millis(text, 1000).map(duration).as_deref(),
                Some(wanted),
                "{text}"
            );
        }
        assert_eq!(millis("soon", 1000), None);
        assert_eq!(millis("99999999999999999999", 1000), None);
    }

    #[test]
    fn expressions() {
        let path = |text, case| match whole(text, case) {
            Some(Path::Expression(text)) => Some(text),
            _ => None,
        };
        assert_eq!(path("^/ws/(.*)$", false).as_deref(), Some("/ws/(.*)"));
        assert_eq!(path("/ws", true).as_deref(), Some("(?i).*/ws.*"));
        assert_eq!(path(r"^/a|/b", false).as_deref(), Some("(/a|/b).*"));
        assert_eq!(path(r"^/(?!api)", false), None, "RE2 looks at nothing ahead");
    }
}
