//! What Envoy's access log is told of a stream that is over.

use clew_filter_config::facts;
use clew_filter_config::metrics::Series;

use super::upgrade::Upgrade;
use super::{State, Stream};
use crate::host;
use crate::metrics::{Metrics, RuleMetrics};

impl Stream {
    /// Sets its facts. Its own context is in effect.
    pub(crate) fn tell(&self, metrics: &Metrics) {
        match &self.state {
            State::Upgrade(upgrade) => upgrade.tell(metrics),
            State::Refused(rule) => tell_route(*rule, metrics),
            State::Foreign | State::Plain => {}
        }
    }
}

impl Upgrade {
    fn tell(&self, metrics: &Metrics) {
        tell_route(self.metrics, metrics);
        set(facts::KEY_SOURCE, self.key_source);
        // Its 101 never came.
        let Some(affinity) = self.affinity.filter(|_| self.opened.is_some()) else {
            return;
        };
        set(facts::AFFINITY, Series::from(affinity).label());
        set(facts::CLOSE_REASON, Series::from(self.session.ended()).label());
        number(facts::CLOSE_CODE, self.session.close_code(self.drain()).into());
        let [received, sent] = self.passed.messages;
        number(facts::MESSAGES_RECEIVED, received);
        number(facts::MESSAGES_SENT, sent);
        let [received, sent] = self.passed.bytes;
        number(facts::BYTES_RECEIVED, received);
        number(facts::BYTES_SENT, sent);
    }
}

fn tell_route(rule: RuleMetrics, metrics: &Metrics) {
    if let Some(name) = metrics.name(rule) {
        set(facts::ROUTE, name);
    }
}

fn number(name: &str, value: u64) {
    set(name, &value.to_string());
}

fn set(name: &str, value: &str) {
    // A log without it is better than no log.
    let _ = host::set_property(name.as_bytes(), value.as_bytes());
}
