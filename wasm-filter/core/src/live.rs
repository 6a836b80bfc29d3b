//! Who is connected: sessions by rule, backend and pod. Each worker counts its own and publishes them in entries that
//! only it writes; whoever wants the proxy's sum adds up those of the members that are alive.

use std::rc::Rc;

use clew_filter_config::channel;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::table::{Names, Table};

/// A member that did not say for so long that it lives counts no more.
pub const MEMBER_MS: u64 = 5_000;
/// At most so many members; a process has one for each worker and generation of the module.
const MOST_MEMBERS: usize = 1_024;

/// Where a session is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `namespace/route/rule`.
    pub rule: Rc<str>,
    /// `namespace/name:port`.
    pub backend: Rc<str>,
    /// The pod's name.
    pub pod: Rc<str>,
}

/// Sessions of one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: u64,
    missed: u64,
}

/// One worker's sessions.
#[derive(Debug, Default)]
pub struct Counts {
    places: Table<Place, Count>,
    loads: Table<Rc<str>, Load>,
    changed: bool,
    changed_backends: Names<Rc<str>>,
}

impl Counts {
    /// A session takes a place.
    pub fn enter(&mut self, place: &Place) {
        self.change(&place.backend);
        let load = self.loads.entry(Rc::clone(&place.backend)).or_default();
        load.add(pod_id(&place.pod), 1);
        let count = self.places.entry(place.clone()).or_default();
        count.all = count.all.saturating_add(1);
    }

    /// A session in its place was sent elsewhere.
    pub fn missed(&mut self, place: &Place) {
        if let Some(count) = self.places.get_mut(place) {
            count.missed = count.missed.saturating_add(1);
            self.changed = true;
        }
    }

    /// A session leaves its place.
    pub fn leave(&mut self, place: &Place, missed: bool) {
        self.change(&place.backend);
        if let Some(load) = self.loads.get_mut(&place.backend) {
            load.remove(pod_id(&place.pod));
            if load.0.is_empty() {
                self.loads.remove(&place.backend);
            }
        }
        if let Some(count) = self.places.get_mut(place) {
            count.all = count.all.saturating_sub(1);
            count.missed = count.missed.saturating_sub(missed.into());
            if count.all == 0 {
                self.places.remove(place);
            }
        }
    }

    /// This worker's sessions by pod of a backend.
    #[must_use]
    pub fn load(&self, backend: &str) -> Option<&Load> {
        self.loads.get(backend)
    }

    /// Whether something has changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// The backends whose load has changed since the last call.
    pub fn take_changed_backends(&mut self) -> Names<Rc<str>> {
        core::mem::take(&mut self.changed_backends)
    }

    fn change(&mut self, backend: &Rc<str>) {
        self.changed = true;
        if !self.changed_backends.contains(backend) {
            self.changed_backends.insert(Rc::clone(backend));
        }
    }

    /// All counts.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |(place, count): (&Place, &Count)| Row {
            rule: place.rule.to_string(),
            backend: place.backend.to_string(),
            pod: place.pod.to_string(),
            sessions: count.all,
            missed: count.missed,
        };
        self.places.iter().map(row).collect()
    }
}

/// What a member publishes of one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// `namespace/route/rule`.
    pub rule: String,
    /// `namespace/name:port`.
    pub backend: String,
    /// The pod's name.
    pub pod: String,
    /// How many sessions are open.
    pub sessions: u64,
    /// How many of them were sent elsewhere.
    #[serde(default)]
    pub missed: u64,
}

/// What is said of all places: who is where, and by backend how many were sent elsewhere.
#[must_use]
pub fn said(rows: Vec<Row>) -> (Vec<channel::Live>, Vec<channel::Missed>) {
    let mut missed: Vec<channel::Missed> = Vec::new();
    for row in rows.iter().filter(|row| row.missed > 0) {
        match missed.iter_mut().find(|one| one.backend == row.backend) {
            Some(one) => one.sessions = one.sessions.saturating_add(row.missed),
            None => missed.push(channel::Missed {
                backend: row.backend.clone(),
                sessions: row.missed,
            }),
        }
    }
    let live = |row: Row| channel::Live {
        rule: row.rule,
        backend: row.backend,
        pod: row.pod,
        sessions: row.sessions,
    };
    (rows.into_iter().map(live).collect(), missed)
}

/// Adds up the rows of several members; the sum is in order.
#[must_use]
pub fn sum(rows: impl IntoIterator<Item = Row>) -> Vec<Row> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_unstable();
    rows.dedup_by(|next, row| {
        let same = (&next.rule, &next.backend, &next.pod) == (&row.rule, &row.backend, &row.pod);
        if same {
            row.sessions = row.sessions.saturating_add(next.sessions);
            row.missed = row.missed.saturating_add(next.missed);
        }
        same
    });
    rows
}

/// What stands for a pod's name in a [`Load`].
#[must_use]
pub fn pod_id(name: &str) -> u64 {
    SipHasher24::new().hash(name.as_bytes())
}

/// Sessions by pod of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load(Table<u64, u32>);

impl Load {
    /// How many a pod has.
    #[must_use]
    pub fn of(&self, pod: u64) -> u64 {
        self.0.get(&pod).copied().map_or(0, u64::from)
    }

    /// Adds what [`Load::encode`] wrote.
    pub fn add_encoded(&mut self, bytes: &[u8]) {
        for row in bytes.chunks_exact(12) {
            if let Some((pod, rest)) = row.split_first_chunk::<8>()
                && let Some(sessions) = rest.first_chunk::<4>()
            {
                self.add(u64::from_le_bytes(*pod), u32::from_le_bytes(*sessions));
            }
        }
    }

    /// 12 bytes a pod.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let row = |(pod, sessions): (&u64, &u32)| pod.to_le_bytes().into_iter().chain(sessions.to_le_bytes());
        self.0.iter().flat_map(row).collect()
    }

    fn add(&mut self, pod: u64, sessions: u32) {
        let count = self.0.entry(pod).or_default();
        *count = count.saturating_add(sessions);
    }

    fn remove(&mut self, pod: u64) {
        if let Some(count) = self.0.get_mut(&pod) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(&pod);
            }
        }
    }
}

/// The members that publish, each with the time at which it last said that it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<(u64, u64)>);

impl Members {
    /// Reads the entry.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let row = |row: &[u8]| {
            let (member, rest) = row.split_first_chunk::<8>()?;
            Some((
                u64::from_le_bytes(*member),
                u64::from_le_bytes(*rest.first_chunk::<8>()?),
            ))
        };
        Self(
            bytes
                .chunks_exact(16)
                .filter_map(row)
                .take(MOST_MEMBERS)
                .collect(),
        )
    }

    /// 16 bytes a member.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let row = |(member, seen): &(u64, u64)| member.to_le_bytes().into_iter().chain(seen.to_le_bytes());
        self.0.iter().flat_map(row).collect()
    }

    /// `me` lives; the dead are dropped.
    pub fn beat(&mut self, me: u64, now: u64) {
        self.0.retain(|(member, seen)| *member != me && alive(*seen, now));
        if self.0.len() < MOST_MEMBERS {
            self.0.push((me, now));
        }
    }

    /// Those that live.
    pub fn alive(&self, now: u64) -> impl Iterator<Item = u64> {
        self.0
            .iter()
            .filter(move |(_, seen)| alive(*seen, now))
            .map(|(member, _)| *member)
    }
}

const fn alive(seen: u64, now: u64) -> bool {
    now.saturating_sub(seen) < MEMBER_MS
}

/// How a member is spelled in entries' names.
#[must_use]
pub fn member_name(member: u64) -> String {
    format!("{member:016x}")
}

#[cfg(test)]
mod tests {
    use super::{Counts, Load, Members, Place, pod_id, said, sum};

    fn place(pod: &str) -> Place {
        Place {
            rule: "shop/chat/rooms".into(),
            backend: "shop/chat:8080".into(),
            pod: pod.into(),
        }
    }

    #[test]
    fn counts_go_up_and_down_and_leave_nothing() {
        let mut counts = Counts::default();
        counts.enter(&place("a"));
        counts.enter(&place("a"));
        counts.enter(&place("b"));
        assert_eq!(counts.load("shop/chat:8080").unwrap().of(pod_id("a")), 2);
        assert!(counts.take_changed());
        assert!(!counts.take_changed());
        for pod in ["a", "b", "a"] {
            counts.leave(&place(pod), false);
        }
        assert!(counts.take_changed());
        assert!(counts.load("shop/chat:8080").is_none());
        assert!(counts.rows().is_empty());
    }

    #[test]
    fn sessions_that_were_sent_elsewhere_are_counted_while_they_last() {
        let mut counts = Counts::default();
        for pod in ["a", "a", "b"] {
            counts.enter(&place(pod));
            counts.missed(&place(pod));
        }
        counts.enter(&place("b"));
        let missed = |counts: &Counts| {
            let (live, missed) = said(sum(counts.rows()));
            let all: u64 = live.iter().map(|live| live.sessions).sum();
            (all, missed.first().map(|missed| missed.sessions))
        };
        assert_eq!(missed(&counts), (4, Some(3)));
        counts.leave(&place("a"), true);
        counts.leave(&place("b"), false);
        assert_eq!(missed(&counts), (2, Some(2)));
        counts.leave(&place("a"), true);
        counts.leave(&place("b"), true);
        assert_eq!(missed(&counts), (0, None));
    }

    #[test]
    fn members_add_up() {
        let mut one = Counts::default();
        let mut two = Counts::default();
        one.enter(&place("a"));
        two.enter(&place("a"));
        two.enter(&place("b"));
        let all = sum(one.rows().into_iter().chain(two.rows()));
        let all: Vec<_> = all.iter().map(|row| (row.pod.as_str(), row.sessions)).collect();
        assert_eq!(all, [("a", 2), ("b", 1)]);

        let mut load = Load::default();
        load.add_encoded(&one.load("shop/chat:8080").unwrap().encode());
        load.add_encoded(&two.load("shop/chat:8080").unwrap().encode());
        load.add_encoded(b"broken");
        assert_eq!(
            (load.of(pod_id("a")), load.of(pod_id("b")), load.of(pod_id("c"))),
            (2, 1, 0)
        );
    }

    #[test]
    fn the_dead_count_no_more() {
        let mut members = Members::default();
        members.beat(1, 10_000);
        members.beat(2, 13_000);
        assert_eq!(members.alive(14_000).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(Members::decode(&members.encode()), members);
        assert_eq!(members.alive(15_000).collect::<Vec<_>>(), [2]);
        members.beat(2, 15_000);
        assert_eq!(members.encode().len(), 16);
    }
}
