//! One worker's state, and whom a callback concerns. A worker may serve several gateways, and each gateway through
//! several root contexts: an edit of the plugin's configuration makes a new one, and the old one lives on for its
//! streams.

use clew_filter_config::channel::About;
use clew_filter_config::plugin::PluginConfig;
use clew_filter_core::handshake::Random;
use clew_filter_core::proxy_version;
use clew_filter_core::session::{Direction, Now, Pace};
use clew_filter_core::table::Table;

use crate::abi::Flow;
use crate::channel::Answer;
use crate::gateway::Gateway;
use crate::host::{self, Buffer, Level};
use crate::metrics::Metrics;
use crate::stream::Stream;

/// How often everything that is not a stream's callback is looked after.
const TICK_MS: u32 = 250;

/// Everything a worker knows.
pub(crate) struct Vm {
    /// Root contexts, each with its place in `gateways` once it is configured.
    roots: Table<u32, Option<usize>>,
    gateways: Vec<Gateway>,
    streams: Streams,
    shared: Shared,
}

/// The streams of all gateways.
pub(crate) type Streams = Table<u32, Stream>;

/// What gateways and streams have in common.
pub(crate) struct Shared {
    /// The worker's name towards others; random, because contexts of different workers have equal ids.
    pub(crate) me: u64,
    /// What the clock that never steps said, when [`Now::ms`] was the time since the Unix epoch: both in milliseconds.
    begin: Option<(u64, u64)>,
    pub(crate) now: Now,
    pub(crate) pace: Pace,
    pub(crate) dice: Dice,
    pub(crate) metrics: Metrics,
    /// Whether this Envoy takes bytes into an idle stream.
    pub(crate) armable: bool,
}

impl Vm {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        // Without randomness the workers of one process would take each other for themselves: the clock is next best.
        let me = match host::random(&mut seed) {
            Ok(()) => u64::from_le_bytes(seed),
            Err(_) => host::unix_ns().unwrap_or(1),
        };
        let mut shared = Shared {
            me,
            begin: None,
            now: Now::default(),
            pace: Pace::default(),
            dice: Dice(me),
            metrics: Metrics::default(),
            armable: false,
        };
        shared.look_at_both_clocks();
        Self {
            roots: Table::default(),
            gateways: Vec::new(),
            streams: Streams::default(),
            shared,
        }
    }

    pub(crate) fn created(&mut self, context: u32, root: u32) {
        if root == 0 {
            self.roots.insert(context, None);
        } else if let Some(Some(gateway)) = self.roots.get(&root) {
            self.streams.insert(context, Stream::new(*gateway));
        }
    }

    pub(crate) fn configured(&mut self, root: u32, size: usize) -> bool {
        let config = host::buffer(Buffer::PluginConfiguration, 0, size)
            .map_err(|status| format!("{status:?}"))
            .and_then(|bytes| {
                serde_json::from_slice::<PluginConfig>(&bytes).map_err(|error| error.to_string())
            });
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                host::log(Level::Warn, &format!("plugin configuration refused: {error}"));
                return false;
            }
        };
        self.shared.look_at_both_clocks();
        let build = host::property(b"xds\0node\0user_agent_build_version")
            .ok()
            .flatten();
        let version = build.as_deref().and_then(proxy_version::parse);
        self.shared.armable = version.is_some_and(|version| version >= proxy_version::ARMABLE);
        let known = self
            .gateways
            .iter()
            .position(|gateway| gateway.name() == config.gateway);
        let at = known.unwrap_or(self.gateways.len());
        if known.is_none() {
            self.gateways.push(Gateway::new(at, &config.gateway));
        }
        if let Some(gateway) = self.gateways.get_mut(at) {
            gateway.configured(root, config, about(version), self.shared.me);
        }
        self.roots.insert(root, Some(at));
        if host::set_tick_period(TICK_MS).is_err() {
            host::log(
                Level::Warn,
                "no ticks: neither configuration nor drains reach this worker",
            );
        }
        true
    }

    pub(crate) fn ticked(&mut self, root: u32) {
        self.shared.look_at_both_clocks();
        if let Some(gateway) = gateway(&self.roots, &mut self.gateways, root)
            && gateway.active_root() == Some(root)
        {
            gateway.tick(root, &mut self.streams, &mut self.shared);
            self.shared.metrics.flush();
        }
    }

    pub(crate) fn woken(&mut self, root: u32) {
        if let Some(gateway) = gateway(&self.roots, &mut self.gateways, root) {
            gateway.woken(&mut self.streams, &mut self.shared);
        }
    }

    pub(crate) fn answered(&mut self, root: u32, answer: Answer) {
        if let Some(gateway) = gateway(&self.roots, &mut self.gateways, root) {
            gateway.answered(root, answer, self.shared.now);
        }
    }

    pub(crate) fn request_headers(&mut self, stream: u32) -> Flow {
        match stream_and_gateway(&mut self.streams, &mut self.gateways, stream) {
            Some((stream, gateway)) => stream.request_headers(gateway, &mut self.shared),
            None => Flow::Continue,
        }
    }

    pub(crate) fn response_headers(&mut self, stream: u32) -> Flow {
        match stream_and_gateway(&mut self.streams, &mut self.gateways, stream) {
            Some((stream, gateway)) => stream.response_headers(gateway, &mut self.shared),
            None => Flow::Continue,
        }
    }

    pub(crate) fn request_data(&mut self, id: u32, data: (usize, bool)) -> Flow {
        self.shared.now.busy = self.shared.pace.event();
        match stream_and_gateway(&mut self.streams, &mut self.gateways, id) {
            Some((stream, gateway)) => stream.data(Direction::Request, data, id, gateway, &mut self.shared),
            None => Flow::Continue,
        }
    }

    pub(crate) fn response_data(&mut self, id: u32, data: (usize, bool)) -> Flow {
        self.shared.now.busy = self.shared.pace.event();
        match stream_and_gateway(&mut self.streams, &mut self.gateways, id) {
            Some((stream, gateway)) => stream.data(Direction::Response, data, id, gateway, &mut self.shared),
            None => Flow::Continue,
        }
    }

    pub(crate) fn logged(&self, stream: u32) {
        if let Some(stream) = self.streams.get(&stream)
            && let Some(gateway) = self.gateways.get(stream.gateway())
            && gateway.access_log()
        {
            stream.tell(&self.shared.metrics);
        }
    }

    pub(crate) fn deleted(&mut self, context: u32) {
        if let Some(mut stream) = self.streams.remove(&context) {
            if let Some(gateway) = self.gateways.get_mut(stream.gateway()) {
                stream.ended(gateway, &mut self.shared);
            }
        } else {
            if let Some(gateway) = gateway(&self.roots, &mut self.gateways, context) {
                gateway.root_gone(context, self.shared.me, self.shared.now);
            }
            self.roots.remove(&context);
        }
    }
}

/// What the proxy says of itself.
fn about(version: Option<proxy_version::Version>) -> About {
    let text = |path| {
        let value = host::property(path).ok().flatten();
        value
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default()
    };
    About {
        envoy: version.map_or_else(String::new, |(major, minor, patch)| {
            format!("{major}.{minor}.{patch}")
        }),
        istio: text(b"xds\0node\0metadata\0ISTIO_VERSION"),
        node: text(b"xds\0node\0id"),
        // Each context has its own.
        installation: String::new(),
    }
}

impl Shared {
    /// How late it is by the clock that never steps. It begins with the time since the Unix epoch, so that moments before
    /// the machine was started have a place on it.
    pub(crate) fn look_at_the_clock(&mut self) {
        if let Ok(now) = host::monotonic_ns() {
            let now = now / 1_000_000;
            let (began, unix) = *self.begin.get_or_insert((now, self.now.unix_ms));
            self.now.ms = unix.saturating_add(now.saturating_sub(began));
        }
    }

    /// And by the one on the wall.
    pub(crate) fn look_at_both_clocks(&mut self) {
        if let Ok(now) = host::unix_ns() {
            self.now.unix_ms = now / 1_000_000;
        }
        self.look_at_the_clock();
    }
}

fn gateway<'a>(
    roots: &Table<u32, Option<usize>>,
    gateways: &'a mut [Gateway],
    root: u32,
) -> Option<&'a mut Gateway> {
    let at = *roots.get(&root)?;
    gateways.get_mut(at?)
}

fn stream_and_gateway<'a>(
    streams: &'a mut Streams,
    gateways: &'a mut [Gateway],
    id: u32,
) -> Option<(&'a mut Stream, &'a mut Gateway)> {
    let stream = streams.get_mut(&id)?;
    let gateway = gateways.get_mut(stream.gateway())?;
    Some((stream, gateway))
}

/// SplitMix64, for what need not be secret.
pub(crate) struct Dice(u64);

impl Random for Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn key(&mut self) -> Option<[u8; 16]> {
        let mut key = [0; 16];
        host::random(&mut key).ok()?;
        Some(key)
    }
}
