//! A session that a task drives: it talks as it is told, answers what must be answered, and keeps the record.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tungstenite::protocol::frame::coding::{Control, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::{PATIENCE, Socket};
use crate::handshake::Head;
use crate::traffic::{self, Assembly, Author, Ledger};
use crate::wire::{End, FrameReader, Outbox, Outgoing, Read, close_frame, close_payload};

static STARTED: AtomicU32 = AtomicU32::new(0);

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
    say_by_hand: mpsc::UnboundedSender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
    pub(super) fn drive(socket: Socket, traffic: Traffic) -> Self {
        let served_by = socket.served_by();
        let (reading, writing) = socket.io.into_split();
        let reader = FrameReader::new(reading, socket.early);
        let (outbox, writing) = Outbox::new(writing, true, false);
        let record = Arc::new(Mutex::new(Record::default()));
        let (over, ended) = watch::channel(false);
        let (say_by_hand, by_hand) = mpsc::unbounded_channel();
        let driver = Driver {
            traffic,
            outbox: outbox.clone(),
            record: Arc::clone(&record),
            by_hand,
            next: 0,
        };
        let task = tokio::spawn(async move {
            // A protocol error is in the record.
            driver.run(reader).await.ok();
            drop(writing);
            over.send(true).ok();
        });
        Self {
            target: socket.target,
            head: socket.head,
            served_by,
            opened: Instant::now(),
            outbox,
            record,
            ended,
            say_by_hand,
            task,
        }
    }

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
    by_hand: mpsc::UnboundedReceiver<()>,
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
    header: &FrameHeader,
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
