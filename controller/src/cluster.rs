//! `clew controller`: the same five steps over a cluster. What the API server has said is on the shelves of [`store`];
//! only [`apply`] and [`report`] write what routes become, `secrets` and `lease` what is the controller's own.

mod about;
mod apply;
mod backoff;
mod beside;
mod difference;
mod downloads;
pub(crate) mod drains;
mod endings;
mod gateway_pods;
mod gateways;
pub(crate) mod install;
mod kind;
mod last_good;
mod lease;
mod lingering;
mod misses;
mod neighbours;
mod once;
pub(crate) mod operators;
mod page;
mod plan;
mod report;
mod requests;
mod resolve;
pub(crate) mod rights;
mod run;
mod secrets;
mod seen;
mod server;
mod settings;
mod silence;
mod steps;
mod store;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clew_core::in_force::InForce;
use clew_core::model::{BackendId, World};
use clew_core::objects::RootNamespace;
use clew_core::render::rules;
use clew_core::validate::Validated;
use kube::Client;

pub(crate) use about::About;
use about::{Memory, Turned};
use apply::{Applied, Applier};
use downloads::Downloads;
use drains::Drains;
use gateways::Gateways;
pub(crate) use kind::Kind;
use last_good::LastGood;
use lease::Leadership;
use lingering::Lingering;
pub(crate) use misses::Misses;
pub(crate) use once::Once;
pub(crate) use plan::Plan;
use report::Reporter;
pub(crate) use resolve::Resolved;
pub(crate) use run::run;
pub(crate) use seen::Plugin;
pub(crate) use settings::{LEASE, Scope, Settings};
use store::Store;

use crate::channel::{Channel, Held, News};
use crate::clock;
use crate::failure::Failure;
use crate::finding::Finding;
use crate::memory;
use crate::metrics::Metrics;
use crate::standalone::state::random_hex;

/// Everything that a turn works on.
pub(crate) struct Cluster {
    store: Arc<Store>,
    /// Istio's.
    root_namespace: RootNamespace,
    channel: Arc<Channel>,
    leadership: Arc<Leadership>,
    metrics: Arc<Metrics>,
    applier: Applier,
    reporter: Reporter,
    /// The routes as they last were good; None: before the first turn.
    last_good: Option<LastGood>,
    /// Who is connected is not known yet, and has not been said as it then was.
    gathering: bool,
    drains: Drains,
    /// What was said of each object.
    said: BTreeMap<String, BTreeSet<Finding>>,
    memory: Memory,
    gateways: Gateways,
    lingering: Lingering,
    downloads: Arc<Downloads>,
    pub(crate) misses: Misses,
    /// Who held what when the last turn began, or when it was last heard.
    heard: Held,
    /// The last turn was about everything.
    has_looked_at_everything: bool,
}

/// What became of a turn.
pub(crate) struct Outcome {
    pub(crate) validated: Validated,
    pub(crate) plan: Plan,
    pub(crate) applied: Applied,
    pub(crate) took: Duration,
}

impl Cluster {
    fn new(
        client: Client,
        settings: &Settings,
        store: Arc<Store>,
        channel: Arc<Channel>,
        leadership: Arc<Leadership>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let downloads = Arc::<Downloads>::default();
        Self {
            applier: Applier::new(
                client.clone(),
                store.clone(),
                channel.clone(),
                leadership.clone(),
                metrics.clone(),
            ),
            reporter: Reporter::new(
                client,
                store.clone(),
                channel.clone(),
                leadership.clone(),
                metrics.clone(),
                downloads.clone(),
                &settings.identity,
            ),
            store,
            root_namespace: settings.scope.root_namespace.clone(),
            channel,
            leadership,
            metrics,
            last_good: None,
            gathering: true,
            drains: Drains::default(),
            said: BTreeMap::new(),
            memory: Memory::default(),
            gateways: Gateways::default(),
            lingering: Lingering::default(),
            downloads,
            misses: Misses::default(),
            heard: Held::default(),
            has_looked_at_everything: false,
        }
    }

    /// Who has asked for the module.
    fn downloads(&self) -> Arc<Downloads> {
        self.downloads.clone()
    }

    /// What the turn is about, and what was seen of it, all as of this moment. `None`: not even the routes' own kind is
    /// there.
    pub(crate) fn resolve(&mut self) -> Option<(About, Resolved)> {
        self.hear();
        let store = self.store.clone();
        let shelves = store.lock();
        let mut about = self
            .memory
            .about(store.changes(), &shelves, self.last_good.as_ref(), clock::now());
        let mut resolved = Resolved::read(&shelves, &about);
        drop(shelves);
        // Until then who is connected is not known.
        if about.everything && !self.gathering {
            // With those that have become empty since.
            about.told.add(self.lingering.told());
            self.lingering.look(&self.channel);
            self.memory.linger(self.lingering.topics());
            if let Some(resolved) = &mut resolved {
                resolved.objects.lingering = self.lingering.all();
                resolved.lingering = self.lingering.of_gateways();
            }
        }
        let Some(resolved) = resolved.map(|resolved| resolved.under(&self.root_namespace)) else {
            let missing = Finding::error(
                "",
                0,
                "CLEW0923",
                "the API server knows no WebSocketRoute; install the kind with clew crd | kubectl apply --server-side -f -. Until then all stays as it is",
            );
            self.note(&About::all(), &World::default(), vec![missing]);
            return None;
        };
        self.has_looked_at_everything = about.everything;
        if about.everything {
            self.gateways.see(&resolved);
            let installed = self.gateways.installed.keys();
            self.channel.expect(installed.map(ToString::to_string).collect());
        }
        Some((about, resolved))
    }

    /// The routes as they last were good.
    pub(crate) fn in_force(&self, about: &About, resolved: &Resolved) -> InForce {
        match &self.last_good {
            None => resolved.in_force_before(),
            Some(known) => known.of(about, resolved),
        }
    }

    /// They are in force now.
    pub(crate) fn keep_in_force(&mut self, about: &About, resolved: &Resolved, in_force: InForce) {
        let known = self.last_good.get_or_insert_default();
        known.keep(about, resolved, in_force);
    }

    /// The pods that are leaving.
    pub(crate) fn observe(&mut self, about: &About, world: &World, resolved: &Resolved) -> &rules::Drains {
        let is_told = |backend: &BackendId| about.concerns(&backend.service);
        self.drains
            .observe_of(world, is_told, &resolved.pods, clock::unix_ms())
    }

    pub(crate) async fn apply(&mut self, about: &About, resolved: &Resolved, plan: &Plan) -> Applied {
        if about.everything {
            self.lingering.retain(&plan.left);
            self.memory.linger(self.lingering.topics());
        }
        self.applier.apply(about, resolved, plan).await
    }

    /// Says what became of it. True: something failed that another turn may find mended.
    pub(crate) async fn report(&mut self, about: &About, mut outcome: Outcome) -> bool {
        if about.everything {
            // What is news of a gateway is news to every route there.
            self.gateways.listen(&self.channel, clock::now());
        }
        // As it is before it is said, so that whatever is acknowledged from now on is said too.
        let unacknowledged = outcome.plan.told.iter().filter(|(_, told)| {
            let mut at = told.scopes();
            at.any(|(gateway, scope)| {
                let rules = scope.rules.iter().map(String::as_str);
                self.channel.holding(gateway, rules).behind > 0
            })
        });
        let unacknowledged = unacknowledged.map(|(route, _)| route.clone()).collect();
        let said = self.reporter.report(&outcome, &self.gateways).await;
        let failed = said.failed || !outcome.applied.failed.is_empty();
        let mut findings = Finding::of_validated(&outcome.validated);
        findings.extend(self.drains.unread().cloned());
        self.note(about, &outcome.validated.world, findings);
        let open = about.everything.then(|| {
            let live = self.channel.live().into_iter();
            live.map(|live| live.rule).collect()
        });
        self.lingering.remember(open.as_ref(), &outcome.validated.world);
        let refused = outcome.validated.routes.iter();
        let refused = refused.map(|report| (report.owner(), !report.refusals.is_empty()));
        let turned = Turned {
            last_good: self.last_good.get_or_insert_default(),
            failed,
            refused: refused.collect(),
            unacknowledged,
            unprogrammed: said.unprogrammed,
            now: clock::now(),
            applied: &outcome.applied,
        };
        self.memory.keep(&self.store, about, &mut outcome.plan, &turned);
        let Memory {
            accepted,
            refused,
            unprogrammed,
            ..
        } = self.memory;
        self.metrics.routes(accepted, refused, unprogrammed);
        self.metrics.leads(outcome.applied.has_led);
        self.metrics.reconciled(!failed, outcome.took);
        failed
    }

    /// Hears proxies. True: by what they hold, or by who there is of them, another turn has something to do.
    fn listen(&mut self) -> bool {
        let is_news = self.hear();
        let now = clock::now();
        let has_gathered = self.gathering && !self.reporter.is_gathering(now);
        self.gathering &= !has_gathered;
        let pods = |backend: &str| self.channel.pods(backend);
        let persist = self.misses.look(&self.channel.missed(), pods, now);
        let lingers = !self.gathering && self.lingering.look(&self.channel);
        // Every route says whether some are silent, and whether they take its sessions elsewhere.
        if self.gateways.listen(&self.channel, now) || persist || has_gathered || lingers {
            self.memory.look_at_everything();
            return true;
        }
        is_news
    }

    /// Who holds what since it was last heard: every route says how many there are, and how many of them hold it. True: that
    /// has changed for some.
    fn hear(&mut self) -> bool {
        let held = self.channel.held();
        let news = held.since(&self.heard);
        self.heard = held;
        match news {
            Some(News::Others) => {
                self.memory.look_at_everything();
                true
            }
            Some(News::Newer) => self.memory.look_at_unacknowledged(),
            None => false,
        }
    }

    /// What a turn about everything has left: what is kept of it moves together, and the rest goes back.
    fn give_back(&mut self) {
        self.store.tighten();
        self.memory.tighten();
        if let Some(last_good) = &mut self.last_good {
            last_good.tighten();
        }
        self.channel.tighten();
        memory::give_back();
    }

    /// When another turn has something to do, even if nothing changes.
    fn again(&self) -> Option<Instant> {
        self.memory.due()
    }

    /// Each finding is said once, when it comes. What a part finds of others than its own adds to what all find of them.
    fn note(&mut self, about: &About, world: &World, findings: Vec<Finding>) {
        let mut now: BTreeMap<String, BTreeSet<Finding>> = BTreeMap::new();
        for finding in findings {
            now.entry(finding.object.clone()).or_default().insert(finding);
        }
        let before = match about.everything {
            true => std::mem::take(&mut self.said),
            false => {
                let routes = about.routes.iter().map(ToString::to_string);
                let others = about.objects.iter();
                let others = others.map(|(kind, name)| format!("{kind:?} {name}"));
                let pods = world.backends.iter().flat_map(|(id, backend)| {
                    let namespace = &id.service.namespace;
                    backend
                        .pods
                        .iter()
                        .map(move |pod| format!("Pod {namespace}/{}", pod.name))
                });
                let of = |object: String| self.said.remove_entry(&object);
                routes.chain(others).chain(pods).filter_map(of).collect()
            }
        };
        for (object, findings) in now {
            let others = self.said.remove(&object).unwrap_or_default();
            let known = before.get(&object).unwrap_or(&others);
            for finding in findings.difference(known) {
                tracing::warn!("{finding}");
            }
            self.said.insert(object, &findings | &others);
        }
    }
}

/// Tells this life of the controller from every other.
fn epoch() -> Result<String, Failure> {
    random_hex()
}

#[cfg(test)]
mod tests;
