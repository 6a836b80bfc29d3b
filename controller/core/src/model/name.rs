use std::fmt;

use xxhash_rust::xxh64::xxh64;

/// `namespace/name` of an object whose kind is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace; `default` where the manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// The namespace of a manifest that names none.
    pub const DEFAULT_NAMESPACE: &str = "default";

    /// An object in a namespace.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `namespace/route/rule`: how metrics, status and the channel speak of a rule. The one rule of a route that
/// names none is `default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// The route.
    pub route: ObjectName,
    /// The rule's own name.
    pub rule: String,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.route, self.rule)
    }
}

/// Ten hex digits that stand for a [`RuleName`] in the names of Envoy's routes and in the channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(String);

impl RuleId {
    /// The id of a rule. Two names can have one id; validation lets only the older rule have it.
    #[must_use]
    pub fn of(name: &RuleName) -> Self {
        Self(format!("{:010x}", xxh64(name.to_string().as_bytes(), 0) >> 24))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
