//! What is known of each gateway, whatever a turn is about: whether the filter is on its pods, and which of them never ask.

use std::collections::BTreeMap;
use std::time::Instant;

use clew_core::model::Proxies;

use super::resolve::Resolved;
use super::silence::{Expected, Silence, Silent};
use crate::channel::Channel;

/// The gateways as a turn about everything found them, and who of them was heard since.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    /// Those whose pods have the filter, and who is to ask there.
    pub(crate) installed: BTreeMap<Proxies, Expected>,
    /// Of these, who does not.
    pub(crate) silent: Silent,
    silence: Silence,
}

impl Gateways {
    /// As a turn about everything sees them. A change of what this looks at is a reason for such a turn.
    pub(crate) fn see(&mut self, resolved: &Resolved) {
        let expected = |proxies: Proxies| (proxies.clone(), Expected::of(resolved, &proxies));
        let all = resolved.gateways().into_iter();
        self.installed = all
            .filter(|proxies| resolved.is_installed(proxies))
            .map(expected)
            .collect();
    }

    /// Who has fallen silent. True: others than before.
    pub(crate) fn listen(&mut self, channel: &Channel, now: Instant) -> bool {
        let expected = self.installed.iter();
        let expected =
            expected.map(|(proxies, expected)| (proxies, expected, channel.about(&proxies.to_string())));
        let silent = self.silence.look(expected, now);
        let is_news = silent != self.silent;
        self.silent = silent;
        is_news
    }
}
