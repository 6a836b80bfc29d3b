//! What people come from beside Clew: what becomes of sessions, and what they cost.

mod costs;
mod picture;
pub(crate) mod rooms;

use std::time::Duration;

use anyhow::Result;
use clew_e2e::figures::{self, Bound, Figure, Figures};
use clew_e2e::side_by_side::{Movement, Outcome, Way, ways};
use serde_json::{Value, json};

/// How many keys are followed on each way.
const KEYS: usize = 600;

/// How long a drain takes.
const DRAIN: Duration = Duration::from_secs(12);

/// A property of sessions that each way is looked at for.
struct Property {
    id: &'static str,
    what: &'static str,
    unit: &'static str,
    of: fn(&Outcome) -> f64,
    bound: Bound,
}

const PROPERTIES: [Property; 6] = [
    Property {
        id: "sticky",
        what: "keys that kept to one server",
        unit: "%",
        of: |outcome| 100.0 * outcome.sticky,
        bound: Bound::Exactly(100.0),
    },
    Property {
        id: "moved",
        what: "keys moved by a server that joins and one that leaves ÷ minimum",
        unit: "1",
        of: |outcome| moved(&[outcome.joins, outcome.leaves]),
        bound: Bound::Exactly(1.0),
    },
    Property {
        id: "reload",
        what: "live sessions lost by a reload",
        unit: "1",
        of: |outcome| outcome.lost_by_reload as f64,
        bound: Bound::Exactly(0.0),
    },
    Property {
        id: "orderly",
        what: "drained sessions that got a Close",
        unit: "%",
        of: |outcome| 100.0 * outcome.orderly as f64 / outcome.on_drained as f64,
        bound: Bound::Exactly(100.0),
    },
    Property {
        id: "unanswered",
        what: "messages of drained sessions without an answer",
        unit: "1",
        of: |outcome| outcome.unanswered as f64,
        bound: Bound::None,
    },
    Property {
        id: "peak",
        what: "drained sessions that end in the busiest tenth ÷ evenly",
        unit: "1",
        of: |outcome| outcome.peak,
        bound: Bound::None,
    },
];

pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let mut outcomes = Vec::new();
    for way in ways::ALL {
        let [before, after] = way.compare(KEYS, DRAIN).await?;
        for property in &PROPERTIES {
            figures.add(property.figure(&way, &before, &after));
        }
        outcomes.push((way, before, after));
    }
    let costs = costs::measure(figures).await?;
    picture::draw(&figures::results().join("side-by-side.svg"), &outcomes, &costs)
}

impl Property {
    /// Clew's, beside the original's.
    fn figure(&self, way: &Way, before: &Outcome, after: &Outcome) -> Figure {
        let mut control: Value = json!({"way": way.what});
        control[way.kind.name()] = json!((self.of)(before));
        Figure {
            id: format!("{}.{}", self.id, way.id),
            what: format!("{}, from {}", self.what, way.kind.name()),
            value: (self.of)(after),
            unit: self.unit,
            bound: self.bound,
            noise: 0.0,
            n: KEYS as u64,
            control,
        }
    }
}

/// Keys that moved ÷ those that had to, of several events; 1 where none had to and none did.
fn moved(events: &[Movement]) -> f64 {
    let sum = |of: fn(&Movement) -> usize| events.iter().map(of).sum::<usize>() as f64;
    let (moved, minimum) = (sum(|one| one.moved), sum(|one| one.minimum));
    match minimum == 0.0 {
        true => 1.0 + moved,
        false => moved / minimum,
    }
}
