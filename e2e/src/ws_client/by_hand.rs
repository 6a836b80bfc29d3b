//! A session that the test drives itself: it sends what it is told, also what no client may, and answers nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::Socket;
use crate::wire::{End, FrameReader, Read, close_payload};

/// An open WebSocket.
#[derive(Debug)]
pub struct ByHand {
    /// The server's name.
    pub served_by: String,
    /// The request's target.
    pub target: String,
    reader: FrameReader,
    writing: OwnedWriteHalf,
}

impl ByHand {
    pub(super) fn new(socket: Socket) -> Self {
        let served_by = socket.served_by();
        let (reading, writing) = socket.io.into_split();
        Self {
            served_by,
            target: socket.target,
            reader: FrameReader::new(reading, socket.early),
            writing,
        }
    }

    /// A frame's bytes as a client sends them.
    ///
    /// # Errors
    /// Never.
    pub fn bytes(mut frame: Frame) -> Result<Vec<u8>> {
        frame.header_mut().mask = Some([3, 1, 4, 1]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When TCP has ended.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.writing.write_all(bytes).await?)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When TCP has ended.
    pub async fn send(&mut self, frame: Frame) -> Result<()> {
        self.write(&Self::bytes(frame)?).await
    }

    /// The next frame, or the end of TCP. It may be dropped and called again.
    ///
    /// # Errors
    /// When the peer sends what is no frame.
    pub async fn read(&mut self) -> Result<Read> {
        self.reader.read().await
    }

    /// Reads on to the next Close: its code and reason.
    ///
    /// # Errors
    /// When none comes in time, or TCP ends before.
    pub async fn close(&mut self, limit: Duration) -> Result<(Option<u16>, String)> {
        let close = async {
            loop {
                match self.reader.read().await? {
                    Read::Frame(header, payload) if header.opcode == OpCode::Control(Control::Close) => {
                        return Ok(close_payload(&payload));
                    }
                    Read::Frame(..) => {}
                    Read::End(end) => bail!("{end:?} instead of a Close"),
                }
            }
        };
        timeout(limit, close).await.context("no Close")?
    }

    /// Reads on to the end of TCP, and says how many frames came before.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn end(&mut self, limit: Duration) -> Result<(usize, End)> {
        let end = async {
            let mut frames = 0;
            loop {
                match self.reader.read().await? {
                    Read::Frame(..) => frames += 1,
                    Read::End(end) => return Ok((frames, end)),
                }
            }
        };
        timeout(limit, end).await.context("TCP does not end")?
    }
}
