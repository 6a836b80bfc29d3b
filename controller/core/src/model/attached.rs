use std::collections::BTreeSet;

use super::{AttachedRule, Hostname, ObjectName, Parent};

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

/// A part of a parent: a listener's name, a port, both, or all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Section {
    /// The listener; None: every one.
    pub name: Option<String>,
    /// None: every one.
    pub port: Option<u16>,
}
