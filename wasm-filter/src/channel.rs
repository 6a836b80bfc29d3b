//! The long poll to the controller, by whoever holds the lease, and the reports of who is connected.

use clew_filter_config::channel::{self, PATH, PROTOCOL, Poll, Update};
use clew_filter_config::plugin::PluginConfig;
use clew_filter_core::lease::{self, Lease};
use clew_filter_core::live::{self, Members};
use clew_filter_core::store::{self, Index, Names};
use clew_filter_core::world::World;

use crate::gateway::read;
use crate::host::{self, Buffer, Level, Map};

/// How long the controller may keep a poll waiting for news.
const WAIT_MS: u64 = 25_000;
/// When Envoy gives up on an answer.
const CALL_TIMEOUT_MS: u32 = 30_000;
/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 4_000;
/// Reports are at least so far apart.
const REPORT_MS: u64 = 1_000;

/// One gateway's channel, as one worker sees it.
#[derive(Default)]
pub(crate) struct Channel {
    holder: bool,
    /// Tokens of the calls that are under way.
    poll: Option<u32>,
    report: Option<u32>,
    not_before: u64,
    pause: u64,
    reported: Vec<channel::Live>,
    report_at: u64,
}

impl Channel {
    pub(crate) fn tick(&mut self, config: &PluginConfig, names: &Names, world: &World, me: u64, now: u64) {
        self.hold(names, me, now);
        if !self.holder {
            return;
        }
        if self.poll.is_none() && now >= self.not_before {
            self.ask(config, names, world.version(), now);
        }
        if self.report.is_none() && now >= self.report_at {
            self.report_at = now.saturating_add(REPORT_MS);
            let live = proxy_sum(names, now);
            if live != self.reported {
                self.report = call(config, names, world.version(), 0, &live).ok();
                if self.report.is_some() {
                    self.reported = live;
                }
            }
        }
    }

    /// The context that polled is gone, and its calls with it.
    pub(crate) fn abandon(&mut self, names: &Names, me: u64) {
        if self.holder
            && let Ok(Some((entry, cas))) = host::shared(&names.lease())
            && matches!(
                lease::look(Some(&entry), me, 0),
                Lease::Ours | Lease::Renew | Lease::Take
            )
        {
            // If it fails, the lease expires.
            let _ = host::set_shared(&names.lease(), &lease::released(), cas);
        }
        *self = Self::default();
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what Envoy's callback brings, and what it concerns"
    )]
    pub(crate) fn answered(
        &mut self,
        config: &PluginConfig,
        names: &Names,
        world: &mut World,
        token: u32,
        headers: u32,
        size: usize,
        now: u64,
    ) {
        if self.report == Some(token) {
            // News that comes with it comes to the poll as well.
            self.report = None;
            if headers == 0 {
                self.reported.clear();
            }
            return;
        }
        if self.poll != Some(token) {
            return;
        }
        self.poll = None;
        if !self.holder {
            return;
        }
        // No headers: Envoy got no answer.
        let status = if headers == 0 {
            None
        } else {
            host::header(Map::CallResponse, ":status").ok().flatten()
        };
        match status.as_deref() {
            Some(b"200") => {
                let update = host::buffer(Buffer::CallResponse, 0, size)
                    .ok()
                    .and_then(|bytes| serde_json::from_slice::<Update>(&bytes).ok());
                match update {
                    Some(update) if Some(update.version.as_str()) == world.version() => self.fine(),
                    Some(update) => match store_update(names, update) {
                        Ok(()) => {
                            self.fine();
                            world.refresh(read);
                            // The next poll acknowledges: every worker finds it from now on.
                            self.ask(config, names, world.version(), now);
                        }
                        Err(status) => {
                            self.failed(now, &format!("an update could not be stored: {status:?}"));
                        }
                    },
                    None => self.failed(now, "the controller's answer is not an update"),
                }
            }
            Some(b"204") => self.fine(),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                self.failed(now, &format!("the controller answers {other}"));
            }
            None => self.failed(now, "the controller does not answer"),
        }
    }

    fn hold(&mut self, names: &Names, me: u64, now: u64) {
        let name = names.lease();
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

    fn ask(&mut self, config: &PluginConfig, names: &Names, have: Option<&str>, now: u64) {
        // The first poll fetches what there is; only then is there something to wait for.
        let wait = if have.is_some() { WAIT_MS } else { 0 };
        let live = proxy_sum(names, now);
        match call(config, names, have, wait, &live) {
            Ok(token) => {
                self.poll = Some(token);
                self.reported = live;
            }
            Err(status) => self.failed(
                now,
                &format!("cluster {} cannot be called: {status:?}", config.cluster),
            ),
        }
    }

    fn fine(&mut self) {
        if self.pause != 0 {
            host::log(Level::Info, "the controller answers again");
        }
        self.pause = 0;
        self.not_before = 0;
    }

    fn failed(&mut self, now: u64, why: &str) {
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
        self.not_before = now.saturating_add(self.pause);
    }
}

fn call(
    config: &PluginConfig,
    names: &Names,
    have: Option<&str>,
    wait_ms: u64,
    live: &[channel::Live],
) -> host::Result<u32> {
    let poll = Poll {
        protocol: PROTOCOL,
        gateway: config.gateway.clone(),
        proxy: proxy(names),
        have: have.map(str::to_owned),
        wait_ms,
        live: live.to_vec(),
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
    host::http_call(&config.cluster, &headers, &body, CALL_TIMEOUT_MS)
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

fn store_update(names: &Names, update: Update) -> host::Result<()> {
    let index = read(&names.index())
        .as_deref()
        .and_then(store::parse::<Index>)
        .unwrap_or_default();
    store::writes(names, update, index)
        .iter()
        .try_for_each(|write| host::set_shared(&write.name, &write.bytes, 0))
}

/// The sessions of the whole proxy.
fn proxy_sum(names: &Names, now: u64) -> Vec<channel::Live> {
    let members = read(&names.members())
        .map(|bytes| Members::decode(&bytes))
        .unwrap_or_default();
    let rows = |member| {
        let bytes = read(&names.live(&live::member_name(member)));
        bytes
            .as_deref()
            .and_then(store::parse::<Vec<channel::Live>>)
            .unwrap_or_default()
    };
    live::sum(members.alive(now).flat_map(rows))
}
