//! `clew run`: the same five steps over folders of manifests, and the Envoy that they are brought into force in.

mod admin;
mod api;
mod apply;
mod begin;
mod binary;
mod detach;
mod drains;
mod envoy;
mod inotify;
mod life;
mod log;
mod ports;
mod process;
mod resources;
mod run;
mod signals;
pub(crate) mod signing;
pub(crate) mod state;
mod view;
mod xds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clew_core::in_force::InForce;
use clew_core::model::{BackendId, ObjectName, OwnerKind, World};
use clew_core::objects::Objects;
use clew_core::render::{envoy::Settings, rules};
use clew_core::validate::Validated;
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::Draining;

use apply::Applier;
pub(crate) use apply::Plan;
use drains::Drains;
use envoy::Envoy;
use ports::Ports;
pub(crate) use run::{Options, run};
use state::State;
use view::View;

use crate::channel::{Channel, Left};
use crate::clock;
use crate::finding::Finding;
use crate::manifests::{Births, Manifests};
use crate::metrics::Metrics;

const BIRTHS: &str = "births.json";
const PORTS: &str = "ports.json";
/// Where in the state folder it says where the API is.
pub(crate) const API_ADDRESS: &str = "api-address";
/// What every Envoy beside a `clew run` is called.
pub(crate) const NODE: &str = "clew-run";
const DRAINS: &str = "drains.json";
const LONGEST_DRAIN: &str = "longest-drain.json";
const ROUTES: &str = "routes.json";
const MANIFESTS: &str = "manifests";
const KEY_SETS: &str = "key-sets.json";

/// Everything that a turn works on.
pub(crate) struct Standalone {
    state: State,
    manifests: Manifests,
    settings: Settings,
    ports: Ports,
    drains: Drains,
    draining: Option<Draining>,
    applier: Applier,
    envoy: Option<Envoy>,
    /// Whether that Envoy is one that we started.
    started: bool,
    /// The longest that rules gave sessions to leave which are gone, of those that the Envoy that lives was told.
    gone_drain_ms: u64,
    /// What the next `clew run` would find of that, and of the rules of now.
    kept_drain_ms: u64,
    /// The routes, and the keys for tokens, as they last were good.
    in_force: InForce,
    /// What is in force, as far as files say: for those who name a pod.
    world: World,
    /// Without their lines.
    said: BTreeSet<Finding>,
    /// The last turn's findings that a later one may not have, with nothing changed in the files.
    failed: bool,
    births: Births,
    channel: Arc<Channel>,
    view: View,
    metrics: Arc<Metrics>,
}

/// What became of a turn.
pub(crate) struct Outcome {
    pub(crate) validated: Validated,
    pub(crate) plan: Plan,
    pub(crate) applied: Result<(), Box<Finding>>,
    pub(crate) took: Duration,
}

impl Standalone {
    /// Files → objects. A listener that wants any port gets one that is its own from then on.
    pub(crate) fn resolve(&mut self) -> Objects {
        let mut objects = self.manifests.objects();
        for (id, left) in self.lingering().into_values().flatten() {
            if let Some(id) = BackendId::read(&id) {
                objects.lingering.entry(id).or_default().rules.extend(left.rules);
            }
        }
        let before = self.ports.clone();
        for gateway in &mut objects.gateways {
            let metadata = &gateway.object.metadata;
            let name = ObjectName::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            );
            let spec = &gateway.object.spec;
            let ip = spec
                .addresses
                .first()
                .and_then(|address| address.value.parse().ok());
            let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let chosen: Vec<_> = spec
                .listeners
                .iter()
                .map(|listener| match listener.port {
                    0 => self
                        .ports
                        .keep(&format!("{name}/{}", listener.name), ip)
                        .unwrap_or(0),
                    port => port,
                })
                .collect();
            if chosen
                .iter()
                .zip(&spec.listeners)
                .any(|(port, listener)| *port != listener.port)
            {
                let mut own = (*gateway.object).clone();
                for (listener, port) in own.spec.listeners.iter_mut().zip(chosen) {
                    listener.port = port;
                }
                gateway.object = own.into();
            }
        }
        if self.ports != before {
            self.keep(PORTS, &self.ports);
        }
        objects
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The routes as they last were good.
    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// They are in force now, for this `clew run` and the next one.
    pub(crate) fn keep_in_force(&mut self, in_force: InForce) {
        if in_force != self.in_force {
            self.keep(ROUTES, &in_force.routes().collect::<Vec<_>>());
            self.keep(KEY_SETS, &in_force.key_sets().collect::<BTreeMap<_, _>>());
        }
        self.in_force = in_force;
    }

    /// The keys of persistence tokens, where a Secret gives these.
    pub(crate) fn signing_keys(&self, of_secret: &[SigningKey]) -> Vec<SigningKey> {
        self.applier.signing().wanted(of_secret)
    }

    /// Set while everything drains.
    pub(crate) fn draining(&self) -> Option<Draining> {
        self.draining
    }

    /// The pods that are leaving, those whose endpoints began to terminate just now included.
    pub(crate) fn observe(&mut self, world: &World) -> rules::Drains {
        self.drains.observe(world, clock::unix_ms());
        if self.drains.are_unsaved() && self.keep(DRAINS, self.drains.kept()) {
            self.drains.saved();
        }
        self.drains.current().clone()
    }

    /// Of each gateway the backends that sessions are on, whether a rule leads there or not.
    pub(crate) fn lingering(&self) -> BTreeMap<String, BTreeMap<String, Left>> {
        self.channel.left(|_, _| true)
    }

    /// Brings a plan into force: in the running Envoy, or for the one that will be started.
    pub(crate) async fn apply(&mut self, plan: &Plan) -> Result<(), Box<Finding>> {
        match &self.envoy {
            Some(envoy) => self.applier.apply(plan, envoy.admin, &self.state).await,
            None => self.applier.prepare(plan, &self.state),
        }
    }

    /// Says what changed since the last turn, and keeps the rest for those who ask.
    pub(crate) fn report(&mut self, outcome: Outcome) {
        let Outcome {
            validated,
            plan,
            applied,
            took,
        } = outcome;
        self.metrics.reconciled(applied.is_ok(), took);
        let refused = validated
            .routes
            .iter()
            .filter(|route| !route.refusals.is_empty())
            .count();
        let accepted = validated.routes.len() - refused;
        let unprogrammed = if applied.is_err() { accepted } else { 0 };
        self.metrics.routes(accepted, refused, unprogrammed);
        self.failed = applied.is_err();
        let mut findings = self.manifests.findings();
        findings.extend(Finding::of_validated(&validated));
        let failure = applied.err().map(|finding| *finding);
        findings.extend(failure.clone());
        self.say(&findings);
        if *self.manifests.births() != self.births {
            self.births = self.manifests.births().clone();
            self.keep(BIRTHS, &self.births);
        }
        self.note(validated.world);
        let mut last = self.view.lock();
        last.routes = validated.routes;
        // There are no HTTPRoutes here that a policy could be for; that is said as a finding.
        last.routes.retain(|report| report.kind == OwnerKind::Route);
        last.findings = findings;
        last.backends = plan
            .snapshots
            .into_iter()
            .map(|(gateway, snapshot)| (gateway, snapshot.backends))
            .collect();
        last.failed = failure.map(|finding| format!("{} ({})", finding.message, finding.code));
        last.draining = self.draining;
    }

    /// What is in force now. Sessions of rules that went keep the time that they last had to leave.
    fn note(&mut self, world: World) {
        let still: BTreeSet<_> = world.rules_here().map(|rule| &rule.name).collect();
        let old = self.world.rules_here();
        let gone = old
            .filter(|rule| !still.contains(&rule.name))
            .map(|rule| rule.drain_timeout_ms);
        self.gone_drain_ms = gone.fold(self.gone_drain_ms, u64::max);
        self.world = world;
        self.keep_longest_drain();
    }

    /// No session is left of what was in force before.
    fn forget_gone(&mut self) {
        self.gone_drain_ms = 0;
        self.keep_longest_drain();
    }

    /// The longest that a session may take to leave.
    fn longest_drain_ms(&self) -> u64 {
        self.world
            .rules_here()
            .map(|rule| rule.drain_timeout_ms)
            .fold(self.gone_drain_ms, u64::max)
    }

    /// For the next `clew run`, which does not know what went meanwhile.
    fn keep_longest_drain(&mut self) {
        let longest = self.longest_drain_ms();
        if longest != self.kept_drain_ms && self.keep(LONGEST_DRAIN, &longest) {
            self.kept_drain_ms = longest;
        }
    }

    /// Each finding is said once, when it comes, and once more when it is mended.
    fn say(&mut self, findings: &[Finding]) {
        // A line that moved is no other finding.
        let now: BTreeMap<_, _> = findings.iter().map(|one| (one.clone().anywhere(), one)).collect();
        let new = now.iter().filter(|(one, _)| !self.said.contains(one));
        for (_, finding) in new {
            match finding.is_error() {
                true => tracing::error!("{finding}"),
                false => tracing::warn!("{finding}"),
            }
        }
        let gone = self.said.iter().filter(|one| !now.contains_key(one));
        for finding in gone.filter(|finding| finding.is_error()) {
            tracing::info!("mended: {finding}");
        }
        self.said = now.into_keys().collect();
    }

    /// Whether it is kept for the next `clew run`.
    fn keep(&self, name: &str, value: &impl serde::Serialize) -> bool {
        let saved = self.state.save(name, value);
        if let Err(error) = &saved {
            tracing::warn!(
                "CLEW0903: {name} cannot be kept: {error}; after a restart this may be decided anew"
            );
        }
        saved.is_ok()
    }
}

/// The hidden commands by which `clew` starts Envoy; `None`: it is none of them.
pub(crate) fn hidden(arguments: &[std::ffi::OsString]) -> Option<std::process::ExitCode> {
    let (command, rest) = arguments.split_first()?;
    let outcome = match command.to_str()? {
        detach::DETACH => detach::detach(rest),
        detach::BECOME => detach::become_program(rest),
        _ => return None,
    };
    Some(match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            crate::failure::UNREACHABLE.into()
        }
    })
}
