//! The channel: what the filters must know from one second to the next, and what they say of themselves.
//!
//! Each gateway has a table of its own; every proxy of the gateway long-polls it ([`server`]).

pub(crate) mod drains;
pub(crate) mod leader;
pub(crate) mod order;
mod proxies;
pub(crate) mod ring;
pub(crate) mod server;
pub(crate) mod sessions;
mod table;
pub(crate) mod tokens;
pub(crate) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clew_filter_config::channel::{About, Live, Poll, Update};
use tokio::sync::watch;

use crate::clock;
use proxies::Proxies;
pub(crate) use proxies::{Acknowledgement, Held, News};
use table::Table;
pub(crate) use table::{Scope, Snapshot};
use view::{GatewayView, ProxyView};

/// The longest that a poll waits. Short, because live counts arrive with the next poll.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The tables of all gateways and the proxies that poll them.
#[derive(Debug)]
pub(crate) struct Channel {
    epoch: String,
    seed: String,
    /// Where there are several controllers: whether this one leads.
    leads: Option<watch::Receiver<bool>>,
    gateways: Mutex<BTreeMap<String, Gateway>>,
    /// The gateways whose proxies are to poll.
    expected: Mutex<BTreeSet<String>>,
    /// Moves when a table or a proxy's version does.
    news: watch::Sender<u64>,
}

/// A backend with live sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// By what rules they came: `namespace/route/rule`.
    pub(crate) rules: BTreeSet<String>,
    /// Proxies are told of its pods.
    pub(crate) is_told: bool,
}

#[derive(Debug)]
struct Gateway {
    table: Table,
    proxies: Proxies,
}

impl Gateway {
    fn view_of_proxies(&mut self, now: Instant) -> Vec<ProxyView> {
        self.proxies.expire(now);
        self.proxies.view(self.table.version(), now)
    }
}

impl Channel {
    /// `epoch` tells this life of the controller from every other; `seed` is the hash seed, 32 hex digits.
    pub(crate) fn new(epoch: String, seed: String) -> Arc<Self> {
        Self::made(epoch, seed, None)
    }

    /// As one of several controllers, each of which a proxy may poll: what another one has told it, and this one does not
    /// know, stays, unless this one leads.
    pub(crate) fn with_peers(epoch: String, seed: String, leads: watch::Receiver<bool>) -> Arc<Self> {
        Self::made(epoch, seed, Some(leads))
    }

    fn made(epoch: String, seed: String, leads: Option<watch::Receiver<bool>>) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            seed,
            leads,
            gateways: Mutex::default(),
            expected: Mutex::default(),
            news: watch::Sender::new(0),
        })
    }

    /// Makes `snapshot` what the gateway's proxies get.
    pub(crate) fn publish(&self, gateway: &str, snapshot: Snapshot) {
        self.change(gateway, |table| table.publish(snapshot));
    }

    /// As [`Self::publish`], of the entries of a scope; the others stay.
    pub(crate) fn publish_part(&self, gateway: &str, scope: &Scope, snapshot: Snapshot) {
        self.change(gateway, |table| table.publish_part(scope, snapshot));
    }

    /// What the gateway's proxies get of the entries of a scope. None: nothing was ever published.
    pub(crate) fn part(&self, gateway: &str, scope: &Scope) -> Option<Snapshot> {
        Some(self.lock().get(gateway)?.table.part(scope))
    }

    /// A proxy says which version it has.
    #[cfg(test)]
    pub(crate) fn hears(&self, poll: &Poll) {
        drop(self.open(poll));
    }

    /// The number of a gateway's newest version.
    #[cfg(test)]
    pub(crate) fn version(&self, gateway: &str) -> u64 {
        self.lock()
            .get(gateway)
            .map_or(0, |gateway| gateway.table.version())
    }

    /// What something was published to.
    pub(crate) fn gateways(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// All that the gateway's proxies get, under no version.
    #[cfg(test)]
    pub(crate) fn everything(&self, gateway: &str) -> Option<Update> {
        Some(Update {
            version: String::new(),
            ..self.lock().get(gateway)?.table.since(None)?
        })
    }

    fn change(&self, gateway: &str, publish: impl FnOnce(&mut Table) -> u64) {
        let mut gateways = self.lock();
        let entry = gateways.entry(gateway.to_owned()).or_insert_with(|| Gateway {
            table: Table::new(self.epoch.clone(), self.seed.clone()),
            proxies: Proxies::default(),
        });
        let before = entry.table.version();
        let version = publish(&mut entry.table);
        drop(gateways);
        if version != before {
            self.tell();
        }
    }

    /// Waits until every connected proxy of the gateway holds its newest snapshot, at most for `patience`.
    pub(crate) async fn acknowledged(&self, gateway: &str, patience: Duration) -> Acknowledgement {
        self.wait(gateway, 0, patience).await
    }

    /// As [`Self::acknowledged`], and waits for a first proxy too.
    pub(crate) async fn first_acknowledged(&self, gateway: &str, patience: Duration) -> Acknowledgement {
        self.wait(gateway, 1, patience).await
    }

    async fn wait(&self, gateway: &str, at_least: usize, patience: Duration) -> Acknowledgement {
        let mut news = self.news.subscribe();
        let until = tokio::time::Instant::now() + patience;
        loop {
            let standing = self.standing(gateway);
            if standing.behind == 0 && standing.proxies >= at_least {
                return standing;
            }
            if tokio::time::timeout_at(until, news.changed()).await.is_err() {
                return standing;
            }
        }
    }

    /// Every proxy is known to be gone: nobody is waited for until somebody polls.
    pub(crate) fn proxies_gone(&self) {
        for gateway in self.lock().values_mut() {
            gateway.proxies = Proxies::default();
        }
        self.tell();
    }

    /// How many of the gateway's proxies hold its newest snapshot.
    pub(crate) fn standing(&self, gateway: &str) -> Acknowledgement {
        self.lock()
            .get_mut(gateway)
            .map_or_else(Acknowledgement::default, |gateway| {
                gateway.proxies.expire(clock::now());
                gateway.proxies.holding(gateway.table.version())
            })
    }

    /// What every connected proxy of every gateway holds.
    pub(crate) fn held(&self) -> Held {
        let mut gateways = self.lock();
        let now = clock::now();
        let held = |(name, gateway): (&String, &mut Gateway)| {
            gateway.proxies.expire(now);
            (name.clone(), gateway.proxies.held())
        };
        Held(gateways.iter_mut().map(held).collect())
    }

    /// The pods of a backend that proxies know.
    pub(crate) fn pods(&self, backend: &str) -> BTreeSet<SocketAddr> {
        let gateways = self.lock();
        let found = gateways
            .values()
            .filter_map(|gateway| gateway.table.backend(backend));
        let pods = found.flat_map(|backend| backend.pods);
        pods.filter_map(|pod| pod.address.parse().ok()).collect()
    }

    /// Whether the gateway's proxies get all of these rules: one for somebody else's route waits for what carries it.
    pub(crate) fn tells<'a>(&self, gateway: &str, rules: impl IntoIterator<Item = &'a str>) -> bool {
        let gateways = self.lock();
        let table = gateways.get(gateway).map(|gateway| &gateway.table);
        let mut rules = rules.into_iter();
        rules.all(|rule| table.is_some_and(|table| table.has_rule(rule)))
    }

    /// How many of the gateway's proxies hold these rules as they are now, whatever else has changed since.
    pub(crate) fn holding<'a>(
        &self,
        gateway: &str,
        rules: impl IntoIterator<Item = &'a str>,
    ) -> Acknowledgement {
        self.lock()
            .get_mut(gateway)
            .map_or_else(Acknowledgement::default, |gateway| {
                gateway.proxies.expire(clock::now());
                gateway.proxies.holding(gateway.table.changed_at(rules))
            })
    }

    /// Tells when a table, or what a proxy holds, may have changed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The live sessions of all gateways, summed over their proxies, in the order of rule, backend and pod.
    pub(crate) fn live(&self) -> Vec<Live> {
        let mut sums = BTreeMap::<(String, String, String), u64>::new();
        for gateway in self.lock().values_mut() {
            gateway.proxies.expire(clock::now());
            for live in gateway.proxies.live() {
                let key = (live.rule.clone(), live.backend.clone(), live.pod.clone());
                *sums.entry(key).or_default() += live.sessions;
            }
        }
        sums.into_iter()
            .map(|((rule, backend, pod), sessions)| Live {
                rule,
                backend,
                pod,
                sessions,
            })
            .collect()
    }

    /// The live sessions of each backend, and how many of them are elsewhere than they were sent.
    pub(crate) fn missed(&self) -> BTreeMap<String, (u64, u64)> {
        let mut gateways = self.lock();
        let mut sums = BTreeMap::<String, (u64, u64)>::new();
        for gateway in gateways.values_mut() {
            gateway.proxies.expire(clock::now());
            for missed in gateway.proxies.missed() {
                sums.entry(missed.backend.clone()).or_default().1 += missed.sessions;
            }
        }
        // Those of a gateway where none is elsewhere, too.
        for live in gateways.values().flat_map(|gateway| gateway.proxies.live()) {
            if let Some(sum) = sums.get_mut(&live.backend) {
                sum.0 += live.sessions;
            }
        }
        sums
    }

    /// Of each gateway the backends with live sessions of which its proxies are told nothing any more, or that are `known`. What they never
    /// were told of is none, whatever they say: whoever has a gateway's token learns of no other pods by it.
    pub(crate) fn left(
        &self,
        is_known: impl Fn(&str, &str) -> bool,
    ) -> BTreeMap<String, BTreeMap<String, Left>> {
        let mut all = BTreeMap::new();
        for (name, gateway) in self.lock().iter_mut() {
            gateway.proxies.expire(clock::now());
            let mut of_it = BTreeMap::<String, Left>::new();
            for live in gateway.proxies.live().filter(|live| live.sessions > 0) {
                let is_told = gateway.table.has_backend(&live.backend);
                let is_known = !is_told || is_known(name, &live.backend);
                if !is_known || !gateway.table.has_had_backend(&live.backend) {
                    continue;
                }
                let left = of_it.entry(live.backend.clone()).or_default();
                left.is_told = is_told;
                left.rules.insert(live.rule.clone());
            }
            if !of_it.is_empty() {
                all.insert(name.clone(), of_it);
            }
        }
        all
    }

    /// How many sessions are open at a gateway, by `namespace/route/rule`.
    pub(crate) fn sessions_at(&self, gateway: &str) -> BTreeMap<String, u64> {
        let mut sessions = BTreeMap::new();
        if let Some(gateway) = self.lock().get_mut(gateway) {
            gateway.proxies.expire(clock::now());
            for live in gateway.proxies.live() {
                *sessions.entry(live.rule.clone()).or_default() += live.sessions;
            }
        }
        sessions
    }

    /// What the connected proxies of a gateway are.
    pub(crate) fn about(&self, gateway: &str) -> Vec<About> {
        self.lock().get_mut(gateway).map_or_else(Vec::new, |gateway| {
            gateway.proxies.expire(clock::now());
            gateway.proxies.about().cloned().collect()
        })
    }

    /// These are the gateways whose proxies are to poll.
    pub(crate) fn expect(&self, gateways: BTreeSet<String>) {
        *self.expected() = gateways;
    }

    /// Every gateway whose proxies are to poll, or do, as operators see it.
    pub(crate) fn view(&self) -> Vec<GatewayView> {
        let now = clock::now();
        let expected = self.expected().clone();
        let of = |(name, gateway): (&String, &mut Gateway)| GatewayView {
            name: name.clone(),
            proxies: gateway.view_of_proxies(now),
            backends: gateway.table.backends(),
        };
        let all = self.lock().iter_mut().map(of).collect::<Vec<_>>();
        let concerns = |one: &GatewayView| !one.proxies.is_empty() || expected.contains(&one.name);
        all.into_iter().filter(concerns).collect()
    }

    /// The proxies of all gateways.
    pub(crate) fn proxies(&self) -> Vec<ProxyView> {
        let now = clock::now();
        let mut gateways = self.lock();
        let all = gateways.values_mut();
        all.flat_map(|gateway| gateway.view_of_proxies(now)).collect()
    }

    /// Answers a poll: what the proxy lacks, or `None` when the wait is over without news.
    async fn poll(&self, poll: Poll) -> Option<Update> {
        let _open = self.open(&poll);
        // The one that leads waits for what this proxy holds, and hears it only when it is asked.
        let longest = if self.leads() {
            LONGEST_WAIT
        } else {
            Duration::ZERO
        };
        let wait = Duration::from_millis(poll.wait_ms).min(longest);
        let until = tokio::time::Instant::now() + wait;
        let mut news = self.news.subscribe();
        loop {
            if !self.is_anothers(&poll)
                && let Some(update) = self.since(&poll)
            {
                return Some(update);
            }
            match tokio::time::timeout_at(until, news.changed()).await {
                Ok(news) => {
                    news.ok()?;
                    self.recognise(&poll);
                }
                // It has had the time to say the same.
                Err(_) if self.is_anothers(&poll) && self.leads() => return self.since(&poll),
                Err(_) => return None,
            }
        }
    }

    fn since(&self, poll: &Poll) -> Option<Update> {
        self.lock().get(&poll.gateway)?.table.since(poll.have.as_deref())
    }

    /// Whether the proxy holds what another controller told it and this one does not know.
    fn is_anothers(&self, poll: &Poll) -> bool {
        let Some(have) = poll.have.as_deref().filter(|_| self.leads.is_some()) else {
            return false;
        };
        let gateways = self.lock();
        let known = gateways
            .get(&poll.gateway)
            .map(|gateway| gateway.table.number(have));
        known == Some(None)
    }

    fn leads(&self) -> bool {
        self.leads.as_ref().is_none_or(|leads| *leads.borrow())
    }

    /// Notes what the proxy says; its poll is open until the answer is dropped.
    fn open(&self, poll: &Poll) -> OpenPoll<'_> {
        if let Some(gateway) = self.lock().get_mut(&poll.gateway) {
            let holds = match poll.have.as_deref().map(|have| gateway.table.number(have)) {
                Some(Some(number)) => number,
                // What another controller told it, this one may be about to say too.
                Some(None) if self.leads.is_some() => gateway.proxies.held_by(&poll.proxy),
                _ => 0,
            };
            gateway.proxies.polled(poll, holds, clock::now());
        }
        self.tell();
        OpenPoll {
            channel: self,
            gateway: poll.gateway.clone(),
            proxy: poll.proxy.clone(),
        }
    }

    /// What another controller told a proxy, and this one says only now, it holds.
    fn recognise(&self, poll: &Poll) {
        let mut gateways = self.lock();
        let Some(gateway) = gateways.get_mut(&poll.gateway) else {
            return;
        };
        let number = poll.have.as_deref().and_then(|have| gateway.table.number(have));
        let is_news = number.is_some_and(|number| gateway.proxies.holds(&poll.proxy, number));
        drop(gateways);
        if is_news {
            self.tell();
        }
    }

    fn tell(&self) {
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&self) {
        for gateway in self.lock().values_mut() {
            gateway.table.tighten();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Gateway>> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct OpenPoll<'a> {
    channel: &'a Channel,
    gateway: String,
    proxy: String,
}

impl Drop for OpenPoll<'_> {
    fn drop(&mut self) {
        if let Some(gateway) = self.channel.lock().get_mut(&self.gateway) {
            gateway.proxies.answered(&self.proxy, clock::now());
        }
    }
}

#[cfg(test)]
mod tests;
