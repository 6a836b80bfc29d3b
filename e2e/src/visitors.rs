//! Who comes to a host, at a gateway's door: one for each key, which is in the query of the request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;

use crate::ws_client::{Answer, Request, Session, Traffic};
use crate::{scene, wait};

/// For hundreds of handshakes, several times, on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

/// The host, and where it is reached.
#[derive(Clone, Debug)]
pub struct Visitors {
    /// The gateway.
    pub gateway: SocketAddr,
    /// The host.
    pub host: String,
}

/// What a handshake was answered with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The answer's status.
    pub status: u16,
    /// The pod that gave a 101.
    pub by: String,
    /// How long it took.
    pub after: Duration,
}

impl Visitors {
    /// How a handshake ends, and with it its session.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, request: &Request) -> Result<Outcome> {
        let begin = Instant::now();
        let answer = request.send(self.gateway).await?;
        let after = begin.elapsed();
        let (status, by) = match answer {
            Answer::Opened(socket) => {
                let by = socket.served_by();
                socket.goodbye().await?;
                (101, by)
            }
            Answer::Refused(head, _) => (head.status, String::new()),
        };
        Ok(Outcome { status, by, after })
    }

    /// The same of these keys, all at once.
    ///
    /// # Errors
    /// When there is no answer to one.
    pub async fn ask_all(&self, keys: impl IntoIterator<Item = usize>) -> Result<Vec<Outcome>> {
        let asked = keys
            .into_iter()
            .map(async |key| self.ask(&self.request(key)).await);
        join_all(asked).await.into_iter().collect()
    }

    /// The handshake of a key.
    #[must_use]
    pub fn request(&self, key: usize) -> Request {
        Request::new(format!("/ws?room={key}")).host(&self.host)
    }

    /// Waits until handshakes get to a pod.
    ///
    /// # Errors
    /// When none does for long.
    pub async fn welcome(&self) -> Result<()> {
        wait::until("handshakes get there", LONG, async || {
            self.request(0).place(self.gateway).await.ok()
        })
        .await
        .map(drop)
    }

    /// The pods of the first keys.
    ///
    /// # Errors
    /// When one gets nowhere.
    pub async fn place(&self, keys: usize) -> Result<Vec<String>> {
        let requests: Vec<_> = (0..keys).map(|key| self.request(key)).collect();
        scene::place(self.gateway, &requests).await
    }

    /// As soon as two looks in a row find the same, and the caller what it waits for.
    ///
    /// # Errors
    /// When that does not come for long.
    pub async fn settled(
        &self,
        what: &str,
        keys: usize,
        mut is_so: impl FnMut(&[String]) -> bool,
    ) -> Result<Vec<String>> {
        let mut before = Vec::new();
        wait::until(what, LONG, async || {
            let placed = self.place(keys).await.ok()?;
            let stays = placed == before && is_so(&placed);
            before.clone_from(&placed);
            stays.then_some(placed)
        })
        .await
    }

    /// Sessions of the first keys, all of which talk.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn sessions(&self, keys: usize, traffic: Traffic) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        for key in 0..keys {
            let socket = self.request(key).open(self.gateway).await;
            let socket = socket.with_context(|| format!("session {key}"))?;
            sessions.push(socket.session(traffic.clone()));
        }
        Ok(sessions)
    }
}
