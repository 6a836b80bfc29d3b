//! `clew controller`: the same five steps over a cluster. What the API server has said is on the shelves of [`store`];
//! only [`apply`] and [`report`] write what routes become, `secrets` and `lease` what is the controller's own.

mod apply;
mod backoff;
mod difference;
mod downloads;
pub(crate) mod drains;
mod gateway_pods;
pub(crate) mod install;
mod kind;
mod lease;
mod misses;
mod once;
pub(crate) mod operators;
mod plan;
mod report;
mod requests;
mod resolve;
mod run;
mod secrets;
mod seen;
mod server;
mod settings;
mod silence;
mod steps;
mod store;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use clew_core::in_force::InForce;
use clew_core::model::{Proxies, World};
use clew_core::objects::RootNamespace;
use clew_core::render::rules;
use clew_core::validate::Validated;
use kube::Client;

use apply::{Applied, Applier};
use downloads::Downloads;
use drains::Drains;
pub(crate) use kind::Kind;
use lease::Leadership;
pub(crate) use misses::Misses;
pub(crate) use once::Once;
pub(crate) use plan::Plan;
use report::Reporter;
pub(crate) use resolve::Resolved;
pub(crate) use run::run;
pub(crate) use seen::Plugin;
pub(crate) use settings::{LEASE, Scope, Settings};
pub(crate) use silence::Expected;
use silence::{Silence, Silent};
use store::Store;

use crate::channel::{Acknowledgement, Channel};
use crate::clock;
use crate::failure::Failure;
use crate::finding::Finding;
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
    in_force: Option<InForce>,
    /// Who is connected is not known yet, and has not been said as it then was.
    gathering: bool,
    drains: Drains,
    said: BTreeSet<Finding>,
    last: Option<Outcome>,
    downloads: Arc<Downloads>,
    silence: Silence,
    pub(crate) misses: Misses,
    /// Who held what when it was last said.
    heard: BTreeMap<String, Acknowledgement>,
}

/// What became of a turn.
pub(crate) struct Outcome {
    pub(crate) validated: Validated,
    pub(crate) plan: Plan,
    pub(crate) applied: Applied,
    /// The gateways' pods that have the filter.
    pub(crate) installed: BTreeMap<Proxies, Expected>,
    /// Of these, who does not ask for its rules.
    pub(crate) silent: Silent,
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
            in_force: None,
            gathering: true,
            drains: Drains::default(),
            said: BTreeSet::new(),
            last: None,
            downloads,
            silence: Silence::default(),
            misses: Misses::default(),
            heard: BTreeMap::new(),
        }
    }

    /// Who has asked for the module.
    fn downloads(&self) -> Arc<Downloads> {
        self.downloads.clone()
    }

    /// What was seen, as of this moment. `None`: not even the routes' own kind is there.
    pub(crate) fn resolve(&mut self) -> Option<Resolved> {
        let resolved = Resolved::read(&self.store).map(|resolved| resolved.under(&self.root_namespace));
        if resolved.is_none() {
            self.note(&[Finding::error(
                "",
                0,
                "CLEW0923",
                "the API server knows no WebSocketRoute; install the kind with clew crd | kubectl apply --server-side -f -. Until then all stays as it is",
            )]);
        }
        resolved
    }

    /// The routes as they last were good.
    pub(crate) fn in_force(&self, resolved: &Resolved) -> InForce {
        let known = self.in_force.as_ref();
        known.map_or_else(|| resolved.in_force_before(), InForce::clone)
    }

    /// They are in force now.
    pub(crate) fn keep_in_force(&mut self, in_force: InForce) {
        self.in_force = Some(in_force);
    }

    /// The pods that are leaving.
    pub(crate) fn observe(&mut self, world: &World, resolved: &Resolved) -> &rules::Drains {
        self.drains.observe(world, &resolved.pods, clock::unix_ms())
    }

    pub(crate) async fn apply(&mut self, resolved: &Resolved, plan: &Plan) -> Applied {
        self.applier.apply(resolved, plan).await
    }

    /// Says what became of it. True: something failed that another turn may find mended.
    pub(crate) async fn report(&mut self, mut outcome: Outcome) -> bool {
        outcome.silent = self.silent(&outcome);
        let is_refused = |route: &&clew_core::validate::RouteReport| !route.refusals.is_empty();
        let all = &outcome.validated.routes;
        let refused = all.iter().filter(is_refused).count();
        self.metrics.routes(all.len() - refused, refused);
        self.metrics.leads(self.leadership.is_ours());
        let unsaid = self.reporter.report(&outcome).await;
        let failed = unsaid || !outcome.applied.failed.is_empty();
        self.metrics.reconciled(!failed, outcome.took);
        let mut findings = Finding::of_validated(&outcome.validated);
        findings.extend_from_slice(self.drains.unread());
        self.note(&findings);
        self.last = Some(outcome);
        failed
    }

    /// Says again what became of the last turn, where proxies have acknowledged something since, or have fallen silent.
    /// True: what they say asks for another turn.
    async fn listen(&mut self) -> bool {
        let standings = self.standings();
        let Some(mut outcome) = self.last.take() else {
            return false;
        };
        let silent = self.silent(&outcome);
        let has_gathered = self.gathering && !self.reporter.is_gathering();
        self.gathering &= !has_gathered;
        if standings != self.heard || silent != outcome.silent || has_gathered {
            self.heard = standings;
            outcome.silent = silent;
            self.reporter.report(&outcome).await;
        }
        let missed = self.channel.missed();
        let persists = self.misses.look(&missed, &outcome.validated.world, clock::now());
        self.last = Some(outcome);
        persists
    }

    fn silent(&mut self, outcome: &Outcome) -> Silent {
        let channel = &self.channel;
        let expected = outcome
            .installed
            .iter()
            .map(|(proxies, expected)| (proxies, expected, channel.about(&proxies.to_string())));
        self.silence.look(expected, clock::now())
    }

    /// When another turn has something to do, even if nothing changes.
    fn again(&self) -> Option<Duration> {
        self.last.as_ref()?.applied.again
    }

    /// Who holds what.
    fn standings(&self) -> BTreeMap<String, Acknowledgement> {
        let gateways = self.last.iter().flat_map(|outcome| outcome.plan.snapshots.keys());
        gateways
            .map(|gateway| (gateway.clone(), self.channel.standing(gateway)))
            .collect()
    }

    /// Each finding is said once, when it comes.
    fn note(&mut self, findings: &[Finding]) {
        let now: BTreeSet<_> = findings.iter().cloned().collect();
        for finding in now.difference(&self.said) {
            tracing::warn!("{finding}");
        }
        self.said = now;
    }
}

/// Tells this life of the controller from every other.
fn epoch() -> Result<String, Failure> {
    random_hex()
}
