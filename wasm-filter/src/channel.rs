//! The long poll to the controller, by whoever holds the lease, and the reports of who is connected.

use clew_filter_config::channel::{self, News, PATH, PROTOCOL, Poll};
use clew_filter_config::plugin::PluginConfig;
use clew_filter_core::lease::{self, Lease};
use clew_filter_core::live::{self, Members, Row};
use clew_filter_core::session::Now;
use clew_filter_core::store::{self, Index, Names};
use clew_filter_core::world::World;

use crate::gateway::read;
use crate::host::{self, Buffer, Level, Map};

/// How long the controller may keep a poll waiting for news.
const WAIT_MS: u64 = 1_000;
/// When Envoy gives up on an answer. Short, because the next replica that is asked may be awake.
const CALL_TIMEOUT_MS: u64 = 5_000;
/// How much later, for each millisecond of the pause after failures: what is large comes slowly to many who ask for it at once.
const PATIENCE: u64 = 20;
const LONGEST_CALL_TIMEOUT_MS: u64 = 30_000;
/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 4_000;
/// Reports are at least so far apart.
const REPORT_MS: u64 = 1_000;

/// One gateway's channel, as one worker sees it.
pub(crate) struct Channel {
    names: Names,
    pub(crate) about: channel::About,
    holder: bool,
    poll: Option<Call>,
    report: Option<Call>,
    not_before: u64,
    pause: u64,
    reported: Vec<Row>,
    report_at: u64,
}

/// A call that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Call {
    token: u32,
    /// The context that made it: when that goes, no answer comes.
    root: u32,
}

/// What comes back of a call.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) token: u32,
    /// How many headers; none: Envoy got no answer.
    pub(crate) headers: u32,
    /// Bytes of the body.
    pub(crate) size: usize,
}

impl Channel {
    pub(crate) const fn new(names: Names) -> Self {
        Self {
            names,
            about: channel::About {
                envoy: String::new(),
                istio: String::new(),
                node: String::new(),
                installation: String::new(),
            },
            holder: false,
            poll: None,
            report: None,
            not_before: 0,
            pause: 0,
            reported: Vec::new(),
            report_at: 0,
        }
    }

    /// `root` is the context in effect.
    pub(crate) fn tick(&mut self, root: u32, config: &PluginConfig, world: &World, me: u64, now: Now) {
        self.hold(me, now.unix_ms);
        if !self.holder {
            return;
        }
        if self.poll.is_none() && now.ms >= self.not_before {
            self.ask(root, config, world.version(), now);
        }
        if self.report.is_none() && now.ms >= self.report_at {
            self.report_at = now.ms.saturating_add(REPORT_MS);
            let live = proxy_sum(&self.names, now.unix_ms);
            if live != self.reported
                && let Ok(token) = call(config, self, world.version(), 0, &live)
            {
                self.report = Some(Call { token, root });
                self.reported = live;
            }
        }
    }

    /// A context is gone, and its calls with it.
    pub(crate) fn root_gone(&mut self, root: u32) {
        for call in [&mut self.poll, &mut self.report] {
            if call.is_some_and(|call| call.root == root) {
                *call = None;
            }
        }
    }

    /// Nobody is left here to poll: another worker may at once.
    pub(crate) fn release(&mut self, me: u64, now: u64) {
        let name = self.names.lease();
        if let Ok(Some((entry, cas))) = host::shared(&name)
            && matches!(lease::look(Some(&entry), me, now), Lease::Ours | Lease::Renew)
        {
            // If it fails, the lease expires.
            let _ = host::set_shared(&name, &lease::released(), cas);
        }
        self.holder = false;
    }

    /// `root` is the context in effect; `None`: one that makes no calls any more.
    pub(crate) fn answered(
        &mut self,
        root: Option<u32>,
        config: &PluginConfig,
        world: &mut World,
        answer: Answer,
        now: Now,
    ) {
        let is = |call: Option<Call>| call.is_some_and(|call| call.token == answer.token);
        if is(self.report) {
            // News that comes with it comes to the poll as well.
            self.report = None;
            if answer.headers == 0 {
                self.reported.clear();
            }
            return;
        }
        if !is(self.poll) {
            return;
        }
        self.poll = None;
        // Whoever has taken the lease in the meantime asks for himself.
        if !self.holder {
            return;
        }
        match self.take(world, answer) {
            Ok(news) => {
                self.fine();
                if news && let Some(root) = root {
                    // The next poll acknowledges: every worker finds it from now on.
                    self.ask(root, config, world.version(), now);
                }
            }
            Err(why) => self.failed(now, &why),
        }
    }

    /// Stores what an answer brings. True: there was news.
    fn take(&self, world: &mut World, answer: Answer) -> Result<bool, String> {
        if answer.headers == 0 {
            return Err("the controller does not answer".to_owned());
        }
        let status = host::header(Map::CallResponse, ":status")
            .ok()
            .flatten()
            .unwrap_or_default();
        match status.as_slice() {
            b"200" => {}
            b"204" => return Ok(false),
            other => {
                return Err(format!(
                    "the controller answers {}",
                    String::from_utf8_lossy(other)
                ));
            }
        }
        let body = host::buffer(Buffer::CallResponse, 0, answer.size)
            .map_err(|status| format!("the controller's answer cannot be read: {status:?}"))?;
        let update = News::parse(&body)
            .map_err(|error| format!("the controller's answer is not an update: {error}"))?;
        if Some(update.version.as_str()) == world.version() {
            return Ok(false);
        }
        let index = read(&self.names.index())
            .as_deref()
            .and_then(store::parse::<Index>);
        for write in store::writes(&self.names, update, index.unwrap_or_default()) {
            host::set_shared(&write.name, &write.bytes, 0)
                .map_err(|status| format!("{} cannot be stored: {status:?}", write.name))?;
        }
        world.refresh(read);
        Ok(true)
    }

    fn hold(&mut self, me: u64, now: u64) {
        let name = self.names.lease();
        let Ok(entry) = host::shared(&name) else { return };
        let (bytes, cas) = entry.map_or((None, 0), |(bytes, cas)| (Some(bytes), cas));
        self.holder = match lease::look(bytes.as_deref(), me, now) {
            Lease::Theirs => false,
            Lease::Ours => true,
            Lease::Renew => host::set_shared(&name, &lease::entry(me, now), cas).is_ok(),
            Lease::Take => {
                // Whoever else wants it may write first, or after us: the next tick tells.
                let _ = host::set_shared(&name, &lease::entry(me, now), cas);
                false
            }
        };
    }

    fn ask(&mut self, root: u32, config: &PluginConfig, have: Option<&str>, now: Now) {
        // The first poll fetches what there is; only then is there something to wait for.
        let wait = if have.is_some() { WAIT_MS } else { 0 };
        let live = proxy_sum(&self.names, now.unix_ms);
        match call(config, self, have, wait, &live) {
            Ok(token) => {
                self.poll = Some(Call { token, root });
                self.reported = live;
            }
            Err(status) => {
                self.failed(
                    now,
                    &format!("cluster {} cannot be called: {status:?}", config.cluster),
                );
            }
        }
    }

    fn fine(&mut self) {
        if self.pause != 0 {
            host::log(Level::Info, "the controller answers again");
        }
        self.pause = 0;
        self.not_before = 0;
    }

    fn failed(&mut self, now: Now, why: &str) {
        if self.pause == 0 {
            host::log(
                Level::Warn,
                &format!("channel: {why}; what is known stays in force"),
            );
        }
        self.pause = self
            .pause
            .saturating_mul(2)
            .clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        self.not_before = now.ms.saturating_add(self.pause);
    }
}

fn call(
    config: &PluginConfig,
    channel: &Channel,
    have: Option<&str>,
    wait_ms: u64,
    rows: &[Row],
) -> host::Result<u32> {
    let (live, missed) = live::said(rows.to_vec());
    let poll = Poll {
        protocol: PROTOCOL,
        gateway: config.gateway.clone(),
        proxy: proxy(&channel.names),
        have: have.map(str::to_owned),
        wait_ms,
        live,
        missed,
        about: channel::About {
            installation: config.installation.clone(),
            ..channel.about.clone()
        },
    };
    let body = serde_json::to_vec(&poll).map_err(|_| host::Status::INTERNAL_FAILURE)?;
    let bearer = format!("Bearer {}", config.token);
    let headers: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":path", PATH.as_bytes()),
        (b":authority", b"clew"),
        (b"content-type", b"application/json"),
        (b"authorization", bearer.as_bytes()),
    ];
    let timeout = CALL_TIMEOUT_MS.saturating_add(channel.pause.saturating_mul(PATIENCE));
    let timeout = u32::try_from(timeout.min(LONGEST_CALL_TIMEOUT_MS)).unwrap_or(u32::MAX);
    host::http_call(&config.cluster, &headers, &body, timeout)
}

/// The process's name towards the controller: random, made once by whoever polls first.
fn proxy(names: &Names) -> String {
    let known = read(&names.proxy()).and_then(|bytes| String::from_utf8(bytes).ok());
    known.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        // Should there be no randomness, proxies of one name are one to the controller, which is nothing worse.
        let _ = host::random(&mut bytes);
        let name = format!("{:016x}", u64::from_le_bytes(bytes));
        let _ = host::set_shared(&names.proxy(), name.as_bytes(), 0);
        name
    })
}

/// The sessions of the whole proxy.
fn proxy_sum(names: &Names, now: u64) -> Vec<Row> {
    let members = read(&names.members())
        .map(|bytes| Members::decode(&bytes))
        .unwrap_or_default();
    let rows = |member| {
        let bytes = read(&names.live(&live::member_name(member)));
        bytes
            .as_deref()
            .and_then(store::parse::<Vec<Row>>)
            .unwrap_or_default()
    };
    live::sum(members.alive(now).flat_map(rows))
}
