//! People in rooms, who talk, come back when their session ends, and say again what was not kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, interval_at, sleep};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Size;
use super::carrier::Carrier;
use super::heard::Heard;
use crate::wire::{Read, close_payload};
use crate::ws_client::{ByHand, Request};

/// Of a message, beside when it was said.
const FILLER: &str = "what people say to one another in a room is about as long as this, and sometimes a little longer than that";
/// A client waits for up to so long before it comes back.
const PAUSE: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(1);

/// Everybody.
#[derive(Debug)]
pub(super) struct Crowd {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    size: Size,
    began: Instant,
    talks: AtomicBool,
    heard: AtomicU64,
    accounts: Vec<Mutex<Account>>,
}

/// What one person knows.
#[derive(Debug, Default)]
struct Account {
    said: u64,
    unkept: BTreeMap<u64, String>,
    heard: BTreeMap<usize, Heard>,
    /// Where their session is.
    server: Option<String>,
    ends: Vec<Ended>,
    delays: Vec<Duration>,
}

/// The end of a session that nobody asked for.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) server: String,
    pub(super) at: Instant,
    pub(super) code: Option<u16>,
    /// The first handshake after it.
    pub(super) back: Instant,
}

/// Of all that was said and heard so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) said: u64,
    pub(super) heard: u64,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
}

/// From when something should have been said until it was heard, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    /// Of half of all.
    pub median: f64,
    /// Of 99 of a hundred.
    pub p99: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Note {
    Kept { kept: u64 },
    Said { from: String, n: u64, text: String },
}

impl Crowd {
    /// Everybody connects; nobody says anything yet.
    pub(super) fn come(size: &Size, carrier: &Carrier) -> Self {
        let shared = Arc::new(Shared {
            size: *size,
            began: Instant::now(),
            talks: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            accounts: (0..size.people()).map(|_| Mutex::default()).collect(),
        });
        let tasks = (0..size.people())
            .map(|me| {
                let gateway = carrier.address(size.room(me).0);
                let person = Person {
                    me,
                    gateway,
                    shared: Arc::clone(&shared),
                };
                tokio::spawn(person.live())
            })
            .collect();
        Self { shared, tasks }
    }

    pub(super) fn talk(&self, talks: bool) {
        self.shared.talks.store(talks, Ordering::Release);
    }

    /// How many messages arrived so far.
    pub(super) fn heard(&self) -> u64 {
        self.shared.heard.load(Ordering::Acquire)
    }

    /// Whether everybody has a session.
    pub(super) fn is_there(&self) -> bool {
        self.accounts().all(|account| account.server.is_some())
    }

    /// Whether everybody has heard everything, and knows that all is kept that they said.
    pub(super) fn has_all(&self) -> bool {
        self.count().lost == 0 && self.accounts().all(|account| account.unkept.is_empty())
    }

    /// Where most people are.
    pub(super) fn fullest(&self) -> Option<String> {
        let mut counts = BTreeMap::new();
        for account in self.accounts() {
            *counts.entry(account.server.clone()?).or_insert(0) += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(server, _)| server)
    }

    pub(super) fn count(&self) -> Count {
        let said: Vec<u64> = self.accounts().map(|account| account.said).collect();
        let mut count = Count {
            said: said.iter().sum(),
            heard: self.heard(),
            ..Count::default()
        };
        for (me, account) in self.accounts().enumerate() {
            for mate in self.shared.size.room(me).1 {
                let heard = account.heard.get(&mate).cloned().unwrap_or_default();
                count.lost += heard.lacks(said[mate]);
                count.doubled += heard.doubled;
                count.late += heard.late;
            }
        }
        count
    }

    /// Sessions that ended since.
    pub(super) fn ends(&self, since: Instant) -> Vec<Ended> {
        let ends = self.accounts().flat_map(|account| account.ends.clone());
        ends.filter(|end| end.at >= since).collect()
    }

    /// Of what was heard since this was asked last.
    pub(super) fn delays(&self) -> Delays {
        let mut all: Vec<Duration> = self
            .accounts()
            .flat_map(|mut account| std::mem::take(&mut account.delays))
            .collect();
        all.sort_unstable();
        let of = |share: f64| {
            let at = (all.len() as f64 * share) as usize;
            all.get(at).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3)
        };
        Delays {
            median: of(0.5),
            p99: of(0.99),
        }
    }

    fn accounts(&self) -> impl Iterator<Item = MutexGuard<'_, Account>> {
        self.shared.accounts.iter().map(lock)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(value: &serde_json::Value) -> Frame {
    Frame::message(value.to_string(), OpCode::Data(Data::Text), true)
}

struct Person {
    me: usize,
    gateway: SocketAddr,
    shared: Arc<Shared>,
}

impl Person {
    async fn live(self) {
        let every = self.shared.size.every;
        let place = |turn: usize| ((self.me + 7 * turn) as f64 * 0.618_033_988_75).fract();
        let mut ticks = interval_at(self.shared.began + every.mul_f64(place(0)), every);
        for turn in 1.. {
            let code = self.visit(&mut ticks).await.unwrap_or(None);
            let ended = Instant::now();
            sleep(PAUSE.mul_f64(place(turn))).await;
            let mut account = self.account();
            // A handshake that failed ends no session.
            if let Some(server) = account.server.take() {
                account.ends.push(Ended {
                    server,
                    at: ended,
                    code,
                    back: Instant::now(),
                });
            }
        }
    }

    /// One session: the code of the Close that it ended with.
    async fn visit(&self, ticks: &mut Interval) -> Result<Option<u16>> {
        let room = self.shared.size.room(self.me).0;
        let socket = Request::new(format!("/ws/room-{room}?as={}", self.me));
        let mut socket = socket.open(self.gateway).await?.by_hand();
        for frame in self.greeting(&socket) {
            socket.send(frame).await?;
        }
        loop {
            let (header, payload) = tokio::select! {
                biased;
                read = socket.read() => match read? {
                    Read::Frame(header, payload) => (header, payload),
                    Read::End(_) => return Ok(None),
                },
                due = ticks.tick() => {
                    if let Some(frame) = self.say(due) {
                        socket.send(frame).await?;
                    }
                    continue;
                }
            };
            match header.opcode {
                OpCode::Control(Control::Close) => {
                    let (code, _) = close_payload(&payload);
                    // It is over, whatever becomes of the answer.
                    socket.send(Frame::from_payload(header, payload)).await.ok();
                    socket.end(SOON).await.ok();
                    return Ok(code);
                }
                OpCode::Control(Control::Ping) => socket.send(Frame::pong(payload)).await?,
                OpCode::Control(_) => {}
                OpCode::Data(_) => self.hear(&payload)?,
            }
        }
    }

    /// What was heard so far, and again what is not known to be kept.
    fn greeting(&self, socket: &ByHand) -> Vec<Frame> {
        let mut account = self.account();
        account.server = Some(socket.served_by.clone());
        let heard = account.heard.iter();
        let have: BTreeMap<String, u64> = heard
            .filter_map(|(mate, heard)| Some((mate.to_string(), heard.last()?)))
            .collect();
        let unkept = account
            .unkept
            .iter()
            .map(|(n, said)| text(&json!({"n": n, "text": said})));
        std::iter::once(text(&json!({"have": have})))
            .chain(unkept)
            .collect()
    }

    /// Counted from when it is due, so that who waits for a session waits in the figures.
    fn say(&self, due: Instant) -> Option<Frame> {
        if !self.shared.talks.load(Ordering::Acquire) {
            return None;
        }
        let mut account = self.account();
        let n = account.said;
        account.said += 1;
        let said = format!("{}:{FILLER}", (due - self.shared.began).as_micros());
        let frame = text(&json!({"n": n, "text": said}));
        account.unkept.insert(n, said);
        Some(frame)
    }

    fn hear(&self, payload: &[u8]) -> Result<()> {
        let mut account = self.account();
        match serde_json::from_slice(payload)? {
            Note::Kept { kept } => {
                account.unkept.remove(&kept);
            }
            Note::Said { from, n, text } => {
                let (due, _) = text.split_once(':').context("no time")?;
                let due = self.shared.began + Duration::from_micros(due.parse()?);
                account.heard.entry(from.parse()?).or_default().enter(n);
                account.delays.push(due.elapsed());
                self.shared.heard.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        lock(&self.shared.accounts[self.me])
    }
}

/// How many messages of the room somebody gets who comes now and has none.
pub(super) async fn newcomer(gateway: SocketAddr, room: usize, mates: usize) -> Result<u64> {
    let me = mates.to_string();
    let socket = Request::new(format!("/ws/room-{room}?as={me}"));
    let mut socket = socket.open(gateway).await?.by_hand();
    socket.send(text(&json!({"have": {}}))).await?;
    // What is said now comes after what was said before.
    socket
        .send(text(&json!({"n": 0, "text": format!("0:{FILLER}")})))
        .await?;
    let mut count = 0;
    loop {
        match socket.read().await? {
            Read::Frame(header, payload) if matches!(header.opcode, OpCode::Data(_)) => {
                match serde_json::from_slice(&payload)? {
                    Note::Said { from, .. } if from == me => return Ok(count),
                    Note::Said { .. } => count += 1,
                    Note::Kept { .. } => {}
                }
            }
            Read::Frame(..) => {}
            Read::End(end) => bail!("{end:?} before everything was heard"),
        }
    }
}
