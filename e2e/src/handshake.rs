//! HTTP/1.1 heads as bytes, so that a test can send and see what no HTTP library would let through.

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

const MAX_HEAD: usize = 256 * 1024;
const MAX_HEADERS: usize = 256;

/// A request's or a response's head.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The request's method; empty for a response.
    pub method: String,
    /// The request's target as sent; empty for a response.
    pub target: String,
    /// The response's status; 0 for a request.
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first value of `name` (lower case), bytes that are not UTF-8 replaced.
    pub fn header(&self, name: &str) -> Option<String> {
        self.values(name).next()
    }

    /// Every value of `name` (lower case), in order.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())
    }

    /// The value of `name` in the target's query, as sent (not decoded).
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v)
    }

    fn push_headers(&mut self, headers: &[httparse::Header<'_>]) {
        self.headers = headers
            .iter()
            .map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()))
            .collect();
    }
}

/// Whose head is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client's.
    Request,
    /// A server's.
    Response,
}

/// Reads one head; what came after it stays in `buffer`. `None`: the peer closed before it sent a byte.
///
/// # Errors
/// When the peer closes inside the head, or sends what is not HTTP/1.
pub async fn read_head(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    kind: Kind,
) -> Result<Option<Head>> {
    loop {
        if let Some((head, length)) = parse(buffer, kind)? {
            let _ = buffer.split_to(length);
            return Ok(Some(head));
        }
        if buffer.len() > MAX_HEAD {
            bail!("a head of more than {MAX_HEAD} bytes");
        }
        if io.read_buf(buffer).await? == 0 {
            if buffer.is_empty() {
                return Ok(None);
            }
            bail!(
                "closed inside the head, after {:?}",
                String::from_utf8_lossy(buffer)
            );
        }
    }
}

fn parse(bytes: &[u8], kind: Kind) -> Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = Head::default();
    let status = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut headers);
            let status = request.parse(bytes).context("not an HTTP/1 request")?;
            head.method = request.method.unwrap_or_default().to_owned();
            head.target = request.path.unwrap_or_default().to_owned();
            head.push_headers(request.headers);
            status
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut headers);
            let status = response.parse(bytes).context("not an HTTP/1 response")?;
            head.status = response.code.unwrap_or_default();
            head.push_headers(response.headers);
            status
        }
    };
    Ok(match status {
        httparse::Status::Complete(length) => Some((head, length)),
        httparse::Status::Partial => None,
    })
}
