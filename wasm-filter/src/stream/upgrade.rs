//! An upgrade, and the session that it becomes.

use std::rc::Rc;

use clew_filter_config::metrics::Series;
use clew_filter_config::rule::DrainPolicy;
use clew_filter_core::drain::{Turns, Window};
use clew_filter_core::handshake::{self, Affinity, Placed};
use clew_filter_core::live::Place;
use clew_filter_core::session::{Action, Direction, Event, Session, Traffic};
use clew_filter_core::world::{LaidRule, World};

use super::act::act;
use super::came_by_tls;
use crate::gateway::{Gateway, Held, read};
use crate::host::{self, Map, Pairs};
use crate::metrics::RuleMetrics;
use crate::vm::Shared;

/// Envoy took a session to another pod than its token names.
pub(super) struct Strayed;

/// From its placement to its end.
pub(crate) struct Upgrade {
    pub(super) session: Session,
    pub(super) rule_id: Box<str>,
    pub(super) rule: Rc<LaidRule>,
    pub(super) metrics: RuleMetrics,
    pub(super) place: Option<Place>,
    /// What it is counted as, until its end.
    pub(super) held: Option<Held>,
    /// For the access log: where its key was, where it landed, and what passed.
    pub(super) key_source: &'static str,
    pub(super) affinity: Option<Affinity>,
    pub(super) passed: Traffic,
    /// Until the 101.
    pub(super) placed: Option<Placed>,
    /// When the 101 passed, by the worker's clock, as of the tick before: a quarter of a second is near enough for what
    /// lasts minutes.
    pub(super) opened: Option<u64>,
}

/// All that a session keeps here, but for the names of its rule, its backend and its pod.
const _: () = assert!(size_of::<Upgrade>() + size_of::<super::Stream>() <= 768);

impl Upgrade {
    pub(crate) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// How its rule closes sessions.
    pub(crate) fn drain(&self) -> &DrainPolicy {
        &self.rule.rule.drain
    }

    /// Takes over its rule as it is now. One that is gone holds as it was last, and so does what our Close has said to one
    /// end, for the other.
    pub(crate) fn renew(&mut self, world: &World) {
        if !self.session.told()
            && let Some(rule) = world.current(&self.rule_id)
        {
            self.rule = Rc::clone(rule);
        }
    }

    /// Looks after it, on its own context `id`. It leaves within this window, if within any.
    pub(crate) fn tick(&mut self, id: u32, leave: Option<(Window, &mut Turns)>, shared: &mut Shared) {
        let action = self.on(Event::Tick { leave }, shared);
        if action == Action::Pass || host::set_effective_context(id).is_err() {
            return;
        }
        if act(action, self.drain(), &mut shared.dice).is_err() {
            self.session.failed(action, shared.now);
        }
    }

    pub(super) fn resumed(&mut self, direction: Direction, shared: &mut Shared) {
        self.on(Event::Resumed(direction), shared);
    }

    /// Puts what was kept back of a direction in front of its bytes, and says how much that is.
    pub(super) fn bring_back(&mut self, direction: Direction, shared: &Shared) -> usize {
        let bytes = self.session.kept_back(direction);
        let len = bytes.len();
        if len > 0 && host::set_buffer(direction.into(), 0, 0, bytes).is_err() {
            self.session.failed(Action::Drop, shared.now);
        }
        len
    }

    pub(super) fn on(&mut self, event: Event<'_>, shared: &mut Shared) -> Action {
        let mut passed = Traffic::default();
        let action = self
            .session
            .on(event, shared.now, &self.rule.rule.terms, &mut passed);
        self.passed.add(&passed);
        if let Some(traffic) = shared.metrics.traffic(self.metrics) {
            traffic.add(&passed);
        }
        action
    }

    /// The 101 is there, and may pass.
    ///
    /// # Errors
    /// When the client must not see it: its token names another pod than the one that Envoy took it to.
    pub(super) fn opened(
        &mut self,
        headers: &Pairs,
        gateway: &mut Gateway,
        shared: &mut Shared,
    ) -> Result<(), Strayed> {
        let mut accepted = Series::Accepted;
        if let Some(placed) = self.placed.take() {
            if placed.origin_reported {
                accepted = Series::AcceptedOriginReported;
            }
            let address = host::property(b"upstream\0address")
                .ok()
                .flatten()
                .unwrap_or_default();
            let affinity = handshake::landed(&placed, &address);
            if affinity == Affinity::Missed || placed.pod.is_none() {
                self.move_to(&placed, &address, gateway, shared);
            }
            if affinity == Affinity::Missed
                && let Some(place) = &self.place
            {
                gateway.missed(place);
            }
            shared.metrics.add(self.metrics, affinity, 1);
            self.affinity = Some(affinity);
            if handshake::strayed(&placed, affinity) {
                return Err(Strayed);
            }
            self.bind(&placed, &address, headers, gateway, shared);
            if let Some(cookie) = &placed.cookie {
                // Without it the client has no key the next time, and gets another.
                let _ = host::add_header(Map::Response, "set-cookie", cookie.as_bytes());
            }
        }
        self.opened = Some(shared.now.ms);
        shared.metrics.add(self.metrics, accepted, 1);
        shared.metrics.add(self.metrics, Series::Opened, 1);
        shared.metrics.add(self.metrics, Series::Active, 1);
        self.on(Event::Opened, shared);
        Ok(())
    }

    /// Brings the client the token of the pod that it reached, where it is to have one.
    fn bind(&self, placed: &Placed, address: &[u8], headers: &Pairs, gateway: &mut Gateway, shared: &Shared) {
        let Some(persistence) = &self.rule.rule.persistence else {
            return;
        };
        if persistence.cookie.is_none() && headers.get(persistence.name.as_bytes()).is_some() {
            // It is ours to say.
            let _ = host::remove_header(Map::Response, &persistence.name);
        }
        let backend = gateway.world.backend(&placed.backend_id, read);
        let reached = backend.as_ref().and_then(|backend| backend.at_address(address));
        let (rule, ring) = (&self.rule.rule, gateway.world.ring());
        if let Some((name, value)) =
            handshake::issue(rule, ring, placed, reached, shared.now.unix_ms, came_by_tls)
        {
            // Without it the session is placed anew the next time.
            let _ = host::add_header(Map::Response, &name, value.as_bytes());
        }
    }

    /// It counts, and drains, where it is.
    fn move_to(&mut self, placed: &Placed, address: &[u8], gateway: &mut Gateway, shared: &mut Shared) {
        let backend = gateway.world.backend(&placed.backend_id, read);
        let place = handshake::seat(&self.rule, placed, backend.as_deref(), Some(address));
        if place == self.place {
            return;
        }
        if let Some(place) = core::mem::replace(&mut self.place, place) {
            gateway.leave(&place, false);
        }
        if let Some(place) = &self.place {
            gateway.enter(place, placed.counted, shared);
        }
    }
}
