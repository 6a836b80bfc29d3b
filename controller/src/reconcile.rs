//! The story on one screen: what files or a cluster say becomes what is in force, and what became of it is said.

use std::collections::BTreeMap;

use clew_core::model::{BackendId, Gateway, World};
use clew_core::render::{envoy, rules};
use clew_core::validate::{Target, Validated};
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::Draining;
use tracing::{Instrument, Span};

use crate::channel::{Left, Snapshot};
use crate::clock;
use crate::cluster::{self, Cluster};
use crate::standalone::{Outcome, Plan, Standalone};
use crate::traces::{self, step};

impl Standalone {
    /// One turn: from the files to Envoy and the filters, and back to the status.
    pub(crate) async fn reconcile(&mut self) {
        let turn = traces::turn();
        self.turn(&turn).instrument(turn.clone()).await;
    }

    async fn turn(&mut self, turn: &Span) {
        let began = clock::now();
        let objects = step("resolve").in_scope(|| self.resolve()); // files
        let mut in_force = self.in_force().clone();
        let validated = step("validate").in_scope(|| in_force.validate(&objects, Target::Standalone)); // pure
        traces::is_about(turn, true, &validated.routes);
        let plan = step("render").in_scope(|| self.plan(&validated)); // pure, but for the moment at which a drain begins
        let planned = began.elapsed();
        let applied = self.apply(&plan).instrument(step("apply")).await; // channel, Envoy's files
        traces::ended(turn, applied.is_err());
        if applied.is_ok() {
            self.keep_in_force(in_force);
        }
        let took = began.elapsed();
        tracing::debug!("a turn of {took:?}, of which {planned:?} to know what is wanted");
        let outcome = Outcome {
            validated,
            plan,
            applied,
            took,
        };
        step("report").in_scope(|| self.report(outcome)); // status, standard error
    }

    fn plan(&mut self, validated: &Validated) -> Plan {
        let world = &validated.world;
        let drains = self.observe(world);
        let draining = self.draining();
        Plan {
            rendered: envoy::render(world, self.settings(), &drains),
            snapshots: snapshots(
                world,
                &drains,
                &self.signing_keys(&world.signing_keys),
                draining,
                &self.lingering(),
            ),
            shapes: Plan::shapes(world),
        }
    }
}

impl Cluster {
    /// One turn: from what the API server said to objects and filters, and back to the status. True: another may do better.
    pub(crate) async fn reconcile(&mut self) -> bool {
        let turn = traces::turn();
        let failed = self.turn(&turn).instrument(turn.clone()).await;
        traces::ended(&turn, failed);
        failed
    }

    async fn turn(&mut self, turn: &Span) -> bool {
        let began = clock::now();
        let Some((about, resolved)) = step("resolve").in_scope(|| self.resolve()) else {
            // what was seen to change, and what hangs together with it
            return false;
        };
        let mut in_force = self.in_force(&about, &resolved);
        let mut validated = step("validate").in_scope(|| in_force.validate(&resolved.objects, Target::Every)); // pure
        traces::is_about(turn, about.everything, &validated.routes);
        self.misses.try_again(&about, &validated.world);
        self.misses.say(&mut validated);
        let plan = step("render").in_scope(|| {
            let drains = self.observe(&about, &validated.world, &resolved);
            let mut plan = cluster::Plan::new(&validated.world, &resolved, &in_force, drains); // pure
            plan.tell_only_of(|backend| self.misses.are_told_of(backend));
            plan
        });
        self.keep_in_force(&about, &resolved, in_force);
        let applying = self.apply(&about, &resolved, &plan);
        let applied = applying.instrument(step("apply")).await; // channel, API server
        let outcome = cluster::Outcome {
            validated,
            plan,
            applied,
            took: began.elapsed(),
        };
        self.report(&about, outcome).instrument(step("report")).await // status, Events
    }
}

/// What each gateway's filters must know.
fn snapshots(
    world: &World,
    drains: &rules::Drains,
    signing_keys: &[SigningKey],
    draining: Option<Draining>,
    lingering: &BTreeMap<String, BTreeMap<String, Left>>,
) -> BTreeMap<String, Snapshot> {
    let of = |gateway: &Gateway| {
        let rules::Rules { rules, mut backends } = rules::render(world, gateway.rules(), drains);
        // Proxies that have sessions on pods that no rule leads to are told of these pods too.
        let on = lingering.get(&gateway.name.to_string());
        for id in on.into_iter().flat_map(BTreeMap::keys) {
            if let Some(read) = BackendId::read(id)
                && let Some(backend) = world.backends.get(&read)
            {
                let told = || rules::backend(&read, backend, drains);
                backends.entry(id.clone()).or_insert_with(told);
            }
        }
        (
            gateway.name.to_string(),
            Snapshot {
                rules,
                backends,
                signing_keys: signing_keys.to_vec(),
                draining,
            },
        )
    };
    world.gateways.iter().map(of).collect()
}
