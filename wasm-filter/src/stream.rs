//! One HTTP stream on a route of ours, or on one that a policy is for: Envoy's callbacks, and what the core answers.

mod act;
mod facts;
mod upgrade;
mod window;

use std::borrow::Cow;
use std::rc::Rc;

use clew_filter_config::headers::{BACKEND, HOST, REASON, REMOVED_FROM_REQUESTS};
use clew_filter_config::http_route;
use clew_filter_config::metrics::Series;
use clew_filter_config::plugin::FailureMode;
use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::Reason;
use clew_filter_core::handshake::{self, Affinity, Known, Placed, Presented, Random};
use clew_filter_core::jwt;
use clew_filter_core::session::{Action, Cause, Direction, Ended, Event, Session, Traffic};
use clew_filter_core::session_key::Request;
use clew_filter_core::world::{LaidBackend, LaidRule};

use crate::abi::Flow;
use crate::gateway::{Gateway, Refusal, read};
use crate::host::{self, Buffer, Map, Pairs};
use crate::metrics::{RuleMetrics, UNKNOWN};
use crate::vm::Shared;

use self::act::{close, cut};
use self::upgrade::Upgrade;
use self::window::Window;

/// Where Envoy Gateway (1.9) says what the HTTPRoute's rule is called.
const HTTP_ROUTE_RULE: &[u8] =
    b"xds\0route_metadata\0filter_metadata\0envoy-gateway\0resources\x000\0sectionName";

/// One stream.
pub(crate) struct Stream {
    gateway: usize,
    state: State,
    /// A session of its own concerns no tick before this moment. It stands here because each tick looks at it.
    due: u64,
}

enum State {
    /// Not of a route of ours, or not any more: nothing is looked at.
    Foreign,
    /// A plain request on a route of ours.
    Plain,
    /// Answered by ourselves, for a rule.
    Refused(RuleMetrics),
    /// An upgrade, before and after its 101.
    Upgrade(Box<Upgrade>),
}

impl Stream {
    pub(crate) const fn new(gateway: usize) -> Self {
        Self {
            gateway,
            state: State::Foreign,
            due: u64::MAX,
        }
    }

    pub(crate) const fn gateway(&self) -> usize {
        self.gateway
    }

    /// No tick before this moment of the worker's clock concerns it, unless something changes.
    pub(crate) const fn due(&self) -> u64 {
        self.due
    }

    /// Looks after its session, if it has one.
    pub(crate) fn tick(&mut self, visit: impl FnOnce(&mut Upgrade)) {
        self.due = match &mut self.state {
            State::Upgrade(upgrade) => {
                visit(upgrade);
                upgrade.session.due()
            }
            _ => u64::MAX,
        };
    }

    pub(crate) fn request_headers(&mut self, gateway: &mut Gateway, shared: &mut Shared) -> Flow {
        let Ok(Some(route)) = host::property(b"xds\0route_name") else {
            return Flow::Continue;
        };
        let section = if http_route::is_of_envoy_gateway(&route) {
            host::property(HTTP_ROUTE_RULE).ok().flatten()
        } else {
            None
        };
        // Not at the next tick: what is acknowledged is what every worker places by.
        gateway.world.refresh(read);
        let (id, rule) = match RouteName::parse(section.as_deref().unwrap_or(&route)) {
            Some(name) => (Cow::Borrowed(name.rule), gateway.world.rule(name, read)),
            None => match of_others(&route, section.as_deref(), gateway) {
                Some((key, rule)) => (Cow::Owned(key), Some(rule)),
                None => return Flow::Continue,
            },
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
        let Some(rule) = rule else {
            let never_had_any = gateway.world.version().is_none();
            if upgrade && !(never_had_any && gateway.failure_mode() == FailureMode::Open) {
                let metrics = shared.metrics.rule(UNKNOWN);
                return self.refuse(Reason::ConfigPending.into(), metrics, shared);
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
            gateway.load(id, shared.me, shared.now.unix_ms)
        };
        let presented = Presented::of(&rule.rule, gateway.world.ring(), &request, shared.now.unix_ms);
        let known = Known {
            rule: &rule,
            seed,
            backends: &backends,
            loads: &load,
            presented: &presented,
            draining: gateway.world.draining().is_some(),
        };
        if !upgrade {
            if let Some(placed) = handshake::plain(&known, &request) {
                steer(&placed);
            }
            return Flow::Continue;
        }
        let metrics = shared.metrics.rule(&rule.rule.name);
        if matches!(presented, Presented::Invalid(_)) {
            shared.metrics.add(metrics, Series::AffinityInvalid, 1);
        }
        let placed =
            handshake::upgrade(&known, &request, came_by_tls, &mut shared.dice).map_err(Refusal::from);
        let admitted = placed.and_then(|placed| {
            let held = gateway.admit(&rule, placed.counted_key, shared)?;
            Ok((placed, held))
        });
        match admitted {
            Err(refusal) => self.refuse(refusal, metrics, shared),
            Ok((placed, held)) => {
                steer(&placed);
                // Counted from now on, so that those who come at the same time see each other.
                let place = handshake::seat(&rule, &placed, None, None);
                if let Some(place) = &place {
                    gateway.enter(place, placed.counted, shared);
                }
                let lot = (shared.dice.draw() >> 32) as u32;
                self.due = 0;
                gateway.due_at(0);
                let mut session = Session::new(shared.armable, lot);
                if gateway.is_narrow() {
                    session.narrow();
                }
                let sources = &rule.rule.session_key;
                if rule.rule.close_at_token_expiry
                    && let Some(end) = jwt::expires_at(sources, &request)
                {
                    session.expires_at(end);
                }
                self.state = State::Upgrade(Box::new(Upgrade {
                    session,
                    rule_id: id.into(),
                    rule,
                    metrics,
                    place,
                    held: Some(held),
                    key_source: placed.key_source,
                    affinity: None,
                    passed: Traffic::default(),
                    placed: Some(placed),
                    opened: None,
                }));
                Flow::Continue
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal, metrics: RuleMetrics, shared: &mut Shared) -> Flow {
        let Refusal { reason, retry_after } = refusal;
        shared.metrics.add(metrics, reason, 1);
        let seconds = retry_after.map(|seconds| seconds.to_string());
        let mut headers: Vec<(&[u8], &[u8])> = vec![
            (REASON.as_bytes(), reason.as_str().as_bytes()),
            (b"content-type", b"text/plain"),
        ];
        headers.extend(
            seconds
                .iter()
                .map(|seconds| (&b"retry-after"[..], seconds.as_bytes())),
        );
        let details = format!("clew_{}", reason.as_str());
        let body = format!("{}\n", sentence(reason));
        self.state = State::Refused(metrics);
        // Should even that fail, it waits: what is refused reaches no backend.
        let _ = host::send_local_response(reason.status(), &details, &headers, body.as_bytes());
        Flow::Pause
    }

    pub(crate) fn response_headers(&mut self, gateway: &mut Gateway, shared: &mut Shared) -> Flow {
        if matches!(self.state, State::Foreign | State::Refused(_)) {
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
            if upgrade.opened(&headers, gateway, shared).is_err() {
                let metrics = upgrade.metrics;
                self.ended(gateway, shared);
                return self.refuse(Reason::BackendGone.into(), metrics, shared);
            }
            // Bytes of the request waited for this. Behind any other answer they have nowhere to go: Envoy would even
            // put an error of its own in the place of its 504.
            if upgrade.session.paused(Direction::Request) {
                let _ = host::continue_stream(host::Direction::Request);
                upgrade.resumed(Direction::Request, shared);
            }
        } else {
            shared.metrics.add(upgrade.metrics, Series::Failed, 1);
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
        if direction == Direction::Request && upgrade.rule.rule.terms.is_rated() {
            // A quarter of a second is not near enough for a rate.
            shared.look_at_the_clock();
        }
        let len = if len > 0 || last {
            len.saturating_add(upgrade.bring_back(direction, shared))
        } else {
            len
        };
        let mut window = Window::new(buffer);
        let mut read = |at: usize, out: &mut [u8]| window.read(at, out);
        let event = Event::Data {
            direction,
            len,
            read: &mut read,
        };
        let action = upgrade.on(event, shared);
        let done = match action {
            Action::Pass | Action::Write(..) | Action::Ping | Action::Reset(_) => Ok(Flow::Continue),
            // Nothing follows that it could be kept armed for.
            Action::StayArmed if last => Ok(Flow::Continue),
            Action::StayArmed => host::continue_stream(direction.into()).map(|()| Flow::Pause),
            // What waits for the 101 goes on with it.
            Action::Arm if upgrade.opened.is_none() => Ok(Flow::Pause),
            // Nothing waits, so nobody need be woken: such is the event right after the 101.
            Action::Arm if len == 0 && !last => {
                upgrade.resumed(direction, shared);
                Ok(Flow::Pause)
            }
            Action::Arm => gateway.wake_soon(id, direction).map(|()| Flow::Pause),
            Action::Drop => host::set_buffer(buffer, 0, len, b"").map(|()| Flow::Continue),
            // Nothing comes that could make it whole.
            Action::KeepBack { .. } if last => Ok(Flow::Continue),
            Action::KeepBack { keep } => cut(buffer, len, keep, b"").map(|()| Flow::Continue),
            Action::Close { keep, cause } => {
                let close = close(direction, cause, upgrade.drain(), &mut shared.dice);
                cut(buffer, len, keep, close.as_ref()).map(|()| Flow::Continue)
            }
        };
        let flow = done.unwrap_or_else(|_| {
            upgrade.session.failed(action, shared.now);
            Flow::Continue
        });
        let due = upgrade.session.due();
        if due < self.due {
            self.due = due;
            gateway.due_at(due);
        }
        flow
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
            gateway.leave(&place, upgrade.affinity == Some(Affinity::Missed));
        }
        if let Some(held) = upgrade.held.take() {
            gateway.give_back(held, shared);
        }
        let Some(opened) = upgrade.opened.take() else {
            return;
        };
        let ended = upgrade.session.ended();
        let metrics = &mut shared.metrics;
        metrics.add(upgrade.metrics, Series::Active, -1);
        metrics.add(upgrade.metrics, ended, 1);
        if let Ended::Ours {
            cause: Cause::Drain,
            reset,
        } = ended
        {
            let how = if reset {
                Series::DrainReset
            } else {
                Series::DrainCloseFrame
            };
            metrics.add(upgrade.metrics, how, 1);
        }
        metrics.record(
            upgrade.metrics,
            Series::Duration,
            shared.now.ms.saturating_sub(opened),
        );
    }
}

/// The rule for somebody else's route, and its key.
fn of_others(route: &[u8], section: Option<&[u8]>, gateway: &mut Gateway) -> Option<(String, Rc<LaidRule>)> {
    let key = if http_route::is_of_envoy_gateway(route) {
        http_route::key_on_envoy_gateway(route, section)?
    } else {
        let cluster = host::property(b"xds\0cluster_name").ok().flatten()?;
        http_route::key_on_istio(route, &cluster)?
    };
    let rule = gateway.world.foreign(&key, read)?;
    Some((key, rule))
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

/// Whether the client came by TLS.
fn came_by_tls() -> bool {
    matches!(host::property(b"connection\0tls_version"), Ok(Some(version)) if !version.is_empty())
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
