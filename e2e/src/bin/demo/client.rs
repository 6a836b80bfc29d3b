//! Clients that come back when they are sent away, and the account of what they and the servers said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clew_e2e::echo_server::{Behaviour, EchoServer, Say};
use clew_e2e::ws_client::{Request, Session, Traffic};
use tokio::time::Instant;

/// A client of one key; its sessions one after the other, the last one live.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: String,
    number: usize,
    pub(crate) past: Vec<Session>,
    pub(crate) session: Session,
    /// When it came back after it had been sent away.
    pub(crate) returns: Vec<Instant>,
}

impl Client {
    pub(crate) async fn open(number: usize, key: &str, gateway: SocketAddr) -> Result<Self> {
        let session = connect(number, 0, key, gateway).await?;
        Ok(Self {
            key: key.to_owned(),
            number,
            past: Vec::new(),
            session,
            returns: Vec::new(),
        })
    }

    /// Connects again, at once, if its session is over.
    pub(crate) async fn return_if_sent_away(&mut self, gateway: SocketAddr) -> Result<()> {
        if self.session.record().end.is_none() {
            return Ok(());
        }
        self.returns.push(Instant::now());
        let next = connect(self.number, self.past.len() + 1, &self.key, gateway).await?;
        self.past.push(std::mem::replace(&mut self.session, next));
        Ok(())
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.past.iter().chain([&self.session])
    }
}

/// A third is idle, a third gets heartbeats, a third chats: 64 KiB in four fragments one way, 2 KB in three the other.
async fn connect(number: usize, time: usize, key: &str, gateway: SocketAddr) -> Result<Session> {
    let gap = Duration::from_millis(10);
    let (behaviour, traffic) = match number % 3 {
        0 => (Behaviour::default(), Traffic::idle()),
        1 => (
            Behaviour {
                ping: Some(Duration::from_millis(500)),
                ..Behaviour::default()
            },
            Traffic::idle(),
        ),
        _ => {
            let say = Say {
                every: Duration::from_millis(900),
                size: 64 << 10,
                pieces: 4,
                gap,
            };
            let traffic = Traffic {
                pieces: 3,
                gap,
                ..Traffic::every(Duration::from_millis(400), 2000)
            };
            (
                Behaviour {
                    say: Some(say),
                    ..Behaviour::default()
                },
                traffic,
            )
        }
    };
    let request = Request::new(format!("/ws?room={key}&client={number}-{time}")).behave(&behaviour);
    Ok(request.open(gateway).await?.session(traffic))
}

/// What both sides say of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Messages of the clients, and how many of them no server got.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// Messages that the clients got, and how many were missing, repeated, cut or altered on the way.
    pub(crate) received: u64,
    pub(crate) damaged: u64,
    /// Finished sessions by close code.
    pub(crate) codes: BTreeMap<u16, usize>,
    /// Finished sessions whose server saw no Close.
    pub(crate) unclosed: usize,
}

impl Account {
    /// Compares the records of every session with those of its server. Sessions that are live must be silent.
    pub(crate) fn of(clients: &[Client], servers: &[EchoServer]) -> Result<Self> {
        let mut seen = BTreeMap::new();
        for connection in servers.iter().flat_map(EchoServer::connections) {
            seen.insert(connection.head.target.clone(), connection);
        }
        let mut account = Self::default();
        for session in clients.iter().flat_map(Client::sessions) {
            let ours = session.record();
            let theirs = seen
                .get(&session.target)
                .with_context(|| format!("no server had {}", session.target))?;
            let theirs = theirs.record();
            account.sent += ours.sent;
            account.lost += ours.sent.saturating_sub(theirs.client.received);
            account.received += ours.echoes.received + ours.server.received;
            let missing = ours.echoes.missing + ours.server.missing + theirs.client.missing;
            let repeated = ours.echoes.repeated + ours.server.repeated + theirs.client.repeated;
            account.damaged += missing + repeated + ours.foreign + theirs.foreign;
            account.damaged += u64::from(ours.cut) + u64::from(theirs.cut) + ours.after_close;
            if let Some(code) = ours.code() {
                *account.codes.entry(code).or_default() += 1;
                account.unclosed += usize::from(theirs.close.is_none());
            }
        }
        Ok(account)
    }
}
