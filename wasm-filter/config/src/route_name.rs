//! The name that a rendered route carries, by which the filter knows the rule: `clew.<rule>.<configuration>`.

use core::fmt;

/// `clew.<10 hex: namespace/route/rule>.<8 hex: its configuration>`, as Envoy reports it in `xds.route_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteName<'a> {
    /// Ten lowercase hex digits that stand for `namespace/route/rule`: the key of the rule in the channel.
    pub rule: &'a str,
    /// Eight lowercase hex digits that stand for the rule's configuration.
    pub config: &'a str,
}

impl<'a> RouteName<'a> {
    /// Reads a route's name. `None`: not ours.
    #[must_use]
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        let name = core::str::from_utf8(name).ok()?;
        let (rule, config) = name.strip_prefix("clew.")?.split_once('.')?;
        let hex =
            |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (hex(rule, 10) && hex(config, 8)).then_some(Self { rule, config })
    }
}

impl fmt::Display for RouteName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clew.{}.{}", self.rule, self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::RouteName;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let name = RouteName {
            rule: "0123456789",
            config: "89abcdef",
        };
        assert_eq!(RouteName::parse(name.to_string().as_bytes()), Some(name));
        for other in [
            "default",
            "clew.",
            "clew.0123456789",
            "clew.0123456789.89ABCDEF",
            "clew.012345678.89abcdef",
            "clew.0123456789.89abcdef.x",
            "Clew.0123456789.89abcdef",
        ] {
            assert_eq!(RouteName::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(RouteName::parse(b"clew.\xff"), None);
    }
}
