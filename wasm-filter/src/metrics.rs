//! Envoy's metrics, by rule. They gather here and go to Envoy with the tick: a host call for each message would cost
//! more than the message.
//!
//! Envoy never frees a metric. So a rule's series are defined when they first count something, their labels come from
//! fixed sets, and rules beyond [`MOST_RULES`] share the label [`OTHERS`].

use std::rc::Rc;

use clew_filter_config::metrics::{LABEL_END, LABEL_IS, LABEL_ROUTE, SERIES, Series};
use clew_filter_core::session::Traffic;
use clew_filter_core::table::Table;

use crate::host;

/// Rules with series of their own in one worker.
const MOST_RULES: usize = 4_096;
/// The label of all further rules.
const OTHERS: &str = "others";
/// The label of handshakes on routes of ours whose rule nothing is known of.
pub(crate) const UNKNOWN: &str = "unknown";

/// A rule's metrics, by their place in [`Metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleMetrics(usize);

/// The metrics of one worker.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    rules: Vec<Gathered>,
    by_name: Table<Rc<str>, usize>,
}

#[derive(Debug)]
struct Gathered {
    name: Rc<str>,
    traffic: Traffic,
    /// What came together since the last tick.
    counts: [i64; SERIES.len()],
    ids: [Option<u32>; SERIES.len()],
    changed: bool,
}

impl Metrics {
    /// The metrics of a rule.
    pub(crate) fn rule(&mut self, name: &str) -> RuleMetrics {
        if let Some(at) = self.by_name.get(name) {
            return RuleMetrics(*at);
        }
        if self.rules.len() > MOST_RULES && name != OTHERS {
            return self.rule(OTHERS);
        }
        let at = self.rules.len();
        let name: Rc<str> = name.into();
        self.by_name.insert(Rc::clone(&name), at);
        self.rules.push(Gathered {
            name,
            traffic: Traffic::default(),
            counts: [0; SERIES.len()],
            ids: [None; SERIES.len()],
            changed: false,
        });
        RuleMetrics(at)
    }

    /// The rule's name.
    pub(crate) fn name(&self, rule: RuleMetrics) -> Option<&str> {
        self.rules.get(rule.0).map(|rule| &*rule.name)
    }

    pub(crate) fn add(&mut self, rule: RuleMetrics, series: impl Into<Series>, by: i64) {
        if let Some(rule) = self.rules.get_mut(rule.0) {
            rule.add(series.into(), by);
        }
    }

    /// Where a session counts what passes.
    pub(crate) fn traffic(&mut self, rule: RuleMetrics) -> Option<&mut Traffic> {
        self.rules.get_mut(rule.0).map(|rule| &mut rule.traffic)
    }

    /// A sample of a histogram goes to Envoy at once.
    pub(crate) fn record(&mut self, rule: RuleMetrics, series: Series, value: u64) {
        if let Some(id) = self
            .rules
            .get_mut(rule.0)
            .and_then(|rule| rule.id(series as usize))
        {
            // A metric that Envoy does not take is not worth a session.
            let _ = host::record_metric(id, value);
        }
    }

    /// Hands over to Envoy what has come together.
    pub(crate) fn flush(&mut self) {
        for rule in &mut self.rules {
            rule.flush();
        }
    }
}

impl Gathered {
    fn add(&mut self, series: Series, by: i64) {
        if let Some(count) = self.counts.get_mut(series as usize) {
            *count = count.saturating_add(by);
            self.changed = true;
        }
    }

    fn flush(&mut self) {
        if self.traffic != Traffic::default() {
            let Traffic {
                messages: [received, sent],
                bytes: [bytes_received, bytes_sent],
                dropped,
            } = core::mem::take(&mut self.traffic);
            for (series, by) in [
                (Series::MessagesReceived, received),
                (Series::MessagesSent, sent),
                (Series::BytesReceived, bytes_received),
                (Series::BytesSent, bytes_sent),
                (Series::DroppedBytes, dropped),
            ] {
                self.add(series, i64::try_from(by).unwrap_or(i64::MAX));
            }
        }
        if !core::mem::take(&mut self.changed) {
            return;
        }
        for series in 0..SERIES.len() {
            let Some(by) = self
                .counts
                .get_mut(series)
                .map(core::mem::take)
                .filter(|by| *by != 0)
            else {
                continue;
            };
            if let Some(id) = self.id(series) {
                let _ = host::increment_metric(id, by);
            }
        }
    }

    /// Defines the series when it is first used.
    fn id(&mut self, series: usize) -> Option<u32> {
        let id = self.ids.get_mut(series)?;
        if id.is_none() {
            let (kind, metric, label) = SERIES.get(series)?;
            *id = host::define_metric(*kind, &stat_name(&self.name, metric, *label)).ok();
        }
        *id
    }
}

fn stat_name(rule: &str, metric: &str, label: Option<(&str, &str)>) -> String {
    let mut name = String::new();
    for (label, value) in [(LABEL_ROUTE, rule)].into_iter().chain(label) {
        for part in [label, LABEL_IS, value, LABEL_END] {
            name.push_str(part);
        }
    }
    name.push_str(metric);
    name
}
