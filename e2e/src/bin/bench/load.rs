//! What proxies are put through wherever it is measured what sessions cost them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clew_e2e::scene;
use clew_e2e::ws_client::{Request, Socket};
use clew_e2e::{process, wait};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

pub(crate) const WORKERS: usize = 2;
pub(crate) const UPGRADES: usize = 500;
pub(crate) const TALKERS: usize = 32;
pub(crate) const MESSAGES: u64 = 500;
pub(crate) const MESSAGE: usize = 128;
pub(crate) const IDLE: usize = 2000;
/// Messages of all talkers in one round.
pub(crate) const VOLLEY: usize = TALKERS * MESSAGES as usize;

/// A client that sends when the echo of its last message is there.
pub(crate) type Talker = Mutex<Socket>;

/// A proxy, with all processes that it consists of.
pub(crate) struct Proxy {
    pub(crate) gateway: SocketAddr,
    pub(crate) pid: u32,
}

impl Proxy {
    /// CPU time so far, in nanoseconds.
    pub(crate) fn cpu(&self) -> Result<u64> {
        process::cpu_nanos_of_family(self.pid)
    }

    /// Bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        let bytes: Result<u64> = process::family(self.pid)
            .into_iter()
            .map(process::memory_bytes)
            .sum();
        Ok(bytes? as f64)
    }

    async fn cpu_each(&self, count: usize, work: impl Future<Output = Result<()>>) -> Result<f64> {
        let before = self.cpu()?;
        work.await?;
        Ok((self.cpu()? - before) as f64 / count as f64)
    }

    /// CPU time of each upgrade, in nanoseconds.
    pub(crate) async fn upgrades(&self, requests: &[Request]) -> Result<f64> {
        let work = async { scene::place(self.gateway, requests).await.map(drop) };
        self.cpu_each(requests.len(), work).await
    }

    /// Those who will talk.
    pub(crate) async fn talkers(&self, requests: &[Request]) -> Result<Vec<Talker>> {
        let open = requests[..TALKERS]
            .iter()
            .map(|request| request.open(self.gateway));
        let sockets: Vec<Socket> = stream::iter(open).buffered(8).try_collect().await?;
        Ok(sockets.into_iter().map(Mutex::new).collect())
    }

    /// CPU time of each echoed message of a volley, in nanoseconds.
    pub(crate) async fn volley(&self, talkers: &[Talker]) -> Result<f64> {
        let volleys = stream::iter(talkers)
            .map(async |talker| talker.lock().await.echo(MESSAGES, MESSAGE).await)
            .buffer_unordered(TALKERS)
            .try_collect::<()>();
        self.cpu_each(VOLLEY, volleys).await
    }

    /// Opens sessions and waits until nothing moves any more, so that the CPU time stands still but for the timers.
    pub(crate) async fn open(&self, requests: impl IntoIterator<Item = &Request>) -> Result<Vec<Socket>> {
        let open = requests.into_iter().map(|request| request.open(self.gateway));
        let sockets: Vec<Socket> = stream::iter(open).buffered(32).try_collect().await?;
        let mut last = self.cpu()?;
        wait::until_true("the proxy is idle", Duration::from_secs(20), || {
            let now = self.cpu().unwrap_or(last);
            let idle = now - last < 2_000_000;
            last = now;
            idle
        })
        .await?;
        Ok(sockets)
    }

    /// Memory that each idle session takes, in KiB.
    pub(crate) async fn idle(&self, requests: &[Request]) -> Result<f64> {
        let before = self.memory()?;
        let sockets = self.open(requests).await?;
        let each = (self.memory()? - before) / requests.len() as f64 / 1024.0;
        part(sockets).await?;
        Ok(each)
    }
}

/// Ends sessions.
pub(crate) async fn part(sockets: Vec<Socket>) -> Result<()> {
    let goodbyes = sockets.into_iter().map(Socket::goodbye);
    stream::iter(goodbyes).buffer_unordered(64).try_collect().await
}
