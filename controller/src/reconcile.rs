//! The story on one screen: what the files say becomes what is in force, and what became of it is said.

use std::collections::BTreeMap;

use clew_core::model::{Gateway, World};
use clew_core::render::{envoy, rules};
use clew_core::validate::{Target, Validated};
use clew_filter_config::persistence::SigningKey;
use clew_filter_config::rule::Draining;

use crate::channel::Snapshot;
use crate::clock;
use crate::standalone::{Outcome, Plan, Standalone};

impl Standalone {
    /// One turn: from the files to Envoy and the filters, and back to the status.
    pub(crate) async fn reconcile(&mut self) {
        let began = clock::now();
        let objects = self.resolve(); // files
        let mut in_force = self.in_force().clone();
        let validated = in_force.validate(&objects, Target::Standalone); // pure
        let plan = self.plan(&validated); // pure, but for the moment at which a drain begins
        let planned = began.elapsed();
        let applied = self.apply(&plan).await; // channel, Envoy's files
        if applied.is_ok() {
            self.keep_in_force(in_force);
        }
        let took = began.elapsed();
        tracing::debug!("a turn of {took:?}, of which {planned:?} to know what is wanted");
        self.report(Outcome {
            validated,
            plan,
            applied,
            took,
        }); // status, standard error
    }

    fn plan(&mut self, validated: &Validated) -> Plan {
        let world = &validated.world;
        let drains = self.observe(world);
        let draining = self.draining();
        Plan {
            rendered: envoy::render(world, self.settings(), &drains),
            snapshots: snapshots(world, &drains, &self.signing_keys(&world.signing_keys), draining),
            shapes: Plan::shapes(world),
        }
    }
}

/// What each gateway's filters must know.
fn snapshots(
    world: &World,
    drains: &rules::Drains,
    signing_keys: &[SigningKey],
    draining: Option<Draining>,
) -> BTreeMap<String, Snapshot> {
    let of = |gateway: &Gateway| {
        let rules::Rules { rules, backends } = rules::render(world, gateway.rules(), drains);
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
