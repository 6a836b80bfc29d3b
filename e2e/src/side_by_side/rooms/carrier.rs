//! Who carries sessions to the servers of rooms, and lets them go.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::Side;
use crate::balancer::{Balancer, Configuration, Kind, Server};
use crate::manifests::{self, Folder, Pod};
use crate::standalone::{self, Clew, Options, State};
use crate::{address, process};

/// One of them, in front of these servers.
#[derive(Debug)]
pub(super) enum Carrier {
    Nginx {
        balancer: Balancer,
        configuration: Configuration,
    },
    Clew {
        clew: Box<Clew>,
        state: State,
        _folder: Folder,
        drain: Duration,
    },
    Nobody(Vec<SocketAddr>),
}

impl Carrier {
    pub(super) async fn start(side: Side, servers: &[SocketAddr], drain: Duration) -> Result<Self> {
        match side {
            Side::InTurn => {
                let server = |address: &SocketAddr| Server {
                    name: address.to_string(),
                    address: *address,
                    takes_sessions: true,
                };
                let configuration = Configuration {
                    kind: Kind::Nginx,
                    // In turn is what it does unasked.
                    balance: "",
                    servers: servers.iter().map(server).collect(),
                    idle: 600,
                };
                let balancer = Balancer::start(&configuration, address::next()).await?;
                Ok(Self::Nginx {
                    balancer,
                    configuration,
                })
            }
            Side::ByRoom | Side::Alone => {
                const SERVICE: &str = "rooms";
                let (folder, state) = (Folder::new()?, State::new()?);
                let pod = |(index, address): (usize, &SocketAddr)| {
                    Pod::new(&format!("{SERVICE}-{index}"), *address)
                };
                let pods: Vec<Pod> = servers.iter().enumerate().map(pod).collect();
                let policy = json!({
                    "sessionKey": {"sources": [{"type": "PathSegment", "pathSegment": {"index": 1}}]},
                    "drain": {"timeout": format!("{}s", drain.as_secs())},
                });
                let rule = manifests::rule("rooms", "/ws", SERVICE, address::PORT, policy);
                folder.put_all(
                    "rooms",
                    &[
                        manifests::gateway(address::next()),
                        manifests::service(SERVICE, address::PORT),
                        manifests::endpoint_slice(SERVICE, address::PORT, &pods),
                        manifests::route("rooms", json!([rule])),
                    ],
                )?;
                let clew = Clew::start(&Options::new(folder.path(), state.path())).await?;
                state.owns(clew.ready.pid);
                Ok(Self::Clew {
                    clew: Box::new(clew),
                    state,
                    _folder: folder,
                    drain,
                })
            }
            Side::Direct => Ok(Self::Nobody(servers.to_vec())),
        }
    }

    /// Where the people of a room connect.
    pub(super) fn address(&self, room: usize) -> SocketAddr {
        match self {
            Self::Nginx { balancer, .. } => balancer.address(),
            Self::Clew { clew, .. } => clew.gateway(),
            Self::Nobody(servers) => servers[room % servers.len()],
        }
    }

    /// Keeps new sessions from a server; with Clew also lets those go that are there, and waits until they have.
    pub(super) async fn release(&mut self, server: SocketAddr) -> Result<()> {
        self.lead(server, false).await
    }

    /// Lets new sessions come again.
    pub(super) async fn take_back(&mut self, server: SocketAddr) -> Result<()> {
        self.lead(server, true).await
    }

    async fn lead(&mut self, address: SocketAddr, takes_sessions: bool) -> Result<()> {
        match self {
            Self::Nginx {
                balancer,
                configuration,
            } => {
                let server = configuration
                    .servers
                    .iter_mut()
                    .find(|server| server.address == address);
                server.context("a server")?.takes_sessions = takes_sessions;
                balancer.apply(configuration).await
            }
            Self::Clew { state, drain, .. } => {
                let (address, state) = (address.to_string(), state.path().display().to_string());
                let timeout = format!("{}s", drain.as_secs());
                let order: &[&str] = if takes_sessions {
                    &["--cancel"]
                } else {
                    &["--timeout", &timeout, "--watch"]
                };
                let whose = ["drain", &address, "--state-dir", &state];
                standalone::clew(whose.iter().chain(order)).await?.success()?;
                Ok(())
            }
            Self::Nobody(_) => Ok(()),
        }
    }

    /// CPU time of all its processes so far, in nanoseconds.
    pub(super) fn cpu(&self) -> Result<u64> {
        match self {
            Self::Nginx { balancer, .. } => process::cpu_nanos_of_family(balancer.pid()),
            Self::Clew { clew, .. } => {
                // Envoy may be a child of `clew run`, or have been there before it.
                let mut all = process::family(clew.pid().context("`clew run` is over")?);
                all.extend(process::family(clew.ready.pid));
                all.sort_unstable();
                all.dedup();
                all.into_iter().map(process::cpu_nanos).sum()
            }
            Self::Nobody(_) => Ok(0),
        }
    }
}
