//! One HTTP stream on a route of ours: Envoy's callbacks, and what the core answers.

use std::rc::Rc;

use clew_filter_config::headers::{BACKEND, HOST, REASON, REMOVED_FROM_REQUESTS};
use clew_filter_config::plugin::FailureMode;
use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::{DrainPolicy, Draining, Reason};
use clew_filter_core::drain::Turns;
use clew_filter_core::frame::{CloseFrame, encode_close};
use clew_filter_core::handshake::{self, Affinity, Known, Placed, Random};
use clew_filter_core::live::Place;
use clew_filter_core::session::{Action, Direction, Ended, Event, Now, Session, Traffic};
use clew_filter_core::session_key::Request;
use clew_filter_core::world::{LaidBackend, LaidRule, World};

use crate::abi::Flow;
use crate::gateway::{Gateway, read};
use crate::host::{self, Buffer, Map, Pairs};
use crate::metrics::{RuleMetrics, Series, UNKNOWN};
use crate::vm::{Dice, Shared};

/// What access logs show of a stream that a drain's deadline reset.
const RESET_DETAILS: &str = "clew_drain_deadline";

/// One stream.
pub(crate) struct Stream {
    gateway: usize,
    state: State,
}

enum State {
    /// Not of a route of ours, or not any more: nothing is looked at.
    Foreign,
    /// A plain request on a route of ours.
    Plain,
    /// Answered by ourselves.
    Refused,
    /// An upgrade, before and after its 101.
    Upgrade(Box<Upgrade>),
}

/// An upgrade, and the session that it becomes.
pub(crate) struct Upgrade {
    session: Session,
    rule_id: Box<str>,
    rule: Rc<LaidRule>,
    metrics: RuleMetrics,
    place: Option<Place>,
    /// Until the 101.
    placed: Option<Placed>,
    /// When the 101 passed, in milliseconds since the Unix epoch, as of the tick before: a quarter of a second is near
    /// enough for what lasts minutes.
    opened: Option<u64>,
}

impl Stream {
    pub(crate) const fn new(gateway: usize) -> Self {
        Self {
            gateway,
            state: State::Foreign,
        }
    }

    pub(crate) const fn gateway(&self) -> usize {
        self.gateway
    }

    /// Its session, if it is one of that gateway.
    pub(crate) fn session(&mut self, gateway: usize) -> Option<&mut Upgrade> {
        match &mut self.state {
            State::Upgrade(upgrade) if self.gateway == gateway => Some(upgrade),
            _ => None,
        }
    }

    pub(crate) fn request_headers(&mut self, gateway: &mut Gateway, shared: &mut Shared) -> Flow {
        let Ok(Some(route)) = host::property(b"xds\0route_name") else {
            return Flow::Continue;
        };
        let Some(name) = RouteName::parse(&route) else {
            return Flow::Continue;
        };
        let Ok(headers) = host::headers(Map::Request) else {
            return Flow::Continue;
        };
        strip(Map::Request, &headers, &REMOVED_FROM_REQUESTS);
        self.state = State::Plain;

        let headers: Vec<_> = headers.iter().collect();
        let mut request = Request {
            path: headers
                .iter()
                .find(|(name, _)| *name == b":path")
                .map_or(&[], |(_, path)| *path),
            headers: &headers,
            peer: &[],
        };
        let upgrade = handshake::is_upgrade(&request);
        // Not at the next tick: what is acknowledged is what every worker places by.
        gateway.world.refresh(read);
        let Some(rule) = gateway.world.rule(name, read) else {
            let never_had_any = gateway.world.version().is_none();
            if upgrade && !(never_had_any && gateway.failure_mode() == FailureMode::Open) {
                let metrics = shared.metrics.rule(UNKNOWN);
                return self.refuse(Reason::ConfigPending, metrics, shared);
            }
            return Flow::Continue;
        };
        let peer = if rule.asks_peer {
            host::property(b"source\0address").ok().flatten()
        } else {
            None
        };
        request.peer = peer.as_deref().unwrap_or_default();
        let backends = backends(gateway, &rule);
        let Some(seed) = gateway.world.seed() else {
            return Flow::Continue;
        };
        let load = |backend: usize| {
            let id = rule.rule.backends.get(backend).map_or("", |backend| &backend.id);
            gateway.load(id, shared.me, shared.now.ms)
        };
        let known = Known {
            rule: &rule,
            seed,
            backends: &backends,
            loads: &load,
            draining: gateway.world.draining().is_some(),
        };
        if !upgrade {
            if let Some(placed) = handshake::plain(&known, &request) {
                steer(&placed);
            }
            return Flow::Continue;
        }
        let metrics = shared.metrics.rule(&rule.rule.name);
        let secure =
            || matches!(host::property(b"connection\0tls_version"), Ok(Some(version)) if !version.is_empty());
        match handshake::upgrade(&known, &request, secure, &mut shared.dice) {
            Err(reason) => self.refuse(reason, metrics, shared),
            Ok(placed) => {
                steer(&placed);
                // Counted from now on, so that those who come at the same time see each other.
                let place = handshake::seat(&rule, &placed, None, None);
                if let Some(place) = &place {
                    gateway.enter(place, placed.counted, shared);
                }
                self.state = State::Upgrade(Box::new(Upgrade {
                    session: Session::new(shared.armable),
                    rule_id: name.rule.into(),
                    rule,
                    metrics,
                    place,
                    placed: Some(placed),
                    opened: None,
                }));
                Flow::Continue
            }
        }
    }

    fn refuse(&mut self, reason: Reason, metrics: RuleMetrics, shared: &mut Shared) -> Flow {
        shared.metrics.add(metrics, reason, 1);
        let headers: [(&[u8], &[u8]); 2] = [
            (REASON.as_bytes(), reason.as_str().as_bytes()),
            (b"content-type", b"text/plain"),
        ];
        let details = format!("clew_{}", reason.as_str());
        let body = format!("{}\n", sentence(reason));
        self.state = State::Refused;
        match host::send_local_response(reason.status(), &details, &headers, body.as_bytes()) {
            Ok(()) => Flow::Pause,
            // It cannot be refused: it passes, unplaced.
            Err(_) => Flow::Continue,
        }
    }

    pub(crate) fn response_headers(&mut self, gateway: &mut Gateway, shared: &mut Shared) -> Flow {
        if matches!(self.state, State::Foreign | State::Refused) {
            return Flow::Continue;
        }
        let Ok(headers) = host::headers(Map::Response) else {
            return Flow::Continue;
        };
        strip(Map::Response, &headers, &[HOST, BACKEND, REASON]);
        let State::Upgrade(upgrade) = &mut self.state else {
            return Flow::Continue;
        };
        if headers.get(b":status") == Some(b"101") {
            upgrade.opened(gateway, shared);
        } else {
            shared.metrics.add(upgrade.metrics, Series::Failed, 1);
        }
        // Bytes of the request waited for this.
        if upgrade.session.paused(Direction::Request) {
            let _ = host::continue_stream(host::Direction::Request);
            upgrade.resumed(Direction::Request, shared);
        }
        if upgrade.opened.is_none() {
            self.ended(gateway, shared);
            self.state = State::Plain;
        }
        Flow::Continue
    }

    /// Bytes pass: all that the direction's buffer holds. `last`: none will follow.
    pub(crate) fn data(
        &mut self,
        direction: Direction,
        (len, last): (usize, bool),
        id: u32,
        gateway: &mut Gateway,
        shared: &mut Shared,
    ) -> Flow {
        let State::Upgrade(upgrade) = &mut self.state else {
            return Flow::Continue;
        };
        let buffer = Buffer::from(direction);
        let mut window = Window::new(buffer);
        let mut read = |at: usize, out: &mut [u8]| window.read(at, out);
        let event = Event::Data {
            direction,
            len,
            read: &mut read,
        };
        let action = upgrade.on(event, shared);
        let done = match action {
            Action::Pass | Action::Write(_) | Action::Ping | Action::Reset => Ok(Flow::Continue),
            // What waits for the 101 goes on with it.
            Action::Arm if upgrade.opened.is_none() => Ok(Flow::Pause),
            // Nothing waits, so nobody need be woken: such is the event right after the 101.
            Action::Arm if len == 0 && !last => {
                upgrade.resumed(direction, shared);
                Ok(Flow::Pause)
            }
            Action::Arm => gateway.wake_soon(id, direction).map(|()| Flow::Pause),
            Action::Drop => host::set_buffer(buffer, 0, len, b"").map(|()| Flow::Continue),
            Action::Close { keep } => {
                let policy = upgrade.drain_policy(&gateway.world);
                cut(direction, len, keep, &policy, &mut shared.dice).map(|()| Flow::Continue)
            }
        };
        done.unwrap_or_else(|_| {
            upgrade.failed(action, shared.now);
            Flow::Continue
        })
    }

    /// A direction goes on.
    pub(crate) fn resumed(&mut self, direction: Direction, shared: &mut Shared) {
        if let State::Upgrade(upgrade) = &mut self.state {
            upgrade.resumed(direction, shared);
        }
    }

    /// The stream is over.
    pub(crate) fn ended(&mut self, gateway: &mut Gateway, shared: &mut Shared) {
        let State::Upgrade(upgrade) = &mut self.state else {
            return;
        };
        if let Some(place) = upgrade.place.take() {
            gateway.leave(&place);
        }
        let Some(opened) = upgrade.opened.take() else {
            return;
        };
        let ended = upgrade.session.ended();
        let metrics = &mut shared.metrics;
        metrics.add(upgrade.metrics, Series::Active, -1);
        metrics.add(upgrade.metrics, ended, 1);
        match ended {
            Ended::Drain => metrics.add(upgrade.metrics, Series::DrainCloseFrame, 1),
            Ended::Reset => metrics.add(upgrade.metrics, Series::DrainReset, 1),
            Ended::Client | Ended::Server | Ended::Aborted => {}
        }
        metrics.record(
            upgrade.metrics,
            Series::Duration,
            shared.now.ms.saturating_sub(opened),
        );
    }
}

impl Upgrade {
    pub(crate) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(crate) fn drain_timeout_ms(&self) -> u64 {
        self.rule.rule.drain.timeout_ms
    }

    /// How its rule closes sessions: as it is now, or was last.
    pub(crate) fn drain_policy(&self, world: &World) -> DrainPolicy {
        world
            .current(&self.rule_id)
            .unwrap_or(&self.rule)
            .rule
            .drain
            .clone()
    }

    pub(crate) const fn is_leaving(&self) -> bool {
        self.session.is_leaving()
    }

    pub(crate) fn tick(&mut self, leave: Option<(Draining, &mut Turns)>, shared: &mut Shared) -> Action {
        self.on(Event::Tick { leave }, shared)
    }

    pub(crate) fn failed(&mut self, action: Action, now: Now) {
        self.session.failed(action, now);
    }

    fn resumed(&mut self, direction: Direction, shared: &mut Shared) {
        self.on(Event::Resumed(direction), shared);
    }

    fn on(&mut self, event: Event<'_>, shared: &mut Shared) -> Action {
        let mut nowhere = Traffic::default();
        let traffic = shared.metrics.traffic(self.metrics).unwrap_or(&mut nowhere);
        self.session.on(event, shared.now, traffic)
    }

    fn opened(&mut self, gateway: &mut Gateway, shared: &mut Shared) {
        self.opened = Some(shared.now.ms);
        if let Some(placed) = self.placed.take() {
            let address = host::property(b"upstream\0address")
                .ok()
                .flatten()
                .unwrap_or_default();
            let affinity = handshake::landed(&placed, &address);
            if affinity == Affinity::Missed || placed.pod.is_none() {
                self.move_to(&placed, &address, gateway, shared);
            }
            shared.metrics.add(self.metrics, affinity, 1);
            if let Some(cookie) = &placed.cookie {
                // Without it the client has no key the next time, and gets another.
                let _ = host::add_header(Map::Response, "set-cookie", cookie.as_bytes());
            }
        }
        shared.metrics.add(self.metrics, Series::Accepted, 1);
        shared.metrics.add(self.metrics, Series::Opened, 1);
        shared.metrics.add(self.metrics, Series::Active, 1);
        self.on(Event::Opened, shared);
    }

    /// It counts, and drains, where it is.
    fn move_to(&mut self, placed: &Placed, address: &[u8], gateway: &mut Gateway, shared: &mut Shared) {
        let backend = gateway.world.backend(&placed.backend_id, read);
        let place = handshake::seat(&self.rule, placed, backend.as_deref(), Some(address));
        if place == self.place {
            return;
        }
        if let Some(place) = core::mem::replace(&mut self.place, place) {
            gateway.leave(&place);
        }
        if let Some(place) = &self.place {
            gateway.enter(place, placed.counted, shared);
        }
    }
}

/// A look into a buffer: one call of the host reads all of a short frame that is wanted piece by piece.
struct Window {
    buffer: Buffer,
    bytes: [u8; Window::SIZE],
    start: usize,
    len: usize,
}

impl Window {
    const SIZE: usize = 32;

    const fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            bytes: [0; Self::SIZE],
            start: 0,
            len: 0,
        }
    }

    /// Copies the buffer's bytes from `at` on into `out`, and says how many.
    fn read(&mut self, at: usize, out: &mut [u8]) -> usize {
        if self.copy(at, out).is_none() {
            self.len = host::peek(self.buffer, at, &mut self.bytes);
            self.start = at;
            if self.copy(at, out).is_none() {
                return host::peek(self.buffer, at, out);
            }
        }
        out.len()
    }

    /// All of `out`, or nothing.
    fn copy(&self, at: usize, out: &mut [u8]) -> Option<()> {
        let known = self.bytes.get(..self.len)?;
        let wanted = known.get(at.checked_sub(self.start)?..)?.get(..out.len())?;
        out.copy_from_slice(wanted);
        Some(())
    }
}

/// Carries out what a tick asks for, on the effective context.
pub(crate) fn act(action: Action, policy: &DrainPolicy, dice: &mut Dice) -> host::Result<()> {
    match action {
        Action::Write(direction) => {
            host::set_buffer(direction.into(), 0, 0, close(direction, policy, dice).as_ref())?;
            host::continue_stream(direction.into())
        }
        Action::Ping => {
            let [a, b, c, d] = mask(dice);
            host::set_buffer(Buffer::Request, 0, 0, &[0x89, 0x80, a, b, c, d])?;
            host::continue_stream(host::Direction::Request)
        }
        Action::Reset => host::send_local_response(503, RESET_DETAILS, &[], b""),
        Action::Pass | Action::Arm | Action::Close { .. } | Action::Drop => Ok(()),
    }
}

/// The first `keep` bytes of a buffer and our Close, and nothing else.
fn cut(
    direction: Direction,
    len: usize,
    keep: usize,
    policy: &DrainPolicy,
    dice: &mut Dice,
) -> host::Result<()> {
    let close = close(direction, policy, dice);
    let buffer = Buffer::from(direction);
    if keep == len {
        return host::set_buffer(buffer, len, 0, close.as_ref());
    }
    let mut bytes = if keep == 0 {
        Vec::new()
    } else {
        host::buffer(buffer, 0, keep)?
    };
    bytes.extend_from_slice(close.as_ref());
    host::set_buffer(buffer, 0, len, &bytes)
}

/// Our Close, as the receiver of a direction takes it.
fn close(direction: Direction, policy: &DrainPolicy, dice: &mut Dice) -> CloseFrame {
    let mask = match direction {
        Direction::Request => Some(mask(dice)),
        Direction::Response => None,
    };
    encode_close(policy.close_code, &policy.close_reason, mask)
}

fn mask(dice: &mut Dice) -> [u8; 4] {
    let [a, b, c, d, ..] = dice.draw().to_le_bytes();
    [a, b, c, d]
}

fn strip(map: Map, headers: &Pairs, names: &[&str]) {
    for name in names {
        if headers.get(name.as_bytes()).is_some() {
            // Envoy refuses this only where there is no such header map.
            let _ = host::remove_header(map, name);
        }
    }
}

/// Tells Envoy where the request goes. Should that fail, it goes where Envoy's own hash takes it, and counts as missed.
fn steer(placed: &Placed) {
    let _ = host::set_header(Map::Request, HOST, placed.host.as_bytes());
    if let Some(backend) = &placed.backend {
        let _ = host::set_header(Map::Request, BACKEND, backend.as_bytes());
        let _ = host::call_foreign("clear_route_cache", b"");
    }
}

fn backends(gateway: &mut Gateway, rule: &LaidRule) -> Vec<Option<Rc<LaidBackend>>> {
    rule.rule
        .backends
        .iter()
        .map(|backend| gateway.world.backend(&backend.id, read))
        .collect()
}

const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::OriginRefused => "This Origin is not allowed here.",
        Reason::KeyMissing => "The request carries no session key.",
        Reason::RateLimited => "Too many handshakes; try again later.",
        Reason::TooManySessions => "Too many sessions; try again later.",
        Reason::BackendGone => "No backend takes new sessions; try again later.",
        Reason::Draining => "This proxy is going away; try again.",
        Reason::ConfigPending => "This route is not ready yet; try again.",
    }
}
