//! What a controller is told when it starts.

use std::net::SocketAddr;

use clew_core::objects::RootNamespace;

/// The Secret with the keys that sign persistence tokens.
pub(crate) const SIGNING_KEYS: &str = "clew-signing-keys";
/// The Secret with what is made once: the hash seed, and what the channel's tokens are made of.
pub(crate) const SECRETS: &str = "clew-secrets";
/// The Lease of whoever writes.
pub(crate) const LEASE: &str = "clew-controller";

/// On the Lease: where its holder serves the channel.
pub(crate) const CHANNEL: &str = "clew.dev/channel";

/// The command line of `clew controller`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) scope: Scope,
    /// Where proxies and probes come in.
    pub(crate) listen: SocketAddr,
    /// Where other replicas come in; None: they cannot.
    pub(crate) reached: Option<SocketAddr>,
    /// Whether the page for people is served there, too.
    pub(crate) status_page: bool,
    /// Tells replicas apart.
    pub(crate) identity: String,
}

/// Whose objects a controller works on.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Where the controller's own Secrets and its Lease are.
    pub(crate) namespace: String,
    /// Whose objects are looked at; None: everybody's.
    pub(crate) watched: Option<String>,
    /// Istio's.
    pub(crate) root_namespace: RootNamespace,
}
