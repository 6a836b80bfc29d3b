//! The balancers that people come from, NGINX and HAProxy as Debian ships them, reloaded and drained as their manuals say.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::daemon::Daemon;
use crate::{http, wait};

/// Long enough for anything that should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NGINX.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Kind {
    /// As `clew migrate` is told, and as its program is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// The name of its configuration.
    pub fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
        }
    }
}

/// A server of a configuration.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether new sessions may come.
    pub takes_sessions: bool,
}

/// What is configured: one balancer over servers, on one address.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Whose.
    pub kind: Kind,
    /// The lines that say how a server is chosen.
    pub balance: &'static str,
    /// The servers.
    pub servers: Vec<Server>,
    /// Sessions that are idle for so many seconds end.
    pub idle: u32,
}

impl Configuration {
    /// The configuration file of a process that runs in `folder` and listens there.
    pub fn text(&self, listen: SocketAddr, folder: &Path) -> String {
        let mut text = String::new();
        let (balance, idle, folder) = (self.balance, self.idle, folder.display());
        // Text goes into a String.
        let written = match self.kind {
            Kind::Nginx => {
                let servers = self.servers.iter().map(|server| {
                    let down = if server.takes_sessions { "" } else { " down" };
                    format!("    server {}{down};\n", server.address)
                });
                write!(
                    text,
                    "user root;\nworker_processes 2;\ndaemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
                     events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  \
                     proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  \
                     scgi_temp_path {folder}/scgi;\n  upstream chat {{\n    {balance}\n{}  }}\n  server {{\n    listen {listen};\n    \
                     location /ws {{\n      proxy_pass http://chat;\n      proxy_http_version 1.1;\n      \
                     proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection upgrade;\n      \
                     proxy_set_header Host $host;\n      proxy_read_timeout {idle}s;\n    }}\n  }}\n}}\n",
                    servers.collect::<String>(),
                )
            }
            Kind::Haproxy => {
                let servers = self.servers.iter().map(|server| {
                    let (name, address) = (&server.name, server.address);
                    let weight = if server.takes_sessions { "" } else { " weight 0" };
                    format!("  server {name} {address} check inter 500ms fall 2 cookie {name}{weight}\n")
                });
                write!(
                    text,
                    "global\n  master-worker\n  nbthread 2\n  maxconn 8000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  \
                     timeout server 30s\n  timeout tunnel {idle}s\n  option redispatch\n  retries 3\nfrontend www\n  bind {listen}\n  \
                     default_backend chat\nbackend chat\n  {}\n{}",
                    balance.replace('\n', "\n  "),
                    servers.collect::<String>(),
                )
            }
        };
        debug_assert!(written.is_ok());
        text
    }
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    daemon: Daemon,
    kind: Kind,
    listen: SocketAddr,
    folder: TempDir,
}

impl Balancer {
    /// Starts it, and waits until it takes connections.
    ///
    /// # Errors
    /// When it is not installed (`CLEW_BALANCERS`), or does not take its configuration.
    pub async fn start(configuration: &Configuration, listen: SocketAddr) -> Result<Self> {
        let programs = std::env::var_os("CLEW_BALANCERS")
            .map(PathBuf::from)
            .context("CLEW_BALANCERS does not say where NGINX and HAProxy are: e2e/tools/install-balancers.sh prints it")?;
        let folder = tempfile::Builder::new().prefix("clew-balancer-").tempdir()?;
        let kind = configuration.kind;
        let file = folder.path().join(kind.file());
        std::fs::write(&file, configuration.text(listen, folder.path()))?;
        let mut command = Command::new(programs.join(kind.name()));
        match kind {
            Kind::Nginx => command
                .arg("-c")
                .arg(&file)
                .arg("-e")
                .arg(folder.path().join("error.log")),
            Kind::Haproxy => command
                .arg("-W")
                .arg("-S")
                .arg(master(folder.path()))
                .arg("-f")
                .arg(&file),
        };
        let mut daemon = Daemon::start(kind.name(), &mut command, folder.path())?;
        daemon
            .until("it listens", SOON, async || TcpStream::connect(listen).await.ok())
            .await?;
        Ok(Self {
            daemon,
            kind,
            listen,
            folder,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Its first process, which starts the others.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Writes another configuration and reloads, as its manual says: HAProxy by its master's socket, because 2.6 sometimes sleeps through SIGUSR2. Its
    /// listener may be lost to a reload that comes before the worker of the one before answers, so that is waited for.
    ///
    /// # Errors
    /// When it is gone, or does not take the configuration.
    pub async fn apply(&self, configuration: &Configuration) -> Result<()> {
        let file = self.folder.path().join(self.kind.file());
        std::fs::write(&file, configuration.text(self.listen, self.folder.path()))?;
        match self.kind {
            Kind::Nginx => self.daemon.signal(Signal::HUP),
            Kind::Haproxy => {
                let loaded = |log: &str| log.matches("Loading success.").count();
                let before = loaded(&self.daemon.log());
                let socket = master(self.folder.path());
                wait::until("HAProxy's master is told", SOON, async || {
                    let mut stream = UnixStream::connect(&socket).await.ok()?;
                    stream.write_all(b"reload\n").await.ok()?;
                    // It ends the connection by starting itself again.
                    stream.read_to_end(&mut Vec::new()).await.ok()
                })
                .await?;
                wait::until_true("HAProxy has loaded its configuration", SOON, || {
                    loaded(&self.daemon.log()) > before
                })
                .await
                .with_context(|| self.daemon.log())?;
                wait::until("its new worker answers", SOON, async || {
                    http::send(Method::GET, self.listen, "/", "").await.ok()
                })
                .await
                .map(drop)
            }
        }
    }
}

/// Where the master process of HAProxy takes commands.
fn master(folder: &Path) -> PathBuf {
    folder.join("master.sock")
}
