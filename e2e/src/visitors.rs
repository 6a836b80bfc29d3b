//! Who comes to a host, at a gateway's door: one for each key, which is in the query of the request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ws_client::{Request, Session, Traffic};
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

impl Visitors {
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
