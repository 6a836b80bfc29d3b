//! One request over HTTP/1.1 to an address, as Envoy's admin port and our own API take them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Whoever does not answer within this is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sent with whatever changes something: a page in a browser cannot send it without asking first.
pub(crate) const CHANGES: &str = "x-clew-change";

/// Sends one request and reads the whole answer.
///
/// # Errors
/// When there is no answer, or none in time.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
) -> io::Result<(StatusCode, Bytes)> {
    tokio::time::timeout(PATIENCE, exchange(address, method, path, body))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

async fn exchange(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
) -> io::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/json")
        .header(CHANGES, "1")
        .body(Full::new(
            body.map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
        ))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    Ok((status, body))
}

/// Reads something.
///
/// # Errors
/// When there is no answer, or it is not 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Bytes> {
    match request(address, Method::GET, path, None).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, body) => Err(io::Error::other(format!(
            "{path}: {status} {}",
            String::from_utf8_lossy(&body).trim()
        ))),
    }
}
