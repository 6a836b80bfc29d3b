//! What there is to write, and in which order: what routes need comes before them and goes after them, once the proxies
//! have taken the routes that do without it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::model::{ObjectName, Owner};
use clew_core::render::Object;
use serde_json::{Value, json};

use super::difference::{differs, says};
use super::kind::Kind;
use super::seen::Live;
use crate::packed::Packed;

/// An object of a kind.
pub(crate) type Key = (Kind, ObjectName);

/// An object that is to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Key,
    /// All of it.
    pub(crate) object: Packed<Value>,
    /// The routes, or the policies, that it stands for.
    pub(crate) routes: BTreeSet<Owner>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// There is none yet.
    Create(Key, Packed<Value>),
    /// There is one, of this UID, that is otherwise.
    Change(Key, String, Packed<Value>),
    /// There is one, of this UID, that nobody wants.
    Delete(Key, String),
}

/// What there is to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Steps {
    /// What routes will need.
    pub(crate) needs: Vec<Step>,
    /// Of what they need, what is there as they need it and only does not say whose it is: no route waits for that.
    pub(crate) owners: Vec<Step>,
    /// Where handshakes go.
    pub(crate) routes: Vec<Step>,
    /// What no route needs any more.
    pub(crate) leftovers: Vec<Step>,
    /// Something is left over that a proxy may still use.
    pub(crate) waits: bool,
    /// Why an object is not written.
    pub(crate) hindered: BTreeMap<Key, Hindrance>,
}

/// Why an object is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// One of this name is somebody else's.
    NotOwned,
    /// The API server has no such kind.
    TargetMissing,
}

/// What is there of the kinds that are written.
pub(crate) type Cluster = BTreeMap<Key, (String, Arc<Live>)>;

impl Wanted {
    /// A rendered object, owned by the routes of its own namespace: others cannot own it.
    pub(crate) fn new(object: Object, uids: &BTreeMap<Owner, String>) -> Option<Self> {
        let kind = Kind::of(object.api_version, object.kind)?;
        let metadata = &object.metadata;
        let owners: Vec<_> = object
            .owners
            .iter()
            .filter(|owner| owner.name.namespace == metadata.namespace)
            .filter_map(|owner| {
                Some(json!({
                    "apiVersion": format!("{}/{}", clew_crds::GROUP, clew_crds::VERSION),
                    "kind": owner.kind.as_str(),
                    "name": owner.name.name,
                    "uid": uids.get(owner)?,
                }))
            })
            .collect();
        let key = (kind, ObjectName::new(&metadata.namespace, &metadata.name));
        let mut value = json!({"apiVersion": object.api_version, "kind": object.kind, "metadata": metadata});
        if !owners.is_empty() {
            value["metadata"]["ownerReferences"] = owners.into();
        }
        value["spec"] = object.spec();
        Some(Self {
            key,
            object: Packed::of(&value),
            routes: object.owners,
        })
    }

    /// The routes that have it in another namespace than their own.
    pub(crate) fn foreign_routes(&self) -> impl Iterator<Item = &Owner> {
        self.routes
            .iter()
            .filter(|route| route.name.namespace != self.key.1.namespace)
    }
}

impl Steps {
    /// `settled`: what was written of routes so far is where it is needed.
    pub(crate) fn new(wanted: &[Wanted], cluster: &Cluster, missing: &BTreeSet<Kind>, settled: bool) -> Self {
        let mut steps = Self::default();
        let mut held_back = BTreeSet::new();
        // Whose objects are not all there yet.
        let mut unmade = BTreeSet::new();
        let (routes, needs): (Vec<_>, Vec<_>) = wanted.iter().partition(|one| one.key.0.is_route());
        let leaving: Vec<_> = unwanted(wanted, cluster).collect();
        let routes: Vec<_> = routes
            .into_iter()
            .map(|one| (one, step(one, cluster, missing, &one.object)))
            .collect();
        let unwritten: BTreeSet<_> = routes
            .iter()
            .filter(|(_, step)| matches!(step, Ok(Some(_))))
            .map(|(one, _)| &one.key)
            .collect();
        let is_still = !leaving.iter().any(|(key, _)| key.0.is_route()) && unwritten.is_empty();
        for one in needs {
            let both = with_old_subsets(one, cluster);
            let target = match settled && is_still {
                true => &one.object,
                false => both.as_ref().unwrap_or(&one.object),
            };
            steps.waits |= both.is_some() && !(settled && is_still);
            match step(one, cluster, missing, target) {
                Ok(None) => {}
                Ok(Some(step)) if has_spec(&step, cluster) => steps.owners.push(step),
                Ok(Some(step)) => {
                    unmade.extend(owners(&one.object.value()));
                    steps.needs.push(step);
                }
                Err(why) => {
                    unmade.extend(owners(&one.object.value()));
                    steps.hindered.insert(one.key.clone(), why);
                    held_back.extend(one.routes.clone());
                }
            }
        }
        let replaced: Vec<_> = leaving
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| key.0 == Kind::HttpRoute)
            .collect();
        let successors = Successors::of(&replaced, wanted);
        let waits_for = |key: &Key| {
            let mut successors = successors.of_one(key, cluster).peekable();
            successors.peek().is_some() && (!settled || successors.any(|one| unwritten.contains(&one.key)))
        };
        let kept: BTreeSet<_> = replaced.into_iter().filter(|key| waits_for(key)).collect();
        for (one, step) in routes {
            match step {
                // To send handshakes to what is not there would be worse.
                Ok(Some(_)) if one.routes.iter().any(|route| held_back.contains(route)) => {}
                Ok(step) => steps.routes.extend(step),
                Err(why) => {
                    steps.hindered.insert(one.key.clone(), why);
                }
            }
        }
        let is_replaced = |key: &Key| {
            let live = cluster.get(key).map(|(_, live)| owners(&live.object()));
            live.is_some_and(|of| !of.is_disjoint(&unmade))
        };
        for (key, uid) in leaving {
            let step = Step::Delete(key.clone(), uid.clone());
            match key.0.is_route() {
                // What takes its place may not be known to every proxy yet; of two the older one is tried first.
                true if kept.contains(key) => steps.waits = true,
                true => steps.routes.push(step),
                false if settled && is_still && !is_replaced(key) => steps.leftovers.push(step),
                false => steps.waits = true,
            }
        }
        steps.waits |= !steps.routes.is_empty();
        steps
    }

    /// What is not as it is to be.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = &Key> {
        let needs = self.needs.iter().chain(&self.owners);
        let steps = needs.chain(&self.routes).chain(&self.leftovers);
        steps.map(Step::key).chain(self.hindered.keys())
    }

    /// Whether there is nothing to write, now or later.
    pub(crate) fn is_done(&self) -> bool {
        let nothing = [&self.needs, &self.owners, &self.routes, &self.leftovers];
        nothing.iter().all(|steps| steps.is_empty()) && !self.waits
    }
}

impl Step {
    /// What it writes.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Create(key, _) | Self::Change(key, ..) | Self::Delete(key, _) => key,
        }
    }

    /// How.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Create(..) => "create",
            Self::Change(..) => "change",
            Self::Delete(..) => "delete",
        }
    }
}

fn step(
    wanted: &Wanted,
    cluster: &Cluster,
    missing: &BTreeSet<Kind>,
    object: &Packed<Value>,
) -> Result<Option<Step>, Hindrance> {
    let (kind, key) = (wanted.key.0, wanted.key.clone());
    if missing.contains(&kind) {
        return Err(Hindrance::TargetMissing);
    }
    match cluster.get(&key) {
        None => Ok(Some(Step::Create(key, object.clone()))),
        Some((_, live)) if !live.is_ours => Err(Hindrance::NotOwned),
        Some((uid, live)) => {
            let change = || Step::Change(key, uid.clone(), object.clone());
            Ok(differs(kind, &object.value(), &live.object()).then(change))
        }
    }
}

/// Whether an object says already what it is to say once this is written, and is not collected as garbage before: one of its owners is one still.
fn has_spec(step: &Step, cluster: &Cluster) -> bool {
    let (Step::Change(key, _, wanted), Some((_, live))) = (step, cluster.get(step.key())) else {
        return false;
    };
    let (live, wanted) = (live.object(), wanted.value());
    let (now, then) = (owners(&live), owners(&wanted));
    says(key.0, &wanted, &live) && (then.is_empty() || !now.is_disjoint(&then))
}

/// An object's owners, by their UIDs.
fn owners(object: &Value) -> BTreeSet<String> {
    let all = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    all.filter_map(|owner| owner["uid"].as_str().map(str::to_owned))
        .collect()
}

/// The HTTPRoutes that are to be, by the UIDs of their owners: what a WebSocketRoute now has instead of one that nobody wants.
struct Successors<'w>(BTreeMap<String, Vec<&'w Wanted>>);

impl<'w> Successors<'w> {
    /// None are looked for where nothing is replaced.
    fn of(replaced: &[&Key], wanted: &'w [Wanted]) -> Self {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        let candidates = wanted.iter().filter(|one| one.key.0 == Kind::HttpRoute);
        for one in candidates.filter(|_| !replaced.is_empty()) {
            for owner in owners(&one.object.value()) {
                all.entry(owner).or_default().push(one);
            }
        }
        Self(all)
    }

    fn of_one(&self, key: &Key, cluster: &Cluster) -> impl Iterator<Item = &'w Wanted> {
        let live = cluster.get(key).map(|(_, live)| owners(&live.object()));
        let all = live.into_iter().flatten();
        all.filter_map(|owner| self.0.get(&owner)).flatten().copied()
    }
}

/// What we have written and nobody wants.
fn unwanted<'c>(wanted: &[Wanted], cluster: &'c Cluster) -> impl Iterator<Item = (&'c Key, &'c String)> {
    let keys: BTreeSet<_> = wanted.iter().map(|one| one.key.clone()).collect();
    cluster
        .iter()
        .filter(move |(key, (_, live))| live.is_written && !keys.contains(key))
        .map(|(key, (uid, _))| (key, uid))
}

/// A DestinationRule with the subsets too that it has now, because a proxy may send handshakes there until it has taken the
/// new routes. None: it has no others.
fn with_old_subsets(wanted: &Wanted, cluster: &Cluster) -> Option<Packed<Value>> {
    let (_, live) = cluster
        .get(&wanted.key)
        .filter(|_| wanted.key.0 == Kind::DestinationRule)?;
    let (mut both, object) = (wanted.object.value(), live.object());
    let subsets = both["spec"]["subsets"].as_array_mut()?;
    let is_old = |subset: &&Value| subsets.iter().all(|one| one["name"] != subset["name"]);
    let old: Vec<_> = object["spec"]["subsets"]
        .as_array()?
        .iter()
        .filter(is_old)
        .cloned()
        .collect();
    let has_old = !old.is_empty();
    subsets.extend(old);
    has_old.then(|| Packed::of(&both))
}

#[cfg(test)]
mod tests;
