//! What the filters of each gateway are told of some routes: the names of rules and backends, as small as they can be kept.

use std::sync::Arc;

use crate::channel::Scope;

/// Of each gateway the rules and the backends, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    gateway: Arc<str>,
    is_backend: bool,
    id: Arc<str>,
}

impl Told {
    pub(crate) fn add_rule(&mut self, gateway: &Arc<str>, id: &str) {
        self.insert(gateway, false, id);
    }

    pub(crate) fn add_backend(&mut self, gateway: &Arc<str>, id: &str) {
        self.insert(gateway, true, id);
    }

    fn insert(&mut self, gateway: &Arc<str>, is_backend: bool, id: &str) {
        self.0.push(Entry {
            gateway: gateway.clone(),
            is_backend,
            id: id.into(),
        });
        self.order();
    }

    /// And what others are told.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
        self.order();
    }

    fn order(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
    }

    /// Of all of these at once.
    pub(crate) fn of<'t>(all: impl IntoIterator<Item = &'t Self>) -> Self {
        let mut told = Self(all.into_iter().flat_map(|one| one.0.iter().cloned()).collect());
        told.order();
        told
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
