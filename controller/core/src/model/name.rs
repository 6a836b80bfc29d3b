use std::fmt;

use smol_str::SmolStr;
use xxhash_rust::xxh64::xxh64;

/// `namespace/name` of an object whose kind is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace; `default` where the manifest names none.
    pub namespace: SmolStr,
    /// Its name.
    pub name: SmolStr,
}

impl ObjectName {
    /// The namespace of a manifest that names none.
    pub const DEFAULT_NAMESPACE: &str = "default";

    /// An object in a namespace.
    #[must_use]
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self {
            namespace: SmolStr::new(namespace),
            name: SmolStr::new(name),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The resource that rules are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its name.
    pub name: ObjectName,
}

/// The kinds of resources that have rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerKind {
    /// A WebSocketRoute.
    #[default]
    Route,
    /// A WebSocketPolicy.
    Policy,
}

impl OwnerKind {
    /// As Kubernetes calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "WebSocketRoute",
            Self::Policy => "WebSocketPolicy",
        }
    }

    /// As sentences call it.
    #[must_use]
    pub const fn called(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Policy => "policy",
        }
    }
}

impl Owner {
    /// A WebSocketRoute.
    #[must_use]
    pub const fn route(name: ObjectName) -> Self {
        let kind = OwnerKind::Route;
        Self { kind, name }
    }

    /// A WebSocketPolicy.
    #[must_use]
    pub const fn policy(name: ObjectName) -> Self {
        let kind = OwnerKind::Policy;
        Self { kind, name }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// `namespace/route/rule`: how metrics, status and the channel speak of a rule. The one rule of a route that
/// names none is `default`. Of a policy `namespace/policy/httproute.rule`: no rule of a route has a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// The route, or the policy.
    pub route: ObjectName,
    /// The rule's own name.
    pub rule: String,
}

impl RuleName {
    /// Whose rule it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match self.rule.contains('.') {
            true => Owner::policy(self.route.clone()),
            false => Owner::route(self.route.clone()),
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.route, self.rule)
    }
}

/// What stands for a [`RuleName`] in the channel: ten hex digits, which are in the names of Envoy's routes too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(String);

impl RuleId {
    /// The id of a rule. Two names can have one id; validation lets only the older rule have it.
    #[must_use]
    pub fn of(name: &RuleName) -> Self {
        Self(format!("{:010x}", xxh64(name.to_string().as_bytes(), 0) >> 24))
    }

    /// That of a rule for somebody else's HTTPRoute: its [key](clew_filter_config::http_route) in the channel.
    #[must_use]
    pub const fn foreign(key: String) -> Self {
        Self(key)
    }

    /// The digits, or the key.
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
