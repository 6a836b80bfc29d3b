//! The servers of rooms and what is between them, as processes of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Side, Store};
use crate::daemon::Daemon;
use crate::installed::installed;
use crate::{address, process};

pub(super) const SERVERS: usize = 3;
const SOON: Duration = Duration::from_secs(20);

/// All of them.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    store: Daemon,
    url: String,
    share: &'static str,
    folder: TempDir,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    daemon: Daemon,
}

impl Servers {
    pub(super) async fn start(store: Store, side: Side) -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/rooms");
        let folder = tempfile::Builder::new().prefix("clew-rooms-").tempdir()?;
        for file in ["package.json", "server.js", "redis.js", "nats.js"] {
            std::fs::copy(source.join(file), folder.path().join(file)).context(file)?;
        }
        let modules = installed("install-npm.sh", &[&source]).await?;
        std::os::unix::fs::symlink(modules, folder.path().join("node_modules"))?;
        let (store, url) = start_store(store, folder.path()).await?;
        let mut all = Self {
            servers: Vec::new(),
            store,
            url,
            share: side.share(),
            folder,
        };
        for _ in 0..SERVERS {
            let address = address::next();
            let daemon = all.launch(address).await?;
            all.servers.push(Server { address, daemon });
        }
        Ok(all)
    }

    async fn launch(&self, address: SocketAddr) -> Result<Daemon> {
        let folder = self.folder.path();
        let mut command = Command::new("node");
        command
            .arg("server.js")
            .current_dir(folder)
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("STORE", &self.url)
            .env("SHARE", self.share);
        let mut daemon = Daemon::start("node", &mut command, folder)?;
        daemon
            .until("it listens", SOON, async || {
                TcpStream::connect(address).await.ok()
            })
            .await?;
        Ok(daemon)
    }

    /// Where they listen, which is also what they are called.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Ends one as an orchestrator does, and starts it again.
    pub(super) async fn restart(&mut self, index: usize) -> Result<()> {
        self.again(index, Signal::TERM).await
    }

    /// One dies, and is started again.
    pub(super) async fn crash(&mut self, index: usize) -> Result<()> {
        self.again(index, Signal::KILL).await
    }

    async fn again(&mut self, index: usize, signal: Signal) -> Result<()> {
        let server = self.servers.get_mut(index).context("a server")?;
        server.daemon.signal(signal)?;
        server.daemon.end(SOON).await?;
        let address = server.address;
        let daemon = self.launch(address).await?;
        if let Some(server) = self.servers.get_mut(index) {
            server.daemon = daemon;
        }
        Ok(())
    }

    /// CPU time of the servers and of what is between them so far, in nanoseconds.
    pub(super) fn cpu(&self) -> Result<(u64, u64)> {
        let servers: Result<u64> = self
            .servers
            .iter()
            .map(|server| process::cpu_nanos_of_family(server.daemon.pid()))
            .sum();
        Ok((servers?, process::cpu_nanos_of_family(self.store.pid())?))
    }
}

/// As the guide's recipes start them.
async fn start_store(store: Store, folder: &Path) -> Result<(Daemon, String)> {
    let ip = address::next_ip().to_string();
    let (mut command, port) = match store {
        Store::Redis => {
            let programs = installed("install-redis.sh", &[]).await?;
            let mut command = Command::new(programs.join("redis-server"));
            command
                .args(["--bind", &ip, "--port", "6379", "--save", "", "--dir"])
                .arg(folder);
            (command, 6379)
        }
        Store::Nats => {
            let programs = installed("install-nats.sh", &[]).await?;
            let mut command = Command::new(programs.join("nats-server"));
            command
                .args(["--addr", &ip, "--port", "4222", "--jetstream", "--store_dir"])
                .arg(folder.join("nats"));
            (command, 4222)
        }
    };
    let address = SocketAddr::new(ip.parse()?, port);
    let mut daemon = Daemon::start(store.id(), &mut command, folder)?;
    daemon
        .until("it listens", SOON, async || {
            TcpStream::connect(address).await.ok()
        })
        .await?;
    Ok((daemon, format!("{}://{address}", store.id())))
}
