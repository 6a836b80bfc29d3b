//! RFC 6455 frames, one by one: nothing answers a Ping or a Close behind the test's back, and a message that was
//! cut between its fragments is seen as such. Headers are written and parsed by tungstenite.

use std::collections::VecDeque;
use std::io::{Cursor, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

/// No frame of a test is longer; what says so gets no memory.
const LONGEST: u64 = 64 << 20;

/// How a TCP connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A FIN between two frames.
    Fin,
    /// A FIN inside a frame.
    FinInsideFrame,
    /// A reset, or any other error.
    Reset,
}

/// What a read gave.
#[derive(Debug)]
pub enum Read {
    /// One whole frame, unmasked.
    Frame(FrameHeader, Bytes),
    /// The connection is over.
    End(End),
}

/// The reading half. [`FrameReader::read`] may be dropped and called again: nothing is lost.
#[derive(Debug)]
pub struct FrameReader {
    io: OwnedReadHalf,
    buffer: BytesMut,
}

impl FrameReader {
    /// `early`: what came with the handshake.
    pub fn new(io: OwnedReadHalf, early: BytesMut) -> Self {
        Self { io, buffer: early }
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the peer sends what is no frame.
    pub async fn read(&mut self) -> Result<Read> {
        loop {
            if let Some((header, payload)) = self.take()? {
                return Ok(Read::Frame(header, payload));
            }
            match self.io.read_buf(&mut self.buffer).await {
                Ok(0) if self.buffer.is_empty() => return Ok(Read::End(End::Fin)),
                Ok(0) => return Ok(Read::End(End::FinInsideFrame)),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(Read::End(End::Reset)),
            }
        }
    }

    fn take(&mut self) -> Result<Option<(FrameHeader, Bytes)>> {
        let mut cursor = Cursor::new(&self.buffer);
        let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
            return Ok(None);
        };
        let start = usize::try_from(cursor.position())?;
        if length > LONGEST {
            bail!("a frame of {length} bytes");
        }
        let length = usize::try_from(length)?;
        if self.buffer.len() - start < length {
            self.buffer.reserve(start + length - self.buffer.len());
            return Ok(None);
        }
        let _ = self.buffer.split_to(start);
        let mut payload = self.buffer.split_to(length);
        if let Some(mask) = header.mask {
            payload
                .iter_mut()
                .zip(mask.iter().cycle())
                .for_each(|(byte, mask)| *byte ^= mask);
        }
        Ok(Some((header, payload.freeze())))
    }
}

/// The code (absent when the payload is empty) and the reason of a Close frame's payload.
pub fn close_payload(payload: &[u8]) -> (Option<u16>, String) {
    match payload {
        [high, low, reason @ ..] => (
            Some(u16::from_be_bytes([*high, *low])),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        _ => (None, String::new()),
    }
}

/// A Close frame.
pub fn close_frame(code: u16, reason: &str) -> Frame {
    Frame::close(Some(CloseFrame {
        code: code.into(),
        reason: reason.into(),
    }))
}

/// A message and how it is cut into frames.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Text instead of binary.
    pub text: bool,
    /// The whole message.
    pub payload: Bytes,
    /// Into how many frames, at least 1.
    pub pieces: usize,
    /// The pause between two of them.
    pub gap: Duration,
    /// Counted in [`Outbox::sent`].
    pub counted: bool,
}

impl Outgoing {
    /// One binary message in one frame, counted.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self {
            text: false,
            payload: payload.into(),
            pieces: 1,
            gap: Duration::ZERO,
            counted: true,
        }
    }

    fn piece(&self, index: usize) -> Frame {
        let pieces = self.pieces.max(1);
        let size = self.payload.len().div_ceil(pieces);
        let at = |i: usize| (i * size).min(self.payload.len());
        let data = match (index, self.text) {
            (0, false) => Data::Binary,
            (0, true) => Data::Text,
            _ => Data::Continue,
        };
        Frame::message(
            self.payload.slice(at(index)..at(index + 1)),
            OpCode::Data(data),
            index + 1 == pieces,
        )
    }
}

enum Order {
    Message(Outgoing),
    Control(Frame),
    Close(Frame),
}

/// The writing half: messages go out whole and in order, control frames may pass between their fragments, and after
/// a Close (which waits for the message under way) nothing goes out any more.
#[derive(Debug, Clone)]
pub struct Outbox {
    orders: mpsc::UnboundedSender<Order>,
    sent: Arc<AtomicU64>,
}

impl Outbox {
    /// `masked`: as a client must. `fin`: half-close after the Close, as a server should.
    pub fn new(io: OwnedWriteHalf, masked: bool, fin: bool) -> (Self, Writing) {
        let (orders, inbox) = mpsc::unbounded_channel();
        let sent = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            io,
            masked,
            fin,
            sent: Arc::clone(&sent),
            bytes: Vec::new(),
        };
        // A failed write is seen by the reading half: the connection is over.
        let task = tokio::spawn(async move { writer.run(inbox).await.ok() });
        (Self { orders, sent }, Writing(task.abort_handle()))
    }

    /// Queues a message.
    pub fn message(&self, message: Outgoing) {
        self.orders.send(Order::Message(message)).ok();
    }

    /// Sends a control frame other than Close as soon as a frame's end allows.
    pub fn control(&self, frame: Frame) {
        self.orders.send(Order::Control(frame)).ok();
    }

    /// Finishes the message under way, drops the queued ones, and sends a Close with this payload.
    pub fn close(&self, payload: Bytes) {
        self.orders
            .send(Order::Close(Frame::from_payload(FrameHeader::default(), payload)))
            .ok();
    }

    /// How many counted messages were written whole.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Until the Close is written, or the connection is over.
    pub async fn over(&self) {
        self.orders.closed().await;
    }

    /// Whether the writer still takes orders.
    pub fn is_open(&self) -> bool {
        !self.orders.is_closed()
    }
}

/// The task behind an [`Outbox`]; dropped, it stops in the middle of whatever it writes.
#[derive(Debug)]
pub struct Writing(AbortHandle);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Writer {
    io: OwnedWriteHalf,
    masked: bool,
    fin: bool,
    sent: Arc<AtomicU64>,
    bytes: Vec<u8>,
}

impl Writer {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) -> Result<()> {
        let mut queue = VecDeque::new();
        let mut current: Option<(Outgoing, usize, Instant)> = None;
        let mut closing = None;
        loop {
            if let Some((message, index, due)) = current.as_mut() {
                if *due <= Instant::now() {
                    let frame = message.piece(*index);
                    self.write(frame).await?;
                    *index += 1;
                    *due = Instant::now() + message.gap;
                    if *index >= message.pieces.max(1) {
                        self.sent.fetch_add(u64::from(message.counted), Ordering::AcqRel);
                        current = None;
                    }
                    continue;
                }
            } else if let Some(close) = closing.take() {
                self.write(close).await?;
                if self.fin {
                    self.io.shutdown().await?;
                }
                // Dropping the half of a client would send a FIN that no WebSocket client sends first.
                self.io.forget();
                return Ok(());
            } else if let Some(message) = queue.pop_front() {
                current = Some((message, 0, Instant::now()));
                continue;
            }
            let due = current.as_ref().map(|(_, _, due)| *due);
            let order = tokio::select! {
                order = inbox.recv() => order.ok_or_else(|| anyhow!("dropped"))?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => continue,
            };
            match order {
                Order::Message(message) if closing.is_none() => queue.push_back(message),
                Order::Message(_) => {}
                Order::Control(frame) => self.write(frame).await?,
                Order::Close(frame) => {
                    queue.clear();
                    closing = Some(frame);
                }
            }
        }
    }

    async fn write(&mut self, mut frame: Frame) -> Result<()> {
        if self.masked {
            let noise = self
                .sent
                .load(Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_be_bytes();
            frame.header_mut().mask = Some([noise[0], noise[1], noise[2], 0x5A]);
        }
        self.bytes.clear();
        frame.format(&mut self.bytes)?;
        Ok(self.io.write_all(&self.bytes).await?)
    }
}
