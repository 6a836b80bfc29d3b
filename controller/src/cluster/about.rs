//! What a turn is about: everything, or the routes that a change concerns and what these depend on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use clew_core::model::{ObjectName, Owner, OwnerKind};
use clew_crds::{WebSocketPolicy, WebSocketRoute};

use super::apply::Applied;
use super::gateway_pods;
use super::kind::Kind;
use super::last_good::LastGood;
use super::neighbours::{Hosts, Neighbours, Topic, hosts_of, is_for_all, of_service};
use super::plan::Plan;
use super::seen::{Body, Seen};
use super::steps::Key;
use super::store::{Changes, Shelf, Shelves, Store};
use super::told::Told;
use crate::memory;
use crate::packed::Packed;

/// After this long everything is looked at, whatever is said to have changed.
const SURELY: Duration = Duration::from_secs(600);

/// What a turn looks at.
#[derive(Debug, Default)]
pub(crate) struct About {
    pub(crate) everything: bool,
    /// With those that are gone and have left something.
    pub(crate) routes: BTreeSet<Owner>,
    /// What they depend on.
    pub(crate) objects: BTreeSet<Key>,
    /// What is written and may have to go.
    pub(crate) written: BTreeSet<Key>,
    /// What the filters may know of these routes.
    pub(crate) told: Told,
    topics: HashSet<Topic>,
}

impl About {
    pub(crate) fn all() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    /// Whether all that there is of a Service is part of it.
    pub(crate) fn concerns(&self, service: &ObjectName) -> bool {
        self.everything || self.topics.contains(&of_service(service))
    }

    /// Those of one kind alone.
    pub(crate) fn names(&self, kind: OwnerKind) -> BTreeSet<ObjectName> {
        let owners = self.routes.iter().filter(|owner| owner.kind == kind);
        owners.map(|owner| owner.name.clone()).collect()
    }

    /// What is to be looked at again if this turn does not bring it to its end.
    fn keys(&self) -> impl Iterator<Item = Key> {
        let routes = self.routes.iter().map(key_of);
        routes.chain(self.written.iter().cloned())
    }
}

/// What turns leave to those that follow: of each route where it is, and what is left to do.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    neighbours: Neighbours,
    hosts: Hosts,
    routes: BTreeMap<Owner, Kept>,
    /// What the next turn looks at, whatever changes.
    next: Changes,
    /// What is to be looked at again, and when.
    due: BTreeMap<Key, Instant>,
    /// When everything is.
    everything_due: Option<Instant>,
    /// Some proxy has not acknowledged these.
    unacknowledged: BTreeSet<Owner>,
    /// What concerns sessions on pods that no rule leads to.
    lingering: HashSet<Topic>,
    /// The pods of gateways, and how they are told.
    selectors: Vec<BTreeMap<String, String>>,
    gateway_pods: BTreeSet<ObjectName>,
    /// How many routes are as they ask, and how many not in all.
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// How many are as they ask, and not in force everywhere; as far as this replica has said so.
    pub(crate) unprogrammed: usize,
}

/// What is kept of a route.
#[derive(Debug, Default)]
struct Kept {
    objects: Box<[Key]>,
    told: Told,
    /// What it had in common with others, while what stood for it then may still have to go.
    former: Box<[Topic]>,
    /// None: it is not there any more.
    standing: Option<Standing>,
}

/// What a route counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    is_refused: bool,
    is_unprogrammed: bool,
}

impl Memory {
    /// The next turn is about everything.
    pub(crate) fn look_at_everything(&mut self) {
        self.next.everything = true;
    }

    /// Sessions are on what has these topics, and no rule leads there.
    pub(crate) fn linger(&mut self, topics: impl Iterator<Item = Topic>) {
        self.lingering = topics.collect();
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&mut self) {
        memory::tighten(&mut self.routes);
        for kept in self.routes.values_mut() {
            kept.told.tighten();
        }
        self.neighbours.tighten();
    }

    /// The next turn says again of routes that not every proxy had how far they are. True: there are some.
    pub(crate) fn look_at_unacknowledged(&mut self) -> bool {
        let routes = std::mem::take(&mut self.unacknowledged);
        let are_some = !routes.is_empty();
        let keys = routes.iter().map(key_of);
        self.next.objects.extend(keys);
        are_some
    }

    /// As if as much time had passed as anything waits for. True: there is something to do.
    #[cfg(test)]
    pub(super) fn hasten(&mut self) -> bool {
        self.next
            .objects
            .extend(std::mem::take(&mut self.due).into_keys());
        let surely = crate::clock::now() + SURELY / 2;
        self.next.everything |= self.everything_due.is_some_and(|due| due < surely);
        self.next != Changes::default()
    }

    /// The routes that some proxy does not have yet.
    #[cfg(test)]
    pub(super) fn awaits(&self) -> &BTreeSet<Owner> {
        &self.unacknowledged
    }

    /// When something is to be looked at again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.values().copied().chain(self.everything_due).min()
    }

    /// What the turn that begins is about.
    pub(crate) fn about(
        &mut self,
        mut changes: Changes,
        shelves: &Shelves,
        last_good: Option<&LastGood>,
        now: Instant,
    ) -> About {
        let before = std::mem::take(&mut self.next);
        changes.everything |= before.everything || last_good.is_none();
        changes.everything |= self.everything_due.is_some_and(|at| at <= now);
        changes.objects.extend(before.objects);
        let is_due = |(key, at): (&Key, &Instant)| (*at <= now).then(|| key.clone());
        let due: Vec<_> = self.due.iter().filter_map(is_due).collect();
        for key in due {
            self.due.remove(&key);
            changes.objects.insert(key);
        }
        changes.everything |= changes.objects.iter().any(|key| {
            is_for_all(key.0) || self.is_of_gateway(key, shelves) || self.is_of_policies(key, shelves)
        });
        if !changes.everything
            && !is_leaving(shelves)
            && let Some(about) = self.part(&changes.objects, shelves, last_good)
        {
            return about;
        }
        let about = self.everything(shelves, last_good);
        self.everything_due = Some(now + SURELY);
        about
    }

    /// None: somebody depends on it who cannot be told.
    fn part(
        &mut self,
        changed: &BTreeSet<Key>,
        shelves: &Shelves,
        last_good: Option<&LastGood>,
    ) -> Option<About> {
        let mut about = About::default();
        // Whoever had something in common with what was there, and whoever has with what is.
        for is_filed in [false, true] {
            for key in changed {
                if is_filed {
                    self.file(key, shelves, last_good);
                }
                if self.neighbours.is_everybodys(key) || self.neighbours.is_of(key, &self.lingering) {
                    return None;
                }
                match key.0.owner(&key.1) {
                    Some(owner) => drop(about.routes.insert(owner)),
                    None => about.routes.extend(self.neighbours.routes_of(key)),
                }
            }
            let (routes, topics) = self.neighbours.around(std::mem::take(&mut about.routes));
            about.routes = routes;
            about.topics.extend(topics);
        }
        about.objects = self.neighbours.objects_of(&about.routes);
        let pods = self.gateway_pods.iter().map(|pod| (Kind::Pod, pod.clone()));
        about.objects.extend(pods);
        about.written = changed
            .iter()
            .filter(|key| key.0.is_generated())
            .cloned()
            .collect();
        let kept = || about.routes.iter().filter_map(|route| self.routes.get(route));
        about
            .written
            .extend(kept().flat_map(|kept| kept.objects.iter().cloned()));
        about.told = Told::of(kept().map(|kept| &kept.told));
        Some(about)
    }

    fn everything(&mut self, shelves: &Shelves, last_good: Option<&LastGood>) -> About {
        self.neighbours = Neighbours::default();
        self.due.clear();
        let all = || {
            let of = |(kind, shelf): (&Kind, &'_ Shelf)| -> Vec<Key> {
                shelf.objects.keys().map(|name| (*kind, name.clone())).collect()
            };
            shelves.iter().flat_map(of)
        };
        let seen = |kind: Kind| shelves.get(&kind).into_iter().flat_map(|shelf| &shelf.objects);
        let gateways = || seen(Kind::Gateway).chain(seen(Kind::IstioGateway));
        self.hosts = gateways()
            .filter_map(|(name, seen)| hosts_of(name, seen))
            .collect();
        let selector = |(_, seen): (&ObjectName, &Seen)| match &seen.body {
            Body::IstioGateway(gateway) => Some(gateway.spec.selector.clone()),
            _ => None,
        };
        self.selectors = gateways().filter_map(selector).collect();
        let pods = seen(Kind::Pod).filter(|(_, seen)| self.is_selected(seen));
        self.gateway_pods = pods.map(|(name, _)| name.clone()).collect();
        let mut about = About {
            everything: true,
            routes: self.routes.keys().cloned().collect(),
            ..About::default()
        };
        for key in all() {
            self.file(&key, shelves, last_good);
            if let Some(owner) = key.0.owner(&key.1) {
                about.routes.insert(owner);
            } else if find(shelves, &key)
                .is_some_and(|seen| seen.live.as_ref().is_some_and(|live| live.is_written))
            {
                about.written.insert(key);
            }
        }
        // What is gone shares what it has left with others until that is gone too.
        for route in &about.routes {
            let key = key_of(route);
            if find(shelves, &key).is_none() {
                self.file(&key, shelves, last_good);
            }
        }
        about.told = Told::of(self.routes.values().map(|kept| &kept.told));
        about
    }

    fn file(&mut self, key: &Key, shelves: &Shelves, last_good: Option<&LastGood>) {
        let seen = find(shelves, key);
        let Some(owner) = key.0.owner(&key.1) else {
            self.neighbours.file_object(key.clone(), seen);
            return;
        };
        let name = &key.1;
        let kept = self.routes.get(&owner);
        let objects = kept.map(|kept| &*kept.objects).unwrap_or_default();
        let former = kept.map(|kept| &*kept.former).unwrap_or_default();
        if owner.kind == OwnerKind::Policy {
            let written = seen.and_then(|seen| match &seen.body {
                Body::Policy(policy) => Some(policy),
                _ => None,
            });
            let good = last_good.and_then(|last_good| last_good.policy(name));
            let texts = written.into_iter().chain(good);
            let backends = texts
                .flat_map(|policy| backends_of(name, policy, shelves))
                .collect();
            self.neighbours.file_policy(name, &backends, (objects, former));
            return;
        }
        let written = seen.and_then(|seen| match &seen.body {
            Body::Route(route) => Some(route),
            _ => None,
        });
        // One that is gone has its places until a turn has seen that.
        let good = last_good.and_then(|last_good| last_good.route(name));
        let good = good.filter(|good| written.is_none_or(|written| !written.is(good)));
        let texts: Vec<WebSocketRoute> = written.into_iter().chain(good).filter_map(Packed::open).collect();
        self.neighbours
            .file_route(name, &texts, (objects, former), &self.hosts);
    }

    /// Whether policies are looked at anew: all of them, because of two for one target only one counts, and so that rules of all HTTPRoutes can be
    /// compared.
    fn is_of_policies(&self, key: &Key, shelves: &Shelves) -> bool {
        let are_some = || {
            let shelf = shelves.get(&Kind::WebSocketPolicy);
            shelf.is_some_and(|shelf| !shelf.objects.is_empty())
        };
        let is_ours = || match find(shelves, key) {
            Some(seen) => matches!(seen.body, Body::Ours),
            None => !self.neighbours.routes_of(key).is_empty(),
        };
        match key.0 {
            Kind::WebSocketPolicy => true,
            Kind::HttpRoute | Kind::BackendTrafficPolicy => are_some() && !is_ours(),
            _ => false,
        }
    }

    fn is_of_gateway(&self, key: &Key, shelves: &Shelves) -> bool {
        if key.0 != Kind::Pod {
            return false;
        }
        let is_now = find(shelves, key).is_some_and(|seen| self.is_selected(seen));
        is_now || self.gateway_pods.contains(&key.1)
    }

    fn is_selected(&self, seen: &Seen) -> bool {
        let Body::Pod(facts) = &seen.body else {
            return false;
        };
        gateway_pods::is_any_gateways(facts, self.selectors.iter())
    }

    /// Keeps what became of a turn.
    pub(crate) fn keep(&mut self, store: &Store, about: &About, plan: &mut Plan, turn: &Turned<'_>) {
        for route in &about.routes {
            let mut kept = Kept {
                objects: plan.objects.get(route).cloned().unwrap_or_default().into(),
                told: plan.told.remove(route).unwrap_or_default(),
                former: Box::default(),
                standing: turn.refused.get(route).map(|&is_refused| Standing {
                    is_refused,
                    is_unprogrammed: turn.unprogrammed.contains(route),
                }),
            };
            let before = self.routes.remove(route).unwrap_or_default();
            self.count(before.standing, kept.standing);
            if !turn.applied.is_done {
                let old = before.objects.iter().filter(|key| !kept.objects.contains(key));
                kept.objects = kept.objects.iter().chain(old).cloned().collect();
                kept.told.add(&before.told);
            }
            if !turn.applied.is_done || !turn.applied.hindered.is_empty() {
                kept.former = self.neighbours.joins_of(route).into();
            }
            match turn.unacknowledged.contains(route) {
                true => self.unacknowledged.insert(route.clone()),
                false => self.unacknowledged.remove(route),
            };
            let is_gone = kept.standing.is_none() && turn.applied.is_done;
            if !is_gone {
                self.routes.insert(route.clone(), kept);
            }
        }
        let shelves = store.lock();
        for route in &about.routes {
            self.file(&key_of(route), &shelves, Some(turn.last_good));
        }
        drop(shelves);
        if turn.failed {
            match about.everything {
                true => self.next.everything = true,
                false => self.next.objects.extend(about.keys()),
            }
        }
        if let Some(after) = turn.applied.again {
            let at = turn.now + after;
            match about.everything || about.keys().next().is_none() {
                true => self.everything_due = Some(self.everything_due.map_or(at, |due| due.min(at))),
                false => self.due.extend(about.keys().map(|key| (key, at))),
            }
        }
    }

    fn count(&mut self, before: Option<Standing>, now: Option<Standing>) {
        for (standing, added) in [(before, false), (now, true)] {
            let Some(standing) = standing else { continue };
            let of_all = match standing.is_refused {
                true => &mut self.refused,
                false => &mut self.accepted,
            };
            let counts = [of_all]
                .into_iter()
                .chain(standing.is_unprogrammed.then_some(&mut self.unprogrammed));
            for count in counts {
                *count = match added {
                    true => count.saturating_add(1),
                    false => count.saturating_sub(1),
                };
            }
        }
    }
}

/// What became of a turn.
pub(crate) struct Turned<'t> {
    pub(crate) last_good: &'t LastGood,
    pub(crate) applied: &'t Applied,
    pub(crate) failed: bool,
    /// Of each route that is there, whether something of it is refused.
    pub(crate) refused: BTreeMap<Owner, bool>,
    pub(crate) unacknowledged: BTreeSet<Owner>,
    /// Of those that are not refused, who is not in force everywhere.
    pub(crate) unprogrammed: BTreeSet<Owner>,
    pub(crate) now: Instant,
}

/// The object that has the rules.
fn key_of(owner: &Owner) -> Key {
    (Kind::of_owner(owner), owner.name.clone())
}

/// The Services behind the targets of a policy.
fn backends_of(name: &ObjectName, policy: &WebSocketPolicy, shelves: &Shelves) -> BTreeSet<ObjectName> {
    let mut backends = BTreeSet::new();
    for target in &policy.spec.target_refs {
        let target = (Kind::HttpRoute, ObjectName::new(&name.namespace, &target.name));
        let Some(Body::HttpRoute(route)) = find(shelves, &target).map(|seen| &seen.body) else {
            continue;
        };
        let all = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
        backends.extend(all.map(|to| {
            let namespace = to.reference.namespace.as_deref().unwrap_or(&name.namespace);
            ObjectName::new(namespace, &to.reference.name)
        }));
    }
    backends
}

/// Whether all sessions of some gateway leave. Within which time, all of its routes say.
fn is_leaving(shelves: &Shelves) -> bool {
    let policies = shelves.get(&Kind::EnvoyExtensionPolicy).into_iter();
    let mut policies = policies.flat_map(|shelf| shelf.objects.values());
    policies.any(|seen| match &seen.body {
        Body::ExtensionPolicy(_, Some(plugin)) => plugin.drain.is_some(),
        _ => false,
    })
}

fn find<'s>(shelves: &'s Shelves, key: &Key) -> Option<&'s Seen> {
    shelves.get(&key.0)?.objects.get(&key.1)
}
