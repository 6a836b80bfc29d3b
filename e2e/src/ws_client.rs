//! A WebSocket client that sends what it is told, byte for byte, and remembers what came back and how it ended.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::echo_server::{Behaviour, SERVED_BY};
use crate::handshake::{Head, Kind, read_head};
use crate::traffic::{self, Assembly, Author, Ledger};
use crate::wire::{End, FrameReader, Outbox, Outgoing, Read, close_frame, close_payload};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
static STARTED: AtomicU32 = AtomicU32::new(0);
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

    /// The headers beyond Host and the upgrade's own, as `clew explain -H` takes them.
    pub fn headers(&self) -> impl Iterator<Item = String> + '_ {
        self.headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v)))
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
        let reply = 2 + if size > 125 { 2 } else { 0 } + payload.len();
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

    /// Lets a task drive it.
    pub fn session(self, traffic: Traffic) -> Session {
        let (reading, writing) = self.io.into_split();
        let reader = FrameReader::new(reading, self.early);
        let (outbox, writing) = Outbox::new(writing, true, false);
        let record = Arc::new(Mutex::new(Record::default()));
        let (over, ended) = watch::channel(false);
        let (say_by_hand, by_hand) = tokio::sync::mpsc::unbounded_channel();
        let driver = Driver {
            traffic,
            outbox: outbox.clone(),
            record: Arc::clone(&record),
            by_hand,
            next: 0,
        };
        let served_by = self.head.header(SERVED_BY).unwrap_or_default();
        let task = tokio::spawn(async move {
            // A protocol error is in the record.
            driver.run(reader).await.ok();
            drop(writing);
            over.send(true).ok();
        });
        Session {
            target: self.target,
            head: self.head,
            served_by,
            opened: Instant::now(),
            outbox,
            record,
            ended,
            say_by_hand,
            task,
        }
    }
}

/// What a client does by itself.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// A numbered message at this interval.
    pub every: Option<Duration>,
    /// Its size in bytes.
    pub size: usize,
    /// Its frames.
    pub pieces: usize,
    /// Between two frames of one.
    pub gap: Duration,
    /// Never answers a Close, and goes on talking.
    pub stubborn: bool,
}

impl Traffic {
    /// Answers pings and Closes, and says nothing unasked.
    pub fn idle() -> Self {
        Self {
            size: 64,
            pieces: 1,
            ..Self::default()
        }
    }

    /// A message of `size` bytes at this interval.
    pub fn every(every: Duration, size: usize) -> Self {
        Self {
            every: Some(every),
            size,
            pieces: 1,
            ..Self::default()
        }
    }
}

/// What a client knows of its session.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The echoes of its own messages.
    pub echoes: Ledger,
    /// The server's own messages.
    pub server: Ledger,
    /// Messages that are neither.
    pub foreign: u64,
    /// Data frames.
    pub frames: u64,
    /// Its own messages that were written whole.
    pub sent: u64,
    /// Pings that it answered.
    pub pings: u64,
    /// The Close frame that arrived: code, reason, when.
    pub close: Option<(Option<u16>, String, Instant)>,
    /// Data frames that came after the Close.
    pub after_close: u64,
    /// A message had begun and not ended when the Close or the end came.
    pub cut: bool,
    /// How and when TCP ended.
    pub end: Option<(End, Instant)>,
    /// What the peer sent that no WebSocket peer may.
    pub protocol_error: Option<String>,
}

impl Record {
    /// The close code; 1006 when TCP ended without one; none while it lives.
    pub fn code(&self) -> Option<u16> {
        match (&self.close, &self.end) {
            (Some((code, ..)), _) => Some(code.unwrap_or(1005)),
            (None, Some(_)) => Some(1006),
            (None, None) => None,
        }
    }

    /// Nothing of what arrived is cut, missing, repeated, altered or illegal.
    pub fn is_whole(&self) -> bool {
        self.echoes.is_whole()
            && self.server.is_whole()
            && self.foreign == 0
            && self.after_close == 0
            && !self.cut
            && self.protocol_error.is_none()
    }
}

/// A session that runs until it ends or is dropped (then TCP is dropped too).
#[derive(Debug)]
pub struct Session {
    /// The 101.
    pub head: Head,
    /// The request's target.
    pub target: String,
    /// The server's name.
    pub served_by: String,
    /// When the 101 had been read.
    pub opened: Instant,
    outbox: Outbox,
    record: Arc<Mutex<Record>>,
    ended: watch::Receiver<bool>,
    say_by_hand: tokio::sync::mpsc::UnboundedSender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
    /// The record as it is now.
    pub fn record(&self) -> Record {
        let mut record = lock(&self.record).clone();
        record.sent = self.outbox.sent();
        record
    }

    /// No Close and no end so far.
    pub fn is_live(&self) -> bool {
        let record = lock(&self.record);
        record.close.is_none() && record.end.is_none()
    }

    /// Sends one numbered message and waits for its echo: the session works.
    ///
    /// # Errors
    /// When the echo does not come within 20 s or the session is over.
    pub async fn check(&self) -> Result<()> {
        let before = lock(&self.record).echoes.received;
        self.say_by_hand.send(()).ok().context("the session is over")?;
        crate::wait::until_true("the echo of a message", PATIENCE, || {
            lock(&self.record).echoes.received > before || !self.is_live()
        })
        .await?;
        if !self.is_live() {
            bail!("the session is over: {:?}", self.record());
        }
        Ok(())
    }

    /// Waits for the end of TCP.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn ended(&mut self, limit: Duration) -> Result<Record> {
        timeout(limit, self.ended.wait_for(|over| *over))
            .await
            .context("the session does not end")??;
        Ok(self.record())
    }

    /// Starts a close handshake.
    pub fn close(&self, code: u16, reason: &str) {
        self.outbox.close(close_frame(code, reason).into_payload());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Driver {
    traffic: Traffic,
    outbox: Outbox,
    record: Arc<Mutex<Record>>,
    by_hand: tokio::sync::mpsc::UnboundedReceiver<()>,
    next: u64,
}

impl Driver {
    async fn run(mut self, mut reader: FrameReader) -> Result<()> {
        let mut ticks = self.traffic.every.map(|every| {
            // Sessions that start together do not speak together.
            let turn = STARTED.fetch_add(1, Ordering::Relaxed);
            let phase = every.mul_f64((f64::from(turn) * 0.618_033_988_75).fract());
            tokio::time::interval_at(Instant::now() + phase, every)
        });
        let mut assembly = Assembly::default();
        loop {
            let talking = self.traffic.stubborn || lock(&self.record).close.is_none();
            let read = tokio::select! {
                biased;
                read = reader.read() => read,
                Some(()) = self.by_hand.recv() => {
                    self.say();
                    continue;
                }
                () = tick(&mut ticks), if talking => {
                    self.say();
                    continue;
                }
            };
            let mut record = lock(&self.record);
            let fault = match read {
                Ok(Read::Frame(header, payload)) => take(
                    &mut record,
                    &self.outbox,
                    &mut assembly,
                    &header,
                    payload,
                    self.traffic.stubborn,
                )
                .err(),
                Ok(Read::End(end)) => {
                    record.cut |= assembly.is_open() || end == End::FinInsideFrame;
                    record.end = Some((end, Instant::now()));
                    return Ok(());
                }
                Err(e) => Some(e),
            };
            if let Some(fault) = fault {
                record.protocol_error = Some(format!("{fault:#}"));
                record.end = Some((End::Reset, Instant::now()));
                return Err(fault);
            }
        }
    }

    fn say(&mut self) {
        let payload = traffic::message(Author::Client, self.next, self.traffic.size);
        self.next += 1;
        let (pieces, gap) = (self.traffic.pieces, self.traffic.gap);
        self.outbox.message(Outgoing {
            pieces,
            gap,
            ..Outgoing::binary(payload)
        });
    }
}

fn take(
    record: &mut Record,
    outbox: &Outbox,
    assembly: &mut Assembly,
    header: &tungstenite::protocol::frame::FrameHeader,
    payload: Bytes,
    stubborn: bool,
) -> Result<()> {
    match header.opcode {
        OpCode::Control(Control::Ping) => {
            record.pings += 1;
            outbox.control(Frame::pong(payload));
        }
        OpCode::Control(Control::Close) => {
            let (code, reason) = close_payload(&payload);
            record.cut |= assembly.is_open();
            record.close = Some((code, reason, Instant::now()));
            if !stubborn {
                outbox.close(payload);
            }
        }
        OpCode::Control(Control::Pong) => {}
        OpCode::Control(Control::Reserved(code)) => bail!("a control frame with the reserved opcode {code}"),
        OpCode::Data(_) if record.close.is_some() => record.after_close += 1,
        OpCode::Data(_) => {
            record.frames += 1;
            let Some((text, payload)) = assembly.take(header, payload)? else {
                return Ok(());
            };
            match traffic::parse(&payload) {
                Some((Author::Client, number)) => record.echoes.enter(number),
                Some((Author::Server, number)) => record.server.enter(number),
                // The announcement.
                None if text => {}
                None => record.foreign += 1,
            }
        }
    }
    Ok(())
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
