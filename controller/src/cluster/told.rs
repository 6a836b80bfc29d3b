//! What the filters of each gateway are told of some routes: the names of rules and backends, as small as they can be kept.

use std::sync::Arc;

use crate::channel::Scope;

/// Of each gateway the rules and the backends, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told(Box<[Entry]>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    gateway: Arc<str>,
    is_backend: bool,
    id: Arc<str>,
}

impl Told {
    /// A rule, and the backends that it leads to.
    pub(crate) fn add_rule(
        &mut self,
        gateway: &Arc<str>,
        rule: &str,
        backends: impl IntoIterator<Item = String>,
    ) {
        let entry = |is_backend, id| Entry {
            gateway: gateway.clone(),
            is_backend,
            id,
        };
        let rule = entry(false, rule.into());
        let backends = backends.into_iter().map(|id| entry(true, id.into()));
        *self = Self::made(self.0.iter().cloned().chain([rule]).chain(backends).collect());
    }

    /// Backends that no rule leads to.
    pub(crate) fn add_backends<'b>(
        &mut self,
        gateway: &Arc<str>,
        backends: impl IntoIterator<Item = &'b String>,
    ) {
        let entries = backends.into_iter().map(|id| Entry {
            gateway: gateway.clone(),
            is_backend: true,
            id: id.as_str().into(),
        });
        *self = Self::made(self.0.iter().cloned().chain(entries).collect());
    }

    /// And what others are told.
    pub(crate) fn add(&mut self, other: &Self) {
        *self = Self::of([&*self, other]);
    }

    /// Of all of these at once.
    pub(crate) fn of<'t>(all: impl IntoIterator<Item = &'t Self>) -> Self {
        Self::made(all.into_iter().flat_map(|one| one.0.iter().cloned()).collect())
    }

    /// Beside each other in memory.
    pub(crate) fn tighten(&mut self) {
        for entry in &mut self.0 {
            entry.id = Arc::from(&*entry.id);
        }
        self.0 = self.0.clone();
    }

    fn made(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        Self(entries.into())
    }

    /// Each gateway, and what of it this is.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (&str, Scope)> {
        let by_gateway = self.0.chunk_by(|one, next| one.gateway == next.gateway);
        by_gateway.filter_map(|entries| {
            let ids = |is_backend: bool| {
                let of = entries.iter().filter(move |entry| entry.is_backend == is_backend);
                of.map(|entry| entry.id.to_string()).collect()
            };
            let scope = Scope {
                rules: ids(false),
                backends: ids(true),
            };
            Some((&*entries.first()?.gateway, scope))
        })
    }

    /// The rules at a gateway.
    pub(crate) fn rules_at<'t>(&'t self, gateway: &str) -> impl Iterator<Item = &'t str> {
        let from = self.0.partition_point(|entry| &*entry.gateway < gateway);
        let gateway = gateway.to_owned();
        let of = self.0.get(from..).unwrap_or_default().iter();
        of.take_while(move |entry| *entry.gateway == *gateway && !entry.is_backend)
            .map(|entry| &*entry.id)
    }
}
