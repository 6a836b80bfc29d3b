use std::{net::SocketAddr, sync::Arc};

use super::{Hostname, Match, ObjectName, Rule};

/// A gateway and what its sockets serve.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its name.
    pub name: ObjectName,
    /// In the order of their addresses.
    pub listeners: Vec<Listener>,
}

impl Gateway {
    /// Every rule that is attached somewhere, as often as it is.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.listeners.iter().flat_map(Listener::rules)
    }
}

/// One socket. Gateway listeners that share a port are one of these.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What is bound.
    pub address: SocketAddr,
    /// Plain or TLS.
    pub protocol: Protocol,
    /// The most specific hostname first, as Envoy looks them up.
    pub virtual_hosts: Vec<VirtualHost>,
}

impl Listener {
    /// Every rule that is attached to it, as often as it is.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let routes = self.virtual_hosts.iter().flat_map(|host| &host.routes);
        routes.map(|route| &route.rule)
    }
}

/// What is spoken on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS; one entry for each Gateway listener, by server name.
    Https(Vec<TlsHost>),
}

/// What a TLS listener shows to clients that ask for a server name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHost {
    /// The server names.
    pub hostname: Hostname,
    /// Names of Secrets; at least one.
    pub certificates: Vec<ObjectName>,
}

/// The routes of one hostname. Hosts of a more specific virtual host never come here.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// The hosts.
    pub hostname: Hostname,
    /// In the order in which they are tried.
    pub routes: Vec<AttachedRule>,
}

/// One match of one rule.
#[derive(Clone, Debug)]
pub struct AttachedRule {
    /// What a handshake must look like.
    pub matching: Arc<Match>,
    /// What holds for it.
    pub rule: Arc<Rule>,
}

/// A certificate chain and its key, both PEM and both read once.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub chain: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}
