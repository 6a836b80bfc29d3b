//! What one worker knows of the rules and backends: what it has needed so far, laid out for use.

use std::rc::Rc;

use clew_filter_config::route_name::RouteName;
use clew_filter_config::rule::{Backend, Draining, KeySource, Pod, Rule};

use crate::limits::Subject;
use crate::live;
use crate::placement::{Pods, Policy, Seed, Shares};
use crate::store::{self, Head, Names};
use crate::table::{self, Table};
use crate::token::Ring;

/// A rule, laid out.
#[derive(Clone, Debug)]
pub struct LaidRule {
    /// As the channel gave it.
    pub rule: Rule,
    /// What of it decides about pods.
    pub policy: Policy,
    /// Its backends' shares.
    pub shares: Shares,
    /// Whether a source of its key is the client's address.
    pub asks_peer: bool,
    /// Under which its sessions are counted against its limits.
    pub subject: Subject,
}

impl LaidRule {
    /// Lays out a rule.
    #[must_use]
    pub fn new(seed: &Seed, rule: Rule) -> Self {
        let is_peer = |source: &KeySource| matches!(source, KeySource::SourceIp { .. });
        Self {
            policy: Policy::from(&rule),
            shares: Shares::new(seed, &rule.backends),
            asks_peer: rule.session_key.iter().any(is_peer),
            subject: Subject::rule(seed, &rule.name),
            rule,
        }
    }
}

/// A backend, laid out.
#[derive(Clone, Debug)]
pub struct LaidBackend {
    /// Its pods.
    pub pods: Pods,
    /// What stands for each pod's name in a [`live::Load`], by its position.
    pub load_ids: Vec<u64>,
}

impl LaidBackend {
    /// Lays out a backend.
    #[must_use]
    pub fn new(seed: &Seed, backend: Backend) -> Self {
        let pods = Pods::new(seed, backend);
        let load_ids = pods.iter().map(|pod| live::pod_id(&pod.name)).collect();
        Self { pods, load_ids }
    }

    /// The pod with an address.
    #[must_use]
    pub fn at_address(&self, address: &[u8]) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.address.as_bytes() == address)
    }
}

/// What is known, by what was needed. A reader of shared entries comes with each call.
#[derive(Debug)]
pub struct World {
    names: Names,
    head: Vec<u8>,
    version: Option<String>,
    seed: Option<Seed>,
    ring: Ring,
    draining: Option<Draining>,
    rules: Table<String, Rc<LaidRule>>,
    /// Routes of others for which the table, as it is, has no rule.
    strangers: table::Names<String>,
    backends: Table<String, Known>,
    changed: bool,
}

#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    laid: Option<Rc<LaidBackend>>,
}

impl World {
    /// Nothing is known.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            head: Vec::new(),
            version: None,
            seed: None,
            ring: Ring::default(),
            draining: None,
            rules: Table::default(),
            strangers: table::Names::default(),
            backends: Table::default(),
            changed: false,
        }
    }

    /// The version of the table, once there is one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The hash seed, once there is a version.
    #[must_use]
    pub const fn seed(&self) -> Option<&Seed> {
        self.seed.as_ref()
    }

    /// The keys of persistence tokens.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }

    /// A rule that was asked for before, as it is now. `None`: it is gone.
    #[must_use]
    pub fn current(&self, id: &str) -> Option<&Rc<LaidRule>> {
        self.rules.get(id)
    }

    /// Every rule that was asked for before, as it is now.
    pub fn rules(&self) -> impl Iterator<Item = &LaidRule> {
        self.rules.values().map(Rc::as_ref)
    }

    /// Set while the whole proxy drains.
    #[must_use]
    pub const fn draining(&self) -> Option<Draining> {
        self.draining
    }

    /// Whether something is known that was not at the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Takes over what has changed.
    pub fn refresh(&mut self, read: impl Fn(&str) -> Option<Vec<u8>>) {
        let Some(bytes) = read(&self.names.head()).filter(|bytes| *bytes != self.head) else {
            return;
        };
        let Some(head) = store::parse::<Head>(&bytes) else {
            return;
        };
        let Some(seed) = Seed::parse(&head.seed) else {
            return;
        };
        // Another seed is another placement of everything.
        let reseeded = self.seed.as_ref() != Some(&seed);
        self.head = bytes;
        self.version = Some(head.version);
        self.ring = Ring::new(&head.signing_keys);
        self.draining = head.draining;
        let names = &self.names;
        self.rules.retain(|id, laid| {
            let entry = read(&names.rule(id)).filter(|entry| !entry.is_empty());
            let Some(entry) = entry else { return false };
            // What a newer controller says and this module cannot read leaves a rule as it was.
            let rule = Rule::parse(&entry).unwrap_or_else(|| laid.rule.clone());
            if reseeded || rule != laid.rule {
                *laid = Rc::new(LaidRule::new(&seed, rule));
            }
            true
        });
        for (id, known) in &mut self.backends {
            let bytes = read(&names.backend(id)).unwrap_or_default();
            if reseeded || bytes != known.bytes {
                *known = Known::new(&seed, bytes);
            }
        }
        self.strangers.clear();
        self.seed = Some(seed);
        self.changed = true;
    }

    /// The rule of a route. An older configuration than the route's will do, where there is no newer one. `None`: nothing
    /// was ever heard of it.
    pub fn rule(
        &mut self,
        name: RouteName<'_>,
        read: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Option<Rc<LaidRule>> {
        if self.seed.is_none() {
            self.refresh(&read);
        }
        let cached = self.rules.get(name.rule);
        if let Some(laid) = cached
            && laid.rule.config == name.config
        {
            return Some(Rc::clone(laid));
        }
        let seed = self.seed.as_ref()?;
        match read(&self.names.rule(name.rule)).as_deref().and_then(Rule::parse) {
            Some(rule) if cached.is_none_or(|laid| laid.rule != rule) => {
                let laid = Rc::new(LaidRule::new(seed, rule));
                self.rules.insert(name.rule.to_owned(), Rc::clone(&laid));
                Some(laid)
            }
            _ => cached.map(Rc::clone),
        }
    }

    /// The rule for somebody else's route, by its [key](clew_filter_config::http_route). `None`: it has none, which is not asked for again until the
    /// table changes: most requests on a gateway may be such.
    pub fn foreign(&mut self, key: &str, read: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Rc<LaidRule>> {
        if let Some(laid) = self.rules.get(key) {
            return Some(Rc::clone(laid));
        }
        let seed = self.seed.as_ref()?;
        if self.strangers.contains(key) {
            return None;
        }
        let Some(rule) = read(&self.names.rule(key)).as_deref().and_then(Rule::parse) else {
            self.strangers.insert(key.to_owned());
            return None;
        };
        let laid = Rc::new(LaidRule::new(seed, rule));
        self.rules.insert(key.to_owned(), Rc::clone(&laid));
        Some(laid)
    }

    /// A backend's pods. `None`: no list is known.
    pub fn backend(&mut self, id: &str, read: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Rc<LaidBackend>> {
        let seed = self.seed.as_ref()?;
        if let Some(known) = self.backends.get(id) {
            return known.laid.as_ref().map(Rc::clone);
        }
        let known = Known::new(seed, read(&self.names.backend(id)).unwrap_or_default());
        let laid = known.laid.as_ref().map(Rc::clone);
        self.backends.insert(id.to_owned(), known);
        self.changed = true;
        laid
    }

    /// Every pod that drains, with its backend, of the backends that were needed.
    pub fn draining_pods(&self) -> impl Iterator<Item = (&str, &Pod, Draining)> {
        self.backends.iter().flat_map(|(id, known)| {
            let pods = known.laid.iter().flat_map(|laid| laid.pods.iter());
            pods.filter_map(move |pod| pod.draining.map(|draining| (id.as_str(), pod, draining)))
        })
    }
}

impl Known {
    fn new(seed: &Seed, bytes: Vec<u8>) -> Self {
        let laid = Backend::parse(&bytes).map(|backend| Rc::new(LaidBackend::new(seed, backend)));
        Self { bytes, laid }
    }
}

#[cfg(test)]
mod tests;
