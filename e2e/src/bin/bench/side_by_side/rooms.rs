//! What people have between their servers, beside servers that each have their rooms for themselves.

use std::time::Duration;

use anyhow::Result;
use clew_e2e::figures::{self, Bound, Figure, Figures};
use clew_e2e::side_by_side::rooms::{Crash, Outcome, Side, Size, Store, measure as once};
use clew_e2e::statistics::median;
use serde_json::{Value, json};

use super::picture;

const ROUNDS: usize = 3;
const SIZE: Size = Size {
    rooms: 48,
    each: 6,
    alone: 12,
    every: Duration::from_secs(1),
    drain: Duration::from_secs(10),
    warm: 8,
    steady: 12,
};

/// What is looked at, of all rounds of a side.
pub(super) struct Property {
    pub(super) id: &'static str,
    what: &'static str,
    unit: &'static str,
    pub(super) of: fn(&[Outcome]) -> f64,
    bound: Bound,
    noise: Noise,
}

/// How far two equal rounds may lie apart.
enum Noise {
    /// What is counted is what it is.
    None,
    /// As far as those of Clew did.
    Rounds,
    /// The highest of a few windows lies above the mean by chance alone.
    Chance,
}

/// Both sides of a comparison.
pub(super) struct Compared {
    pub(super) store: Store,
    pub(super) in_turn: Vec<Outcome>,
    pub(super) by_room: Vec<Outcome>,
}

fn sum(rounds: &[Outcome], of: impl Fn(&Outcome) -> u64) -> f64 {
    rounds.iter().map(of).sum::<u64>() as f64
}

fn middle(rounds: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
    median(&rounds.iter().map(of).collect::<Vec<_>>())
}

fn crashes(rounds: &[Outcome]) -> impl Iterator<Item = &Crash> {
    rounds.iter().filter_map(|round| round.crash.as_ref())
}

pub(super) const PROPERTIES: [Property; 13] = [
    Property {
        id: "lost",
        what: "messages lost while all servers are restarted",
        unit: "1",
        of: |rounds| sum(rounds, |one| one.lost),
        bound: Bound::Exactly(0.0),
        noise: Noise::None,
    },
    Property {
        id: "doubled",
        what: "messages heard twice meanwhile",
        unit: "1",
        of: |rounds| sum(rounds, |one| one.doubled),
        bound: Bound::Exactly(0.0),
        noise: Noise::None,
    },
    Property {
        id: "late",
        what: "messages out of order meanwhile",
        unit: "1",
        of: |rounds| sum(rounds, |one| one.late),
        bound: Bound::None,
        noise: Noise::None,
    },
    Property {
        id: "closes",
        what: "sessions that ended meanwhile, with a Close of 1012",
        unit: "%",
        of: |rounds| 100.0 * sum(rounds, |one| one.orderly as u64) / sum(rounds, |one| one.ended as u64),
        bound: Bound::Exactly(100.0),
        noise: Noise::None,
    },
    Property {
        id: "moves",
        what: "times that a person had to come back",
        unit: "1",
        of: |rounds| middle(rounds, |one| one.ended as f64 / SIZE.people() as f64),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
    Property {
        id: "reconnects",
        what: "who come back in the busiest tenth ÷ N/T",
        unit: "1",
        of: |rounds| {
            median(
                &rounds
                    .iter()
                    .flat_map(|one| one.peaks.clone())
                    .collect::<Vec<_>>(),
            )
        },
        bound: Bound::AtMost(1.2),
        noise: Noise::Chance,
    },
    Property {
        id: "took",
        what: "time of the restart of all servers",
        unit: "s",
        of: |rounds| middle(rounds, |one| one.took.as_secs_f64()),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
    Property {
        id: "cpu",
        what: "CPU of proxy, servers and store per message that is heard",
        unit: "µs",
        of: |rounds| middle(rounds, |one| one.cpu.total()),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
    Property {
        id: "median",
        what: "until half of all messages are heard",
        unit: "ms",
        of: |rounds| middle(rounds, |one| one.delays.median),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
    Property {
        id: "p99",
        what: "until 99 % of all messages are heard",
        unit: "ms",
        of: |rounds| middle(rounds, |one| one.delays.p99),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
    Property {
        id: "crash-lost",
        what: "messages lost when a server is killed",
        unit: "1",
        of: |rounds| crashes(rounds).map(|one| one.lost).sum::<u64>() as f64,
        bound: Bound::None,
        noise: Noise::None,
    },
    Property {
        id: "crash-doubled",
        what: "messages heard twice when a server is killed",
        unit: "1",
        of: |rounds| crashes(rounds).map(|one| one.doubled).sum::<u64>() as f64,
        bound: Bound::None,
        noise: Noise::None,
    },
    Property {
        id: "remembered",
        what: "of all messages, those that a newcomer gets when a server was killed",
        unit: "%",
        of: |rounds| 100.0 * median(&crashes(rounds).map(|one| one.remembered).collect::<Vec<_>>()),
        bound: Bound::None,
        noise: Noise::Rounds,
    },
];

/// Both sides alternate, so that whatever the machine does meanwhile hits both; the other two say what the figures mean.
pub(crate) async fn measure(figures: &mut Figures) -> Result<()> {
    let mut compared = Vec::new();
    for store in Store::ALL {
        let (mut in_turn, mut by_room, mut direct) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut order = [Side::InTurn, Side::Direct, Side::ByRoom];
            if round % 2 == 1 {
                order.reverse();
            }
            for side in order {
                let outcome = once(store, side, &SIZE).await?;
                eprintln!("{} {side:?}: {outcome:?}", store.id());
                match side {
                    Side::InTurn => in_turn.push(outcome),
                    Side::ByRoom => by_room.push(outcome),
                    Side::Alone | Side::Direct => direct.push(outcome),
                }
            }
        }
        // The control: the same drains, and nothing that carries a room from server to server.
        let alone = [once(store, Side::Alone, &SIZE).await?];
        for property in &PROPERTIES {
            figures.add(property.figure(store, [&in_turn, &by_room, &direct, &alone]));
        }
        compared.push(Compared {
            store,
            in_turn,
            by_room,
        });
    }
    picture::draw_rooms(&figures::results().join("rooms.svg"), &compared)
}

impl Property {
    fn figure(&self, store: Store, [in_turn, by_room, direct, alone]: [&[Outcome]; 4]) -> Figure {
        let value = (self.of)(by_room);
        let mut control: Value = json!({"way": store.what(), "NGINX": (self.of)(in_turn)});
        match self.id {
            "lost" => control["Clew and nothing between"] = json!((self.of)(alone)),
            "median" | "p99" => control["no proxy, nothing between"] = json!((self.of)(direct)),
            "cpu" => {
                control["no proxy, nothing between"] = json!((self.of)(direct));
                for (name, side) in [("of it with NGINX", in_turn), ("of it with Clew", by_room)] {
                    control[name] = json!({
                        "proxy": middle(side, |one| one.cpu.proxy),
                        "servers": middle(side, |one| one.cpu.servers),
                        "store": middle(side, |one| one.cpu.store),
                    });
                }
            }
            _ => {}
        }
        let noise = match self.noise {
            Noise::None => 0.0,
            Noise::Rounds => {
                let each = by_room.iter().map(|round| (self.of)(std::slice::from_ref(round)));
                let (least, most) = each.fold((f64::MAX, f64::MIN), |(least, most), one| {
                    (least.min(one), most.max(one))
                });
                most - least
            }
            Noise::Chance => 2.0 / (middle(by_room, |one| one.on_server) / 10.0).sqrt(),
        };
        Figure {
            id: format!("{}.{}", self.id, store.id()),
            what: format!("{}, from {}", self.what, store.name()),
            value,
            unit: self.unit,
            bound: self.bound,
            noise,
            n: sum(by_room, |one| one.heard) as u64,
            control,
        }
    }
}
