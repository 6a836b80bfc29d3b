use std::{fmt, net::SocketAddr};

use super::ObjectName;

/// `namespace/name:port` of a Service's port: how Envoy's clusters, the channel and `x-clew-backend` call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId {
    /// The Service.
    pub service: ObjectName,
    /// The Service's port (not the pods').
    pub port: u16,
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

impl BackendId {
    /// Of what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (service, port) = text.rsplit_once(':')?;
        let (namespace, name) = service.split_once('/')?;
        Some(Self {
            service: ObjectName::new(namespace, name),
            port: port.parse().ok()?,
        })
    }
}

/// The pods behind a Service's port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// In the order of their names. Addresses are unique, and names are among those that serve.
    pub pods: Vec<Pod>,
    /// The shortest drain timeout of the rules that send sessions here, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Backend {
    /// The pods that take new sessions, as far as their endpoints say.
    pub fn serving(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| !pod.terminating)
    }
}

/// A ready or terminating endpoint. One that is neither is nobody's business yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// The name of its `targetRef`, else its address: what rendezvous hashing is over.
    pub name: String,
    /// The UID of its `targetRef`; empty where it has none.
    pub uid: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// No new sessions; the live ones leave.
    pub terminating: bool,
}
