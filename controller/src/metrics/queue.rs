//! The changes that wait for a turn, under the names by which client-go counts a controller's queue.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{CONTROLLER, Controller};

/// The one that there is.
const NAME: Name = Name {
    name: CONTROLLER.controller,
    controller: CONTROLLER.controller,
};

/// What happens to changes: they come, a turn takes all that there are, and ends.
#[derive(Debug)]
pub(crate) struct Queue {
    depth: Family<Name, Gauge<i64, AtomicI64>>,
    adds: Family<Name, Counter>,
    waited: Family<Name, Histogram>,
    worked: Family<Name, Histogram>,
    unfinished: Family<Name, Gauge<f64, AtomicU64>>,
    longest: Family<Name, Gauge<f64, AtomicU64>>,
    retries: Family<Name, Counter>,
    active: Family<Controller, Gauge<i64, AtomicI64>>,
    state: Mutex<State>,
}

/// Changes are numbered as they come.
#[derive(Debug, Default)]
struct State {
    latest: u64,
    taken: u64,
    /// When the first one came that no turn has taken.
    first: Option<Instant>,
    /// When the turn began that is under way.
    working: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: &'static str,
    controller: &'static str,
}

impl Queue {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let buckets = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let queue = Self {
            depth: Family::default(),
            adds: Family::default(),
            waited: Family::new_with_constructor(buckets),
            worked: Family::new_with_constructor(buckets),
            unfinished: Family::default(),
            longest: Family::default(),
            retries: Family::default(),
            active: Family::default(),
            state: Mutex::default(),
        };
        registry.register(
            "workqueue_depth",
            "Changes that no turn has taken up yet",
            queue.depth.clone(),
        );
        registry.register(
            "workqueue_adds",
            "Changes that ask for a turn",
            queue.adds.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long the first of the changes that a turn takes up has waited",
            queue.waited.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "How long a turn takes",
            queue.worked.clone(),
        );
        registry.register(
            "workqueue_unfinished_work_seconds",
            "How long the turn takes that is under way",
            queue.unfinished.clone(),
        );
        registry.register(
            "workqueue_longest_running_processor_seconds",
            "The same: there is one turn at a time",
            queue.longest.clone(),
        );
        registry.register(
            "workqueue_retries",
            "Turns that failed and are tried again",
            queue.retries.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Turns that are under way",
            queue.active.clone(),
        );
        queue
    }

    /// There have been so many changes by now.
    pub(crate) fn came(&self, changes: u64, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let new = changes.saturating_sub(state.latest);
        state.latest = state.latest.max(changes);
        if state.latest > state.taken && state.first.is_none() {
            state.first = Some(now);
        }
        self.adds.get_or_create(&NAME).inc_by(new);
        self.say_depth(&state);
    }

    /// A turn begins, which takes up the first so many changes.
    pub(crate) fn begins(&self, changes: u64, now: Instant) {
        self.came(changes, now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken = changes;
        state.working = Some(now);
        if let Some(first) = state.first.take() {
            let waited = now.saturating_duration_since(first);
            self.waited.get_or_create(&NAME).observe(waited.as_secs_f64());
        }
        if state.latest > changes {
            state.first = Some(now);
        }
        self.active.get_or_create(&CONTROLLER).set(1);
        self.say_depth(&state);
    }

    /// It is over; `again`: another one follows because it failed.
    pub(crate) fn ended(&self, again: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(began) = state.working.take() {
            let took = now.saturating_duration_since(began);
            self.worked.get_or_create(&NAME).observe(took.as_secs_f64());
        }
        self.active.get_or_create(&CONTROLLER).set(0);
        self.retries.get_or_create(&NAME).inc_by(again.into());
    }

    /// What moves by itself, before it is read.
    pub(super) fn look(&self, now: Instant) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Where there are no turns of a cluster there is nothing to say.
        if state.latest == 0 {
            return;
        }
        let working = state
            .working
            .map_or(0.0, |began| now.saturating_duration_since(began).as_secs_f64());
        self.unfinished.get_or_create(&NAME).set(working);
        self.longest.get_or_create(&NAME).set(working);
    }

    fn say_depth(&self, state: &State) {
        let depth = state.latest.saturating_sub(state.taken);
        self.depth
            .get_or_create(&NAME)
            .set(i64::try_from(depth).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::clock;
    use crate::metrics::Metrics;

    #[test]
    fn changes_wait_are_taken_together_and_never_counted_as_waiting_once_they_are() {
        let metrics = Metrics::new();
        let says = |name: &str, value: &str| {
            let line = format!("{name}{{name=\"websocketroute\",controller=\"websocketroute\"}} {value}");
            let text = metrics.text(&[]);
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        };
        let queue = &metrics.queue;
        let begin = clock::now();
        queue.came(1, begin);
        queue.came(3, begin + Duration::from_secs(1));
        says("workqueue_depth", "3");
        says("workqueue_adds_total", "3");
        queue.begins(3, begin + Duration::from_secs(2));
        says("workqueue_depth", "0");
        says("workqueue_queue_duration_seconds_sum", "2.0");
        // One came meanwhile; and one that the turn has taken is heard of late.
        queue.came(4, begin + Duration::from_secs(3));
        queue.came(3, begin + Duration::from_secs(3));
        says("workqueue_depth", "1");
        queue.ended(true, begin + Duration::from_secs(5));
        says("workqueue_work_duration_seconds_sum", "3.0");
        says("workqueue_retries_total", "1");
        says("workqueue_unfinished_work_seconds", "0.0");
        queue.begins(4, begin + Duration::from_secs(6));
        queue.ended(false, begin + Duration::from_secs(6));
        says("workqueue_depth", "0");
        says("workqueue_adds_total", "4");
        says("workqueue_queue_duration_seconds_sum", "5.0");
        says("workqueue_retries_total", "1");
    }

    #[test]
    fn where_nothing_is_queued_nothing_is_said_of_a_queue() {
        let text = Metrics::new().text(&[]);
        assert!(!text.contains("\nworkqueue"), "{text}");
    }
}
