//! An unmodified WebSocket server, many in one process: it echoes, heartbeats, chatters, and remembers for each
//! connection what it got and how it ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::address;
use crate::handshake::{Head, Kind, read_head};
use crate::traffic::{self, Assembly, Author, Ledger};
use crate::wire::{End, FrameReader, Outbox, Outgoing, Read, close_frame, close_payload};

/// The header of every answer that tells which server gave it.
pub const SERVED_BY: &str = "x-served-by";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client asks of its server, in the request's query. Everything is echoed in any case.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// The first message is the server's name, as text.
    pub announce: bool,
    /// Pings at this interval.
    pub ping: Option<Duration>,
    /// Messages of the server's own at this interval.
    pub say: Option<Say>,
    /// Instead of a 101.
    pub status: Option<u16>,
    /// Neither a 101 nor anything else.
    pub silent: bool,
    /// Closes with this code when the first message has come.
    pub close: Option<u16>,
    /// Never answers a Close.
    pub deaf: bool,
}

/// Messages of the server's own.
#[derive(Debug, Clone, Copy)]
pub struct Say {
    /// From one to the next.
    pub every: Duration,
    /// Bytes each.
    pub size: usize,
    /// Frames each.
    pub pieces: usize,
    /// Between two frames of one.
    pub gap: Duration,
}

impl Behaviour {
    /// As query parameters, to be appended to a path that may already have some.
    pub fn query(&self) -> String {
        let mut pairs = Vec::new();
        if self.announce {
            pairs.push("announce=1".to_owned());
        }
        if let Some(every) = self.ping {
            pairs.push(format!("ping={}", every.as_millis()));
        }
        if let Some(say) = self.say {
            let (every, gap) = (say.every.as_millis(), say.gap.as_millis());
            pairs.push(format!(
                "say={every}&size={}&pieces={}&gap={gap}",
                say.size, say.pieces
            ));
        }
        if let Some(status) = self.status {
            pairs.push(format!("status={status}"));
        }
        if let Some(code) = self.close {
            pairs.push(format!("close={code}"));
        }
        for (asked, name) in [(self.silent, "silent"), (self.deaf, "deaf")] {
            if asked {
                pairs.push(format!("{name}=1"));
            }
        }
        pairs.join("&")
    }

    fn asked(head: &Head) -> Self {
        let number = |name| head.query(name).and_then(|v| v.parse::<u64>().ok());
        let millis = |name| number(name).map(Duration::from_millis);
        let count = |name, default| {
            number(name)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(default)
        };
        Self {
            announce: head.query("announce").is_some(),
            ping: millis("ping"),
            say: millis("say").map(|every| Say {
                every,
                size: count("size", 128),
                pieces: count("pieces", 1),
                gap: millis("gap").unwrap_or_default(),
            }),
            status: number("status").and_then(|n| u16::try_from(n).ok()),
            silent: head.query("silent").is_some(),
            close: number("close").and_then(|n| u16::try_from(n).ok()),
            deaf: head.query("deaf").is_some(),
        }
    }
}

/// What a server knows of one connection.
#[derive(Debug)]
pub struct Connection {
    /// The upgrade request.
    pub head: Head,
    /// When the 101 was written.
    pub opened: Instant,
    outbox: OnceLock<Outbox>,
    record: Mutex<Record>,
}

/// The part that changes.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The client's numbered messages.
    pub client: Ledger,
    /// Messages that are not numbered, or not intact.
    pub foreign: u64,
    /// The server's own messages that were written whole.
    pub sent: u64,
    /// Pongs to the server's pings.
    pub pongs: u64,
    /// The Close frame that arrived: code, reason, when.
    pub close: Option<(Option<u16>, String, Instant)>,
    /// How and when TCP ended.
    pub end: Option<(End, Instant)>,
    /// A message had begun and not ended when the connection closed.
    pub cut: bool,
}

impl Connection {
    /// A copy of the record as it is now.
    pub fn record(&self) -> Record {
        let mut record = self.lock().clone();
        record.sent = self.outbox.get().map_or(0, Outbox::sent);
        record
    }

    /// The client's Close has come, and the server ends the connection.
    fn closed(&self, payload: &[u8], cut: bool) {
        let (code, reason) = close_payload(payload);
        let mut record = self.lock();
        let now = Instant::now();
        record.close = Some((code, reason, now));
        record.end = Some((End::Fin, now));
        record.cut |= cut;
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct EchoServer {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    connections: Mutex<Vec<Arc<Connection>>>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
    opened: AtomicUsize,
    plain: AtomicUsize,
}

impl EchoServer {
    /// On an address of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_on(name, address::next()).await
    }

    /// On a given address.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_on(name: &str, address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the echo server cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, name.to_owned(), Arc::clone(&shared)));
        Ok(Self {
            name: name.to_owned(),
            address,
            shared,
            accepting,
        })
    }

    /// The name that it answers with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every WebSocket it ever had, in order.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.shared.connections).clone()
    }

    /// How many WebSockets it ever had.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::Acquire)
    }

    /// How many requests got an answer other than 101.
    pub fn plain(&self) -> usize {
        self.shared.plain.load(Ordering::Acquire)
    }

    /// Forgets past connections (their number stays).
    pub fn forget(&self) {
        lock(&self.shared.connections).clear();
    }

    /// Stops listening; live connections stay.
    pub fn refuse(&self) {
        self.accepting.abort();
    }

    /// Dies as a killed process does: every connection is dropped without a Close.
    pub fn die(&self) {
        self.accepting.abort();
        lock(&self.shared.tasks).drain(..).for_each(|task| task.abort());
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.die();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, name: String, shared: Arc<Shared>) {
    let name: Arc<str> = name.into();
    while let Ok((stream, _)) = listener.accept().await {
        let (name, of_task) = (Arc::clone(&name), Arc::clone(&shared));
        // A peer that breaks the protocol ends its own connection; the record shows it.
        let task = tokio::spawn(async move { serve(stream, &name, &of_task).await.ok() });
        let mut tasks = lock(&shared.tasks);
        if tasks.len() % 1024 == 1023 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task.abort_handle());
    }
}

async fn serve(mut stream: TcpStream, name: &str, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut early = BytesMut::new();
    while let Some(head) = read_head(&mut stream, &mut early, Kind::Request).await? {
        let behaviour = Behaviour::asked(&head);
        if behaviour.silent {
            // Until the other end has had enough.
            while stream.read_buf(&mut early).await? > 0 {}
            return Ok(());
        }
        let key = head.header("sec-websocket-key");
        let Some(key) = key.filter(|_| behaviour.status.is_none()) else {
            shared.plain.fetch_add(1, Ordering::AcqRel);
            let status = behaviour.status.unwrap_or(200);
            let length = name.len();
            let answer = format!(
                "HTTP/1.1 {status} Plain\r\n{SERVED_BY}: {name}\r\ncontent-length: {length}\r\n\r\n{name}"
            );
            stream.write_all(answer.as_bytes()).await?;
            continue;
        };
        let subprotocol = head
            .header("sec-websocket-protocol")
            .map_or_else(String::new, |offered| {
                format!(
                    "Sec-WebSocket-Protocol: {}\r\n",
                    offered.split(',').next().unwrap_or_default().trim()
                )
            });
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{SERVED_BY}: {name}\r\n{subprotocol}\r\n"
        );
        let connection = Arc::new(Connection {
            head,
            opened: Instant::now(),
            outbox: OnceLock::new(),
            record: Mutex::default(),
        });
        lock(&shared.connections).push(Arc::clone(&connection));
        shared.opened.fetch_add(1, Ordering::AcqRel);
        stream.write_all(answer.as_bytes()).await?;
        return converse(stream, early, &connection, &behaviour, name).await;
    }
    Ok(())
}

async fn converse(
    stream: TcpStream,
    early: BytesMut,
    connection: &Connection,
    behaviour: &Behaviour,
    name: &str,
) -> Result<()> {
    let (reading, writing) = stream.into_split();
    let mut reader = FrameReader::new(reading, early);
    // Who closes first waits for the answer (RFC 6455, 7.1.1).
    let (outbox, _writing) = Outbox::new(writing, false, behaviour.close.is_none());
    let outbox = connection.outbox.get_or_init(|| outbox);
    if behaviour.announce {
        let name = Bytes::copy_from_slice(name.as_bytes());
        outbox.message(Outgoing {
            text: true,
            counted: false,
            ..Outgoing::binary(name)
        });
    }
    let mut pings = behaviour.ping.map(tokio::time::interval);
    let mut says = behaviour.say.map(|say| tokio::time::interval(say.every));
    let mut said = 0;
    let mut assembly = Assembly::default();
    loop {
        let read = tokio::select! {
            biased;
            read = reader.read() => read,
            () = tick(&mut pings) => {
                outbox.control(Frame::ping(Bytes::from_static(b"beat")));
                continue;
            }
            () = tick(&mut says), if connection.lock().close.is_none() => {
                if let Some(say) = behaviour.say {
                    let payload = traffic::message(Author::Server, said, say.size);
                    said += 1;
                    let message = Outgoing { pieces: say.pieces, gap: say.gap, ..Outgoing::binary(payload) };
                    outbox.message(message);
                }
                continue;
            }
        };
        if let Ok(Read::Frame(header, payload)) = &read
            && header.opcode == OpCode::Control(Control::Close)
            && behaviour.close.is_some()
        {
            // The answer, or both at once: it is over when ours is written.
            connection.closed(payload, assembly.is_open());
            timeout(PATIENCE, outbox.over()).await?;
            return Ok(());
        }
        let mut record = connection.lock();
        let (header, payload) = match read {
            Ok(Read::Frame(header, payload)) => (header, payload),
            Ok(Read::End(end)) => {
                record.end = Some((end, Instant::now()));
                record.cut |= assembly.is_open();
                return Ok(());
            }
            Err(e) => {
                record.end = Some((End::Reset, Instant::now()));
                record.cut |= assembly.is_open();
                return Err(e);
            }
        };
        match header.opcode {
            OpCode::Control(Control::Ping) => outbox.control(Frame::pong(payload)),
            OpCode::Control(Control::Close) => {
                let (code, reason) = close_payload(&payload);
                record.cut |= assembly.is_open();
                record.close = Some((code, reason, Instant::now()));
                if !behaviour.deaf {
                    outbox.close(payload);
                }
            }
            OpCode::Control(Control::Pong) => record.pongs += 1,
            OpCode::Control(Control::Reserved(_)) => record.foreign += 1,
            OpCode::Data(_) => {
                let pieces = if header.is_final && header.opcode != OpCode::Data(Data::Continue) {
                    1
                } else {
                    4
                };
                let Some((text, payload)) = assembly.take(&header, payload)? else {
                    continue;
                };
                match traffic::parse(&payload) {
                    Some((Author::Client, number)) => record.client.enter(number),
                    _ => record.foreign += 1,
                }
                if let Some(code) = behaviour.close {
                    outbox.close(close_frame(code, "goodbye").into_payload());
                    continue;
                }
                outbox.message(Outgoing {
                    text,
                    pieces,
                    counted: false,
                    ..Outgoing::binary(payload)
                });
            }
        }
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
