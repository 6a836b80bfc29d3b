//! What every side goes through: people talk for a while, all servers are restarted one after the other, and one dies.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::carrier::Carrier;
use super::crowd::{Crowd, Delays, newcomer};
use super::servers::Servers;
use super::{Side, Size, Store};
use crate::statistics::peak;
use crate::wait;

const SOON: Duration = Duration::from_secs(30);
/// Nobody is waited for who would have heard it long ago.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how many messages of each person it is talked before a server is killed, and when it is back.
const MEANWHILE: u32 = 4;

/// What became of one side.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Messages that were said until all servers were restarted.
    pub said: u64,
    /// And heard, each by everybody in its room.
    pub heard: u64,
    /// Not heard by somebody who should have.
    pub lost: u64,
    /// Heard again.
    pub doubled: u64,
    /// Heard after a later one of the same speaker.
    pub late: u64,
    /// CPU time while all is well.
    pub cpu: Cpu,
    /// From when it should have been said until it was heard, while all is well.
    pub delays: Delays,
    /// Sessions that ended while all servers were restarted.
    pub ended: usize,
    /// Those of them that ended with a Close of 1012.
    pub orderly: usize,
    /// For each server that had any, the most handshakes of those who come back within a tenth of a drain's time ÷ an even tenth.
    pub peaks: Vec<f64>,
    /// How many each server had, in the mean.
    pub on_server: f64,
    /// How long that took.
    pub took: Duration,
    /// What a dead server took with it.
    pub crash: Option<Crash>,
}

/// CPU time for each message that somebody heard, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// All processes of the proxy.
    pub proxy: f64,
    /// All servers.
    pub servers: f64,
    /// What is between them.
    pub store: f64,
}

impl Cpu {
    /// All three.
    pub fn total(&self) -> f64 {
        self.proxy + self.servers + self.store
    }
}

/// A server is killed, and started again at once.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    /// Messages not heard by somebody who should have.
    pub lost: u64,
    /// Heard again.
    pub doubled: u64,
    /// The share of everything ever said that somebody gets who comes later.
    pub remembered: f64,
}

pub(super) async fn measure(store: Store, side: Side, size: &Size) -> Result<Outcome> {
    let mut servers = Servers::start(store, side).await?;
    let addresses = servers.addresses();
    let mut carrier = Carrier::start(side, &addresses, size.drain).await?;
    let crowd = Crowd::come(size, &carrier);
    wait::until_true("everybody is there", SOON, || crowd.is_there()).await?;
    crowd.talk(true);
    talk_on(&crowd, size, size.warm).await?;

    crowd.delays();
    let cpu = || -> Result<[u64; 4]> {
        let (servers, store) = servers.cpu()?;
        Ok([carrier.cpu()?, servers, store, crowd.heard()])
    };
    let before = cpu()?;
    talk_on(&crowd, size, size.steady).await?;
    let after = cpu()?;
    let delays = crowd.delays();
    let spent: [f64; 4] = std::array::from_fn(|of| (after[of] - before[of]) as f64);
    let [proxy, in_servers, in_store] = [0, 1, 2].map(|of| spent[of] / 1e3 / spent[3]);

    let began = Instant::now();
    let mut peaks = Vec::new();
    if side.restarts() {
        for (index, address) in addresses.iter().enumerate() {
            let since = Instant::now();
            carrier.release(*address).await?;
            servers.restart(index).await?;
            carrier.take_back(*address).await?;
            wait::until_true("everybody is back", SOON, || crowd.is_there()).await?;
            peaks.extend(busiest(&crowd, *address, since, size.drain));
        }
    }
    let took = began.elapsed();
    let ends = crowd.ends(began);
    crowd.talk(false);
    settled(&crowd).await;
    let count = crowd.count();

    let crash = if side.crashes() {
        Some(crash(&mut servers, &carrier, &crowd, size).await?)
    } else {
        None
    };
    Ok(Outcome {
        said: count.said,
        heard: count.heard,
        lost: count.lost,
        doubled: count.doubled,
        late: count.late,
        cpu: Cpu {
            proxy,
            servers: in_servers,
            store: in_store,
        },
        delays,
        ended: ends.len(),
        orderly: ends.iter().filter(|end| end.code == Some(1012)).count(),
        on_server: ends.len() as f64 / addresses.len() as f64,
        peaks,
        took,
        crash,
    })
}

/// Until everybody has said so much more.
async fn talk_on(crowd: &Crowd, size: &Size, messages: u32) -> Result<()> {
    let more = f64::from(messages) * size.people() as f64 * size.hearers();
    let enough = crowd.heard() + more as u64;
    let limit = SOON + size.every * messages * 2;
    wait::until_true("people talk", limit, || crowd.heard() >= enough).await
}

/// Until everything is heard that will be.
async fn settled(crowd: &Crowd) {
    // What is not is counted.
    wait::until_true("everything is heard", PATIENCE, || crowd.has_all())
        .await
        .ok();
}

/// Of those who were on this server; None: nobody was.
fn busiest(crowd: &Crowd, server: SocketAddr, since: Instant, drain: Duration) -> Option<f64> {
    let server = server.to_string();
    let ends = crowd.ends(since);
    let its = ends.iter().filter(|end| end.server == server);
    let back: Vec<f64> = its.map(|end| (end.back - since).as_secs_f64()).collect();
    let even = back.len() as f64 / 10.0;
    (!back.is_empty()).then(|| peak(&back, drain.as_secs_f64() / 10.0) as f64 / even)
}

async fn crash(servers: &mut Servers, carrier: &Carrier, crowd: &Crowd, size: &Size) -> Result<Crash> {
    let before = crowd.count();
    let since = Instant::now();
    crowd.talk(true);
    talk_on(crowd, size, MEANWHILE).await?;
    let fullest = crowd.fullest().context("everybody is somewhere")?;
    let addresses = servers.addresses();
    let victim = addresses
        .iter()
        .position(|address| address.to_string() == fullest);
    servers.crash(victim.context("a server")?).await?;
    wait::until_true("everybody is back", SOON, || {
        crowd.is_there() && !crowd.ends(since).is_empty()
    })
    .await?;
    talk_on(crowd, size, MEANWHILE).await?;
    crowd.talk(false);
    settled(crowd).await;
    let after = crowd.count();
    let mut remembered = 0;
    for room in 0..size.rooms + size.alone {
        remembered += newcomer(carrier.address(room), room, size.people()).await?;
    }
    Ok(Crash {
        lost: after.lost - before.lost,
        doubled: after.doubled - before.doubled,
        remembered: remembered as f64 / after.said as f64,
    })
}
