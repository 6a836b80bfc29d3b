//! One HTTP/1.1 request to a loopback address, and one file that is served to whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Status and body.
///
/// # Errors
/// When nobody listens, or no answer comes within 20 s.
pub async fn send(method: Method, address: SocketAddr, path: &str, body: &str) -> Result<(u16, String)> {
    exchange(method, address, path, None, body).await
}

/// [`send`] of a POST by somebody who has a bearer token.
///
/// # Errors
/// As there.
pub async fn post_as(address: SocketAddr, path: &str, token: &str, body: &str) -> Result<(u16, String)> {
    exchange(Method::POST, address, path, Some(token), body).await
}

async fn exchange(
    method: Method,
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<(u16, String)> {
    let exchange = async {
        let io = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string());
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?)
            .await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, anyhow::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), exchange).await;
    answer
        .context("no answer in 20 s")
        .flatten()
        .with_context(|| format!("http://{address}{path}"))
}

/// The body of a 200.
///
/// # Errors
/// When the answer is another.
pub async fn get(address: SocketAddr, path: &str) -> Result<String> {
    match send(Method::GET, address, path, "").await? {
        (200, body) => Ok(body),
        (status, body) => bail!("http://{address}{path}: {status} {body}"),
    }
}

/// Answers every request to an address with these bytes, for as long as the test's runtime lives.
///
/// # Errors
/// When it cannot be bound.
pub async fn serve(address: SocketAddr, file: Vec<u8>) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let file = Arc::<[u8]>::from(file);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, file.clone()));
        }
    });
    Ok(())
}

async fn answer(mut stream: TcpStream, file: Arc<[u8]>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        file.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.write_all(&file).await
}
