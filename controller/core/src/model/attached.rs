use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AttachedRule, Hostname, Match, ObjectName, Owner, Parent, Rule};
use smol_str::SmolStr;

/// A route at one parent that is not on this machine.
#[derive(Clone, Debug)]
pub struct AttachedRoute {
    /// One that others carry out.
    pub parent: Parent,
    /// The route.
    pub name: ObjectName,
    /// As the route narrows the parent down.
    pub sections: BTreeSet<Section>,
    /// The hosts, in the order of their names.
    pub hostnames: BTreeSet<Hostname>,
    /// In the order in which they are tried.
    pub rules: Vec<AttachedRule>,
}

impl AttachedRoute {
    /// Whose objects its are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::route(self.name.clone())
    }
}

/// A part of a parent: a listener's name, a port, both, or all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Section {
    /// The listener; None: every one.
    pub name: Option<String>,
    /// None: every one.
    pub port: Option<u16>,
}

/// A policy for an HTTPRoute of somebody else's, at one parent of that.
#[derive(Clone, Debug)]
pub struct AttachedPolicy {
    /// A gateway that others carry out.
    pub parent: Parent,
    /// The policy.
    pub name: ObjectName,
    /// The HTTPRoute, in the policy's namespace.
    pub http_route: SmolStr,
    /// The one rule of it that the policy is for.
    pub section: Option<String>,
    /// What holds for its rules; each has one backend.
    pub rules: Vec<Arc<Rule>>,
    /// Whether pods are chosen there by what the filter says already, as somebody's own policy has it.
    pub is_carried: bool,
    /// The HTTPRoute's hosts.
    pub hostnames: BTreeSet<Hostname>,
    /// Every way into the HTTPRoute.
    pub ways: Vec<Way>,
}

/// A match of somebody else's HTTPRoute.
#[derive(Clone, Debug)]
pub struct Way {
    /// As far as it is understood; else everything.
    pub matching: Arc<Match>,
    /// Where it leads. None: to a rule that the policy is not for.
    pub rule: Option<Arc<Rule>>,
}

impl AttachedPolicy {
    /// Whose objects its are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner::policy(self.name.clone())
    }
}
