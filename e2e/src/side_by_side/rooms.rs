//! Servers of rooms with a store or a queue between them, behind NGINX in turn, beside the same servers behind Clew, by the room.

mod carrier;
mod crowd;
mod heard;
mod restart;
mod servers;

pub use crowd::Delays;
pub use restart::{Cpu, Crash, Outcome};

use std::time::Duration;

use anyhow::Result;

/// What is between servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Redis: a stream and a channel for each room.
    Redis,
    /// NATS: subjects for each room, and a stream of `JetStream`.
    Nats,
}

impl Store {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Nats];

    /// As figures call it.
    pub fn id(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
            Self::Nats => "NATS",
        }
    }

    /// What of it is used for each message where all goes through it.
    pub fn what(self) -> &'static str {
        match self {
            Self::Redis => "sessions shared through Redis: a stream and a channel for each room",
            Self::Nats => "a queue between servers, NATS: a subject for each room, kept by JetStream",
        }
    }
}

/// Who carries sessions to the servers, and what these share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// NGINX in turn: everything that is said goes through the store, so that any server will do. A server that is told to end closes its sessions itself.
    InTurn,
    /// Clew by the room: a room is in the memory of its server, and the store carries it only while its people are on two of them.
    ByRoom,
    /// The same with nothing between the servers: what a drain does to rooms by itself.
    Alone,
    /// No proxy and nothing between: clients know the server of their room. What servers cost by themselves.
    Direct,
}

impl Side {
    fn share(self) -> &'static str {
        match self {
            Self::InTurn => "all",
            Self::ByRoom => "split",
            Self::Alone | Self::Direct => "none",
        }
    }

    /// Whether its servers are restarted, too.
    fn restarts(self) -> bool {
        self != Self::Direct
    }

    /// Whether one of its servers is killed, too.
    fn crashes(self) -> bool {
        matches!(self, Self::InTurn | Self::ByRoom)
    }
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rooms of [`Size::each`] people.
    pub rooms: usize,
    /// People in each of them.
    pub each: usize,
    /// People with a room of their own.
    pub alone: usize,
    /// From one message of a person to the next.
    pub every: Duration,
    /// How long a drain takes.
    pub drain: Duration,
    /// For how many messages of each person it is talked before anything is measured, so that servers have compiled what they run.
    pub warm: u32,
    /// For how many CPU and delays are measured.
    pub steady: u32,
}

impl Size {
    /// Everybody.
    pub fn people(&self) -> usize {
        self.rooms * self.each + self.alone
    }

    /// The room of a person, and those who are in it.
    fn room(&self, person: usize) -> (usize, std::ops::Range<usize>) {
        let room = person / self.each;
        if room < self.rooms {
            (room, room * self.each..(room + 1) * self.each)
        } else {
            (self.rooms + person - self.rooms * self.each, person..person + 1)
        }
    }

    /// How often a message is heard, in the mean.
    pub fn hearers(&self) -> f64 {
        (self.rooms * self.each * self.each + self.alone) as f64 / self.people() as f64
    }
}

/// One side, once through all of it.
///
/// # Errors
/// When something of it does not come about.
pub async fn measure(store: Store, side: Side, size: &Size) -> Result<Outcome> {
    restart::measure(store, side, size).await
}
