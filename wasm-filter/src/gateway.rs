//! What a worker does for one gateway besides its streams' own callbacks: it takes over news, says who is connected,
//! and sees sessions off.

mod seats;

use clew_filter_config::channel::About;
use clew_filter_config::limits::Limits;
use clew_filter_config::plugin::{FailureMode, PluginConfig};
use clew_filter_config::rule::{Draining, Reason};
use clew_filter_core::drain::{self, Turns, Window};
use clew_filter_core::handshake::Random;
use clew_filter_core::live::{self, Counts, Load, MEMBER_MS, Members, Place};
use clew_filter_core::placement::KeyHash;
use clew_filter_core::session::{Direction, Now};
use clew_filter_core::store::Names;
use clew_filter_core::table::Table;
use clew_filter_core::world::{LaidRule, World};

use self::seats::{Asked, Seats, swap};
pub(crate) use self::seats::{Held, Refusal};
use crate::channel::{Answer, Channel};
use crate::host::{self, Level};
use crate::vm::{Shared, Streams};

/// The clocks drift apart all the time; so much at once is somebody's doing.
const STEP_MS: u64 = 100;
/// How often a worker says that it lives, and who is connected.
const PUBLISH_MS: u64 = 1_000;

/// One gateway, as a worker serves it.
pub(crate) struct Gateway {
    /// Its place among the worker's gateways.
    at: usize,
    name: String,
    names: Names,
    failure_mode: FailureMode,
    /// The last is the one that acts: it has the newest configuration.
    roots: Vec<(u32, PluginConfig)>,
    pub(crate) world: World,
    channel: Channel,
    counts: Counts,
    seats: Seats,
    published: u64,
    wake: Wake,
    leaving: LeavingPods,
    /// Before this moment no session concerns a tick.
    due: u64,
    /// Rules, drains or a clock are not what they were at the last tick: every session is to hear of it.
    changed: bool,
    /// How far the clocks were apart when the sessions last heard of it.
    clocks_apart: i64,
}

/// Directions that are paused only to go on right after.
#[derive(Default)]
pub(crate) struct Wake {
    queue: Option<u32>,
    waiting: Vec<(u32, Direction)>,
}

/// Pods that drain, by backend and name, and the turns of their sessions.
#[derive(Default)]
struct LeavingPods {
    pods: Table<String, Table<String, Leaving>>,
    proxy: Option<Leaving>,
}

/// A window as it was said, as the worker's clock has it, and the turns in it.
#[derive(Clone, Copy)]
struct Leaving {
    said: Draining,
    window: Window,
    turns: Turns,
}

impl Gateway {
    pub(crate) fn new(at: usize, name: &str) -> Self {
        let names = Names::new(name);
        Self {
            at,
            name: name.to_owned(),
            failure_mode: FailureMode::Closed,
            roots: Vec::new(),
            world: World::new(names.clone()),
            channel: Channel::new(names.clone()),
            seats: Seats::new(names.clone()),
            names,
            counts: Counts::default(),
            published: 0,
            wake: Wake::default(),
            leaving: LeavingPods::default(),
            due: u64::MAX,
            changed: false,
            clocks_apart: 0,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn failure_mode(&self) -> FailureMode {
        self.failure_mode
    }

    /// Whether a stream's buffer takes no more than one read may bring: Envoy Gateway has one limit for both.
    pub(crate) fn is_narrow(&self) -> bool {
        let newest = self.roots.last();
        newest.is_some_and(|(_, config)| !config.installation.is_empty())
    }

    /// Whether an access log shows what streams say of themselves.
    pub(crate) fn access_log(&self) -> bool {
        self.roots.last().is_some_and(|(_, config)| config.access_log)
    }

    pub(crate) fn active_root(&self) -> Option<u32> {
        self.roots.last().map(|(root, _)| *root)
    }

    pub(crate) fn configured(&mut self, root: u32, config: PluginConfig, about: About, me: u64) {
        self.channel.about = about;
        self.roots.retain(|(other, _)| *other != root);
        self.roots.push((root, config));
        self.activate(me);
    }

    pub(crate) fn root_gone(&mut self, root: u32, me: u64, now: Now) {
        let active = self.active_root();
        self.roots.retain(|(other, _)| *other != root);
        self.channel.root_gone(root);
        if self.roots.is_empty() {
            self.channel.release(me, now.unix_ms);
        } else if active == Some(root) {
            self.activate(me);
        }
    }

    fn activate(&mut self, me: u64) {
        let Some((root, config)) = self.roots.last() else {
            return;
        };
        self.failure_mode = config.failure_mode;
        // A queue wakes the context that registered it.
        self.wake.queue = host::register_queue(&self.names.queue(&live::member_name(me), *root)).ok();
        if self.wake.queue.is_none() {
            host::log(
                Level::Warn,
                "no queue: idle sessions cannot be closed, only reset",
            );
        }
    }

    pub(crate) fn tick(&mut self, root: u32, streams: &mut Streams, shared: &mut Shared) {
        shared.now.tick = shared.now.tick.wrapping_add(1);
        shared.pace.tick();
        let now = shared.now;
        if now.apart().abs_diff(self.clocks_apart) > STEP_MS {
            self.clocks_apart = now.apart();
            self.changed = true;
        }
        self.world.refresh(read);
        if self.world.take_changed() {
            self.leaving.update(&self.world, shared);
            self.changed = true;
            self.seats.limited(&self.world);
        }
        self.seats.tick(shared.me);
        if let Some((_, config)) = self.roots.last() {
            self.channel.tick(root, config, &self.world, shared.me, now);
        }
        for backend in self.counts.take_changed_backends() {
            self.publish_load(&backend, shared.me);
        }
        if now.ms.saturating_sub(self.published) >= PUBLISH_MS {
            self.publish(shared.me, now);
        }
        self.wake.clear();
        // The wake-up may have been lost.
        self.wake.run(streams, shared);
        self.look_after(streams, shared);
        // Streams' actions may have left another context in effect; nothing can be done if that fails.
        let _ = host::set_effective_context(root);
    }

    pub(crate) fn woken(&mut self, streams: &mut Streams, shared: &mut Shared) {
        self.wake.run(streams, shared);
    }

    /// A call that `root` made has an answer.
    pub(crate) fn answered(&mut self, root: u32, answer: Answer, now: Now) {
        let active = self.active_root().filter(|active| *active == root);
        if let Some((_, config)) = self.roots.last() {
            self.channel
                .answered(active, config, &mut self.world, answer, now);
        }
    }

    /// Lets a direction, which is about to be paused, go on once Envoy is out of the callback.
    pub(crate) fn wake_soon(&mut self, stream: u32, direction: Direction) -> host::Result<()> {
        let queue = self.wake.queue.ok_or(host::Status::INTERNAL_FAILURE)?;
        // One message wakes all that wait.
        if self.wake.waiting.is_empty() {
            host::enqueue(queue, b"!")?;
        }
        self.wake.waiting.push((stream, direction));
        Ok(())
    }

    /// A session takes its place; `at_once`: others that come now are placed by that.
    pub(crate) fn enter(&mut self, place: &Place, at_once: bool, shared: &Shared) {
        self.counts.enter(place);
        if at_once {
            self.publish_load(&place.backend, shared.me);
            if self.published == 0 {
                self.publish(shared.me, shared.now);
            }
        }
    }

    /// A session leaves its place.
    pub(crate) fn leave(&mut self, place: &Place, missed: bool) {
        self.counts.leave(place, missed);
    }

    /// Envoy took a session elsewhere than it was sent.
    pub(crate) fn missed(&mut self, place: &Place) {
        self.counts.missed(place);
    }

    /// Counts a handshake against its rule's limits.
    pub(crate) fn admit(
        &mut self,
        rule: &LaidRule,
        key: Option<KeyHash>,
        shared: &mut Shared,
    ) -> Result<Held, Refusal> {
        let (me, now) = (shared.me, shared.now);
        // Others drop what is counted by who does not live.
        if rule.rule.limits != Limits::default() && self.published == 0 {
            self.beat(me, now);
        }
        let seed = self.world.seed().ok_or(Reason::ConfigPending)?;
        let asked = Asked {
            rule,
            seed,
            key,
            me,
            now: now.unix_ms,
        };
        self.seats.admit(&asked, &mut shared.dice)
    }

    /// A session that was admitted is over, or its handshake has failed.
    pub(crate) fn give_back(&mut self, held: Held, shared: &Shared) {
        self.seats.leave(held, shared.me);
    }

    /// The whole proxy's sessions by pod of a backend.
    pub(crate) fn load(&self, backend: &str, me: u64, now: u64) -> Load {
        let mut load = self.counts.load(backend).cloned().unwrap_or_default();
        let members = read(&self.names.members())
            .map(|bytes| Members::decode(&bytes))
            .unwrap_or_default();
        for member in members.alive(now).filter(|member| *member != me) {
            let name = self.names.load(&live::member_name(member), backend);
            if let Some(bytes) = read(&name) {
                load.add_encoded(&bytes);
            }
        }
        load
    }

    fn publish_load(&self, backend: &str, me: u64) {
        let bytes = self.counts.load(backend).map(Load::encode).unwrap_or_default();
        let name = self.names.load(&live::member_name(me), backend);
        // If it fails, others place by the figure before.
        let _ = host::set_shared(&name, &bytes, 0);
    }

    fn publish(&mut self, me: u64, now: Now) {
        let changed = self.counts.take_changed();
        // A worker without streams, such as Envoy's main thread, is no member.
        if self.published == 0 && !changed {
            return;
        }
        if changed && let Ok(rows) = serde_json::to_vec(&self.counts.rows()) {
            let _ = host::set_shared(&self.names.live(&live::member_name(me)), &rows, 0);
        }
        self.beat(me, now);
    }

    /// Says that this worker lives.
    fn beat(&mut self, me: u64, now: Now) {
        if now.ms.saturating_sub(self.published) >= MEMBER_MS {
            self.seats.tell_all();
        }
        self.published = now.ms;
        let said = swap(&self.names.members(), &mut |bytes| {
            let mut members = Members::decode(bytes);
            members.beat(me, now.unix_ms);
            Some(members.encode())
        });
        if said.is_err() {
            // Again with the next tick.
            self.published = now.ms.saturating_sub(PUBLISH_MS);
        }
    }

    /// A session concerns a tick from this moment on.
    pub(crate) fn due_at(&mut self, due: u64) {
        self.due = self.due.min(due);
    }

    /// Looks after the sessions that are due, or after all where something has changed. A look at each costs
    /// nanoseconds, and there is none while nothing is due.
    fn look_after(&mut self, streams: &mut Streams, shared: &mut Shared) {
        let all = core::mem::take(&mut self.changed);
        if !all && shared.now.ms < self.due {
            return;
        }
        self.due = u64::MAX;
        for (id, stream) in streams.iter_mut() {
            if stream.gateway() != self.at {
                continue;
            }
            if all || shared.now.ms >= stream.due() {
                stream.tick(|session| {
                    if all {
                        session.renew(&self.world);
                    }
                    let leave = self.leaving.of(session.place(), session.drain().timeout_ms);
                    session.tick(*id, leave, shared);
                });
            }
            self.due = self.due.min(stream.due());
        }
    }
}

impl Wake {
    /// Takes the messages out of the queue. They have woken already: it is enough to do it now and then.
    fn clear(&self) {
        if let Some(queue) = self.queue {
            while let Ok(Some(_)) = host::dequeue(queue) {}
        }
    }

    fn run(&mut self, streams: &mut Streams, shared: &mut Shared) {
        for (id, direction) in core::mem::take(&mut self.waiting) {
            // A stream that has ended in the meantime has no context any more.
            if let Some(stream) = streams.get_mut(&id)
                && host::set_effective_context(id).is_ok()
                && host::continue_stream(direction.into()).is_ok()
            {
                stream.resumed(direction, shared);
            }
        }
    }
}

impl LeavingPods {
    fn update(&mut self, world: &World, shared: &mut Shared) {
        let mut before = core::mem::take(&mut self.pods);
        for (backend, pod, said) in world.draining_pods() {
            let known = before.get_mut(backend).and_then(|pods| pods.remove(&pod.name));
            self.pods
                .entry(backend.to_owned())
                .or_default()
                .insert(pod.name.clone(), Leaving::new(said, known, shared));
        }
        let known = self.proxy;
        self.proxy = world.draining().map(|said| Leaving::new(said, known, shared));
    }

    /// The window of a session, and who deals the moments in it.
    fn of(&mut self, place: Option<&Place>, rule_timeout_ms: u64) -> Option<(Window, &mut Turns)> {
        let pod = place.and_then(|place| self.pods.get_mut(&*place.backend)?.get_mut(&*place.pod));
        let proxy = self.proxy.as_mut();
        let of = |it: &Option<&mut Leaving>| it.as_ref().map(|leaving| leaving.window);
        let window = drain::window(of(&pod), of(&proxy), rule_timeout_ms)?;
        let leaving = if of(&pod) == Some(window) { pod? } else { proxy? };
        Some((window, &mut leaving.turns))
    }
}

impl Leaving {
    fn new(said: Draining, known: Option<Self>, shared: &mut Shared) -> Self {
        // A window that was known stays where it is, whatever the clock on the wall says by now.
        let window = known.filter(|known| known.said == said).map(|known| known.window);
        Self {
            said,
            window: window.unwrap_or_else(|| Window::new(said, shared.now)),
            // Who was dealt turns goes on with them: a window may only have been lengthened.
            turns: known.map_or_else(|| Turns::new(shared.dice.draw()), |known| known.turns),
        }
    }
}

/// Reads a shared entry.
pub(crate) fn read(name: &str) -> Option<Vec<u8>> {
    host::shared(name).ok().flatten().map(|(bytes, _)| bytes)
}
