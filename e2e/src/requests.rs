//! Many requests over few connections: upgrades that the server declines, or plain ones.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::echo_server::SERVED_BY;
use crate::handshake::{Head, Kind, read_head};

/// The bytes of a GET, with the headers of an upgrade or without.
pub fn get(target: &str, upgrade: bool, header: Option<(&str, &str)>) -> Vec<u8> {
    let upgrade = if upgrade {
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    } else {
        ""
    };
    let header = header.map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
    format!("GET {target} HTTP/1.1\r\nHost: chat.example.com\r\n{upgrade}{header}\r\n").into_bytes()
}

/// Sends the requests over `connections` connections, one after the other on each; who answered each.
///
/// # Errors
/// When one is not answered, or with a 5xx.
pub async fn send(gateway: SocketAddr, requests: &[Vec<u8>], connections: usize) -> Result<Vec<String>> {
    let share = requests.len().div_ceil(connections).max(1);
    let answers: Vec<Vec<String>> = stream::iter(requests.chunks(share))
        .map(|requests| over_one(gateway, requests))
        .buffered(connections)
        .try_collect()
        .await?;
    Ok(answers.concat())
}

/// Connections on which one request is sent again and again, on all of them at once, and the next when all have answered.
#[derive(Debug)]
pub struct Volley {
    request: Vec<u8>,
    status: u16,
    connections: Vec<(TcpStream, BytesMut)>,
}

impl Volley {
    /// Each answer must have this status.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn new(gateway: SocketAddr, connections: usize, request: Vec<u8>, status: u16) -> Result<Self> {
        let mut open = Vec::new();
        for _ in 0..connections {
            let io = TcpStream::connect(gateway).await?;
            io.set_nodelay(true)?;
            open.push((io, BytesMut::new()));
        }
        Ok(Self {
            request,
            status,
            connections: open,
        })
    }

    /// Sends the request so many times on each connection.
    ///
    /// # Errors
    /// When there is no answer, or one of another status.
    pub async fn ask(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            for (io, _) in &mut self.connections {
                io.write_all(&self.request).await?;
            }
            for (io, buffer) in &mut self.connections {
                let head = read_head(io, buffer, Kind::Response)
                    .await?
                    .context("closed without an answer")?;
                if head.status != self.status {
                    bail!("{} instead of {}: {head:?}", head.status, self.status);
                }
                skip_body(io, buffer, &head).await?;
            }
        }
        Ok(())
    }
}

async fn skip_body(io: &mut TcpStream, buffer: &mut BytesMut, head: &Head) -> Result<()> {
    let length: usize = head
        .header("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        if io.read_buf(buffer).await? == 0 {
            bail!("closed inside a body");
        }
    }
    let _ = buffer.split_to(length);
    Ok(())
}

async fn over_one(gateway: SocketAddr, requests: &[Vec<u8>]) -> Result<Vec<String>> {
    let mut connection = None;
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        let (mut io, mut buffer) = match connection.take() {
            Some(connection) => connection,
            None => {
                let io = TcpStream::connect(gateway).await?;
                io.set_nodelay(true)?;
                (io, BytesMut::new())
            }
        };
        io.write_all(request).await?;
        let head = read_head(&mut io, &mut buffer, Kind::Response)
            .await?
            .context("closed without an answer")?;
        if head.status >= 500 || head.status == 101 {
            bail!("{} instead of a plain answer: {head:?}", head.status);
        }
        skip_body(&mut io, &mut buffer, &head).await?;
        // Envoy closes after an upgrade that was declined.
        if head.header("connection").as_deref() != Some("close") {
            connection = Some((io, buffer));
        }
        answers.push(head.header(SERVED_BY).unwrap_or_default());
    }
    Ok(answers)
}
