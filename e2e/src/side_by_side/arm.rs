//! One side of the comparison: a balancer, or Clew with what the balancer's configuration became.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::address;
use crate::balancer::{Balancer, Configuration, Kind, Server};
use crate::echo_server::EchoServer;
use crate::manifests::Folder;
use crate::standalone::{self, Clew, Options, State};
use crate::ws_client::{Request, Socket};
use anyhow::{Context, Result, ensure};

const SERVERS: usize = 3;

/// What tells clients apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Their addresses, each in a network of its own.
    Addresses,
    /// The query parameter `room`.
    Query,
    /// The cookie `sid`, which they bring.
    Cookie,
    /// The cookies that they were given.
    Jar,
}

/// Who carries the sessions.
#[derive(Debug)]
enum Carrier {
    Balancer(Balancer),
    Clew {
        clew: Box<Clew>,
        folder: Folder,
        state: State,
    },
}

/// A carrier and its servers.
#[derive(Debug)]
pub struct Arm {
    carrier: Carrier,
    /// What the balancer is told, or was migrated.
    pub configuration: Configuration,
    servers: Vec<EchoServer>,
    /// How long a drain may take.
    pub(super) drain: Duration,
    jars: Mutex<BTreeMap<usize, String>>,
}

impl Arm {
    /// A balancer as it is configured.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn balancer(kind: Kind, balance: &'static str, drain: Duration) -> Result<Self> {
        let (servers, configuration) = servers(kind, balance).await?;
        let balancer = Balancer::start(&configuration, address::next()).await?;
        Ok(Self::new(
            Carrier::Balancer(balancer),
            configuration,
            servers,
            drain,
        ))
    }

    /// Clew with what `clew migrate` makes of the same configuration.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn clew(kind: Kind, balance: &'static str, drain: Duration) -> Result<Self> {
        let (servers, configuration) = servers(kind, balance).await?;
        let (folder, state) = (Folder::new()?, State::new()?);
        migrate(&configuration, address::next(), &folder).await?;
        let clew = Clew::start(&Options::new(folder.path(), state.path())).await?;
        state.owns(clew.ready.pid);
        let clew = Box::new(clew);
        let carrier = Carrier::Clew { clew, folder, state };
        Ok(Self::new(carrier, configuration, servers, drain))
    }

    fn new(
        carrier: Carrier,
        configuration: Configuration,
        servers: Vec<EchoServer>,
        drain: Duration,
    ) -> Self {
        Self {
            carrier,
            configuration,
            servers,
            drain,
            jars: Mutex::default(),
        }
    }

    fn address(&self) -> SocketAddr {
        match &self.carrier {
            Carrier::Balancer(balancer) => balancer.address(),
            Carrier::Clew { clew, .. } => clew.gateway(),
        }
    }

    /// Puts the configuration in force as it is now.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self) -> Result<()> {
        match &self.carrier {
            Carrier::Balancer(balancer) => balancer.apply(&self.configuration).await,
            Carrier::Clew { clew, folder, .. } => migrate(&self.configuration, clew.gateway(), folder).await,
        }
    }

    /// One more server, which is told at once.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn add_server(&mut self) -> Result<String> {
        let server = EchoServer::start(&format!("s{}", self.servers.len())).await?;
        let name = server.name().to_owned();
        self.configuration.servers.push(written(&server));
        self.servers.push(server);
        self.apply().await?;
        Ok(name)
    }

    /// Lets a server's sessions go in the way that this carrier has: the others only know how to send no new ones.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn drain(&mut self, name: &str) -> Result<()> {
        match &self.carrier {
            Carrier::Balancer(_) => {
                for server in self
                    .configuration
                    .servers
                    .iter_mut()
                    .filter(|server| server.name == name)
                {
                    server.takes_sessions = false;
                }
                self.apply().await
            }
            Carrier::Clew { state, .. } => {
                let address = self.server(name)?.address().to_string();
                let state = state.path().display().to_string();
                let timeout = format!("{}s", self.drain.as_secs());
                let arguments = ["drain", &address, "--timeout", &timeout, "--state-dir", &state];
                standalone::clew(arguments).await?.success()?;
                Ok(())
            }
        }
    }

    /// Takes a server out of the configuration.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn remove(&mut self, name: &str) -> Result<()> {
        self.configuration.servers.retain(|server| server.name != name);
        self.apply().await
    }

    /// A server by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, name: &str) -> Result<&EchoServer> {
        self.servers
            .iter()
            .find(|server| server.name() == name)
            .with_context(|| format!("no server {name}"))
    }

    /// Who carries its sessions.
    pub fn name(&self) -> &'static str {
        match &self.carrier {
            Carrier::Balancer(_) => self.configuration.kind.name(),
            Carrier::Clew { .. } => "Clew",
        }
    }

    /// What it said last.
    pub fn log(&self) -> String {
        let log = match &self.carrier {
            Carrier::Balancer(balancer) => balancer.log(),
            Carrier::Clew { clew, .. } => clew.stderr(),
        };
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().map(|line| format!("{line}\n")).collect()
    }

    /// Whether sessions that are drained get a Close from the carrier.
    pub fn closes(&self) -> bool {
        matches!(self.carrier, Carrier::Clew { .. })
    }

    /// One session of this key.
    ///
    /// # Errors
    /// When it is not opened.
    pub async fn open(&self, clients: Clients, key: usize) -> Result<Socket> {
        let request = Request::new("/ws");
        let (high, low) = (u8::try_from(key / 256)?, u8::try_from(key % 256)?);
        let request = match clients {
            Clients::Addresses => request.from(Ipv4Addr::new(127, 200 + high, low, 7)),
            Clients::Query => Request::new(format!("/ws?room=room-{key}")),
            Clients::Cookie => request.header("cookie", format!("sid=session-{key}")),
            Clients::Jar => match self.jar(key) {
                Some(cookie) => request.header("cookie", cookie),
                None => request,
            },
        };
        let socket = request.open(self.address()).await?;
        if let Some(cookie) = socket.head.header("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default().to_owned();
            self.jars().insert(key, pair);
        }
        Ok(socket)
    }

    /// Takes the cookies away that this key and those after it were given.
    pub fn forget(&self, from: usize) {
        self.jars().retain(|key, _| *key < from);
    }

    fn jar(&self, key: usize) -> Option<String> {
        self.jars().get(&key).cloned()
    }

    fn jars(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.jars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn servers(kind: Kind, balance: &'static str) -> Result<(Vec<EchoServer>, Configuration)> {
    let mut servers = Vec::new();
    for index in 0..SERVERS {
        servers.push(EchoServer::start(&format!("s{index}")).await?);
    }
    let configuration = Configuration {
        kind,
        balance,
        servers: servers.iter().map(written).collect(),
        idle: 600,
    };
    Ok((servers, configuration))
}

fn written(server: &EchoServer) -> Server {
    Server {
        name: server.name().to_owned(),
        address: server.address(),
        takes_sessions: true,
    }
}

/// `clew migrate`, into the folder that `clew run` follows.
async fn migrate(configuration: &Configuration, listen: SocketAddr, folder: &Folder) -> Result<()> {
    let original = tempfile::tempdir()?;
    let file = original.path().join(configuration.kind.file());
    std::fs::write(&file, configuration.text(listen, original.path()))?;
    let migrated = standalone::clew(["migrate".as_ref(), file.as_os_str()]).await?;
    let manifests = migrated.success()?;
    ensure!(manifests.contains("kind: WebSocketRoute"), "{}", migrated.text());
    folder.put_text("migrated", manifests)?;
    Ok(())
}
