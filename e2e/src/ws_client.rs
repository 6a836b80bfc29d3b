//! A WebSocket client that sends what it is told, byte for byte, and remembers what came back and how it ended.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::echo_server::{Behaviour, SERVED_BY};
use crate::handshake::{Head, Kind, read_head};
use crate::traffic::{self, Author};
use crate::wire::close_frame;

mod by_hand;
mod session;

pub use by_hand::ByHand;
pub use session::{Record, Session, Traffic};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PATIENCE: Duration = Duration::from_secs(20);

/// An upgrade request.
#[derive(Debug, Clone)]
pub struct Request {
    target: String,
    host: String,
    headers: Vec<(String, Vec<u8>)>,
    from: Option<Ipv4Addr>,
    upgrade: bool,
}

impl Request {
    /// For a target such as `/ws?room=7`.
    pub fn new(target: impl Into<String>) -> Self {
        let host = "chat.example.com".to_owned();
        Self {
            target: target.into(),
            host,
            headers: Vec::new(),
            from: None,
            upgrade: true,
        }
    }

    /// Adds a header, in the order of the calls; any bytes but CR and LF.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Another Host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Comes from this loopback address.
    #[must_use]
    pub fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = Some(address);
        self
    }

    /// Asks the echo server for a behaviour.
    #[must_use]
    pub fn behave(mut self, behaviour: &Behaviour) -> Self {
        let query = behaviour.query();
        if !query.is_empty() {
            self.target
                .push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(&query);
        }
        self
    }

    /// A plain GET, no upgrade.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.upgrade = false;
        self
    }

    /// The target as it is sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The headers beyond the upgrade's own, as `clew explain -H` takes them.
    pub fn headers(&self) -> impl Iterator<Item = String> + '_ {
        let headers = self
            .headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v)));
        std::iter::once(format!("Host: {}", self.host)).chain(headers)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.target, self.host).into_bytes();
        if self.upgrade {
            bytes.extend_from_slice(
                b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
            );
            bytes.extend_from_slice(format!("Sec-WebSocket-Key: {KEY}\r\n").as_bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Sends the request and reads the answer's head.
    ///
    /// # Errors
    /// When nobody listens, or no whole answer comes within 20 s.
    pub async fn send(&self, gateway: SocketAddr) -> Result<Answer> {
        timeout(PATIENCE, self.exchange(gateway))
            .await
            .context("no answer to the handshake in 20 s")?
    }

    async fn exchange(&self, gateway: SocketAddr) -> Result<Answer> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        }
        let mut io = socket
            .connect(gateway)
            .await
            .with_context(|| format!("cannot connect to {gateway}"))?;
        io.set_nodelay(true)?;
        io.write_all(&self.bytes()).await?;
        let mut early = BytesMut::new();
        let Some(head) = read_head(&mut io, &mut early, Kind::Response).await? else {
            bail!("the connection was closed without an answer");
        };
        if head.status == 101 {
            let accept = head.header("sec-websocket-accept");
            if accept.as_deref() != Some(&derive_accept_key(KEY.as_bytes())) {
                bail!("a 101 with a wrong Sec-WebSocket-Accept: {accept:?}");
            }
            return Ok(Answer::Opened(Socket {
                head,
                target: self.target.clone(),
                io,
                early,
            }));
        }
        let length = head
            .header("content-length")
            .and_then(|l| l.parse::<usize>().ok())
            .unwrap_or(0);
        while early.len() < length && io.read_buf(&mut early).await? > 0 {}
        Ok(Answer::Refused(head, early.freeze()))
    }

    /// [`Request::send`], and a 101 is expected.
    ///
    /// # Errors
    /// When the answer is not a 101; the error holds status and body.
    pub async fn open(&self, gateway: SocketAddr) -> Result<Socket> {
        match self.send(gateway).await? {
            Answer::Opened(socket) => Ok(socket),
            Answer::Refused(head, body) => {
                let reason = head.header("x-clew-reason");
                bail!(
                    "{} {reason:?} {} for {}",
                    head.status,
                    String::from_utf8_lossy(&body),
                    self.target
                )
            }
        }
    }

    /// Opens a session, notes who served it, and closes it with 1000.
    ///
    /// # Errors
    /// When there is no 101, or the close handshake does not end.
    pub async fn place(&self, gateway: SocketAddr) -> Result<String> {
        let socket = self.open(gateway).await?;
        let served_by = socket.served_by();
        socket.goodbye().await?;
        Ok(served_by)
    }
}

/// The answer to an upgrade.
#[derive(Debug)]
pub enum Answer {
    /// A 101.
    Opened(Socket),
    /// Anything else, and its body.
    Refused(Head, Bytes),
}

/// An open WebSocket that nobody drives yet.
#[derive(Debug)]
pub struct Socket {
    /// The 101.
    pub head: Head,
    target: String,
    io: TcpStream,
    early: BytesMut,
}

impl Socket {
    /// The server's name.
    pub fn served_by(&self) -> String {
        self.head.header(SERVED_BY).unwrap_or_default()
    }

    /// Closes with 1000 and waits until the server has closed TCP.
    ///
    /// # Errors
    /// When that does not happen within 20 s.
    pub async fn goodbye(mut self) -> Result<()> {
        let mut frame = close_frame(1000, "");
        frame.header_mut().mask = Some([1, 2, 3, 4]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes)?;
        self.io.write_all(&bytes).await?;
        let rest = async {
            while self.io.read_buf(&mut self.early).await? > 0 {
                self.early.clear();
            }
            Ok::<_, std::io::Error>(())
        };
        timeout(PATIENCE, rest)
            .await
            .context("no end of TCP within 20 s of a Close")??;
        Ok(())
    }

    /// Sends `count` binary messages of `size` bytes, each when the echo of the one before is there.
    ///
    /// # Errors
    /// When an echo differs or does not come.
    pub async fn echo(&mut self, count: u64, size: usize) -> Result<()> {
        let payload = traffic::message(Author::Client, 0, size);
        let mut frame = Frame::message(payload.clone(), OpCode::Data(Data::Binary), true);
        frame.header_mut().mask = Some([7, 7, 7, 7]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes)?;
        let length = match size {
            ..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        let reply = 2 + length + payload.len();
        for _ in 0..count {
            self.io.write_all(&bytes).await?;
            while self.early.len() < reply {
                if timeout(PATIENCE, self.io.read_buf(&mut self.early)).await?? == 0 {
                    bail!("the session ended before the echo");
                }
            }
            let echo = self.early.split_to(reply);
            if !echo.ends_with(&payload) {
                bail!("the echo differs");
            }
        }
        Ok(())
    }

    /// Lets the test drive it.
    pub fn by_hand(self) -> ByHand {
        ByHand::new(self)
    }

    /// Lets a task drive it.
    pub fn session(self, traffic: Traffic) -> Session {
        Session::drive(self, traffic)
    }
}
