//! One side of the comparison: a balancer, or Clew with what the balancer's configuration became.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use clew_e2e::address;
use clew_e2e::balancer::{Balancer, Configuration, Kind, Server};
use clew_e2e::echo_server::EchoServer;
use clew_e2e::manifests::Folder;
use clew_e2e::standalone::{self, Clew, Options, State};
use clew_e2e::ws_client::{Request, Socket};

/// How long a drain may take.
pub(crate) const DRAIN: &str = "2s";
const SERVERS: usize = 3;

/// What tells clients apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
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
enum Carrier {
    Balancer(Balancer),
    Clew {
        clew: Box<Clew>,
        folder: Folder,
        state: State,
    },
}

/// A carrier and its servers.
pub(crate) struct Arm {
    carrier: Carrier,
    pub(crate) configuration: Configuration,
    pub(crate) servers: Vec<EchoServer>,
    jars: Mutex<BTreeMap<usize, String>>,
}

impl Arm {
    pub(crate) async fn balancer(kind: Kind, balance: &'static str) -> Result<Self> {
        let (servers, configuration) = servers(kind, balance).await?;
        let balancer = Balancer::start(&configuration, address::next()).await?;
        Ok(Self::new(Carrier::Balancer(balancer), configuration, servers))
    }

    pub(crate) async fn clew(kind: Kind, balance: &'static str) -> Result<Self> {
        let (servers, configuration) = servers(kind, balance).await?;
        let (folder, state) = (Folder::new()?, State::new()?);
        migrate(&configuration, address::next(), &folder).await?;
        let clew = Clew::start(&Options::new(folder.path(), state.path())).await?;
        state.owns(clew.ready.pid);
        let clew = Box::new(clew);
        let carrier = Carrier::Clew { clew, folder, state };
        Ok(Self::new(carrier, configuration, servers))
    }

    fn new(carrier: Carrier, configuration: Configuration, servers: Vec<EchoServer>) -> Self {
        Self {
            carrier,
            configuration,
            servers,
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
    pub(crate) async fn apply(&self) -> Result<()> {
        match &self.carrier {
            Carrier::Balancer(balancer) => balancer.apply(&self.configuration),
            Carrier::Clew { clew, folder, .. } => migrate(&self.configuration, clew.gateway(), folder).await,
        }
    }

    pub(crate) async fn add_server(&mut self) -> Result<String> {
        let server = EchoServer::start(&format!("s{}", self.servers.len())).await?;
        let name = server.name().to_owned();
        self.configuration.servers.push(written(&server));
        self.servers.push(server);
        self.apply().await?;
        Ok(name)
    }

    /// Lets a server's sessions go in the way that this carrier has: the others only know how to send no new ones.
    pub(crate) async fn drain(&mut self, name: &str) -> Result<()> {
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
                let arguments = ["drain", &address, "--timeout", DRAIN, "--state-dir", &state];
                standalone::clew(arguments).await?.success()?;
                Ok(())
            }
        }
    }

    pub(crate) async fn remove(&mut self, name: &str) -> Result<()> {
        self.configuration.servers.retain(|server| server.name != name);
        self.apply().await
    }

    pub(crate) fn server(&self, name: &str) -> Result<&EchoServer> {
        self.servers
            .iter()
            .find(|server| server.name() == name)
            .with_context(|| format!("no server {name}"))
    }

    /// Whether sessions that are drained get a Close from the carrier.
    pub(crate) fn closes(&self) -> bool {
        matches!(self.carrier, Carrier::Clew { .. })
    }

    /// One session of this key.
    pub(crate) async fn open(&self, clients: Clients, key: usize) -> Result<Socket> {
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
    pub(crate) fn forget(&self, from: usize) {
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
