//! What the API server has said: every object that a turn may look at, as it was last seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clew_core::model::ObjectName;
use kube::core::DynamicObject;
use tokio::sync::watch;

use super::kind::Kind;
use super::neighbours::SERVICE_NAME;
use super::seen::{Body, Live, Seen};
use super::steps::Key;
use crate::memory;

/// Everything that was seen. What was seen stays when the API server is away.
#[derive(Debug)]
pub(crate) struct Store {
    shelves: Mutex<BTreeMap<Kind, Shelf>>,
    changes: Mutex<Changes>,
    /// Moves when a turn would find something else than the one before.
    news: watch::Sender<u64>,
}

/// What was seen of every kind.
pub(crate) type Shelves = BTreeMap<Kind, Shelf>;

/// What is otherwise than when a turn last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// A whole kind came, or went.
    pub(crate) everything: bool,
    pub(crate) objects: BTreeSet<Key>,
}

enum News {
    Everything,
    Of(Vec<ObjectName>),
}

/// The objects of one kind.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) standing: Standing,
    pub(crate) objects: BTreeMap<ObjectName, Seen>,
    /// What could not be read, and why.
    unread: BTreeMap<ObjectName, String>,
    /// The latest version that the watch has told of.
    passed: u64,
}

/// What is known of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not listed yet; the last error, if there was one.
    #[default]
    Unknown,
    Failing(String),
    /// Listed.
    Listed,
    /// The API server has no such kind.
    Missing,
}

impl Standing {
    /// Whether a turn may rely on what is on the shelf.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Self::Listed | Self::Missing)
    }
}

/// An object that could be read, or why it could not.
pub(crate) type Read = Result<(ObjectName, Seen), (ObjectName, String)>;

impl Default for Store {
    fn default() -> Self {
        Self {
            shelves: Mutex::new(Kind::ALL.map(|kind| (kind, Shelf::default())).into()),
            changes: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }
}

impl Store {
    /// Tells when there is news.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// All shelves, for as long as the guard lives.
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has changed since this was asked before.
    pub(crate) fn changes(&self) -> Changes {
        std::mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&self) {
        for shelf in self.lock().values_mut() {
            memory::tighten(&mut shelf.objects);
        }
    }

    /// An object of a kind that is written, and its UID.
    pub(crate) fn live(&self, keys: impl IntoIterator<Item = Key>) -> BTreeMap<Key, (String, Arc<Live>)> {
        let shelves = self.lock();
        let find = |key: Key| {
            let seen = shelves.get(&key.0)?.objects.get(&key.1)?;
            Some((key, (seen.uid.clone(), seen.live.clone()?)))
        };
        keys.into_iter().filter_map(find).collect()
    }

    /// Takes out those Services in which a pod that takes sessions is entered.
    pub(crate) fn forget_ready(&self, services: &mut BTreeSet<ObjectName>) {
        let shelves = self.lock();
        let Some(shelf) = shelves.get(&Kind::EndpointSlice) else {
            return;
        };
        let namespaces: BTreeSet<_> = services
            .iter()
            .map(|one| ObjectName::new(&one.namespace, ""))
            .collect();
        let of = |first: &ObjectName| {
            let namespace = first.namespace.clone();
            let all = shelf.objects.range(first.clone()..);
            all.take_while(move |(name, _)| name.namespace == namespace)
        };
        for (name, seen) in namespaces.iter().flat_map(of) {
            let Body::EndpointSlice(slice) = &seen.body else {
                continue;
            };
            let labels = slice.metadata.labels.as_ref();
            let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else {
                continue;
            };
            let mut ready = slice.endpoints.iter().flatten().map(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
            });
            if ready.any(|ready| ready) {
                services.remove(&ObjectName::new(&name.namespace, service));
            }
        }
    }

    /// The watch says that an object is as it says.
    pub(crate) fn put(&self, kind: Kind, read: Read) {
        let (Ok((name, _)) | Err((name, _))) = &read;
        let name = name.clone();
        self.change(kind, |shelf| {
            News::Of(shelf.put(read).then_some(name).into_iter().collect())
        });
    }

    /// The API server answered a write with an object as it then was. What the watch has passed it has told itself, and
    /// also whether the object has gone since.
    pub(crate) fn answered(&self, kind: Kind, answer: DynamicObject) {
        let Ok((name, seen)) = Seen::read(kind, answer) else {
            return;
        };
        self.change(kind, |shelf| {
            let is_told = seen.version != 0 && seen.version <= shelf.passed;
            let is_news = !is_told && shelf.keep(name.clone(), seen);
            News::Of(is_news.then_some(name).into_iter().collect())
        });
    }

    /// The watch says that an object is gone, as of a version. One that is there since is another.
    pub(crate) fn gone(&self, kind: Kind, name: &ObjectName, version: u64) {
        self.change(kind, |shelf| {
            shelf.passed = shelf.passed.max(version);
            shelf.remove(name, |seen| version == 0 || seen.version <= version)
        });
    }

    /// An object was deleted here, of this UID. One of its name that is there since is another.
    pub(crate) fn deleted(&self, kind: Kind, name: &ObjectName, uid: &str) {
        self.change(kind, |shelf| shelf.remove(name, |seen| seen.uid == uid));
    }

    /// All objects of a kind were listed.
    pub(crate) fn replace(&self, kind: Kind, all: Vec<Read>) {
        self.change(kind, |shelf| {
            let before = std::mem::replace(
                shelf,
                Shelf {
                    standing: Standing::Listed,
                    ..Shelf::default()
                },
            );
            // A cluster that was put back to how it once was counts anew.
            let is_of_old = |read: &Read| match read {
                Ok((name, seen)) => before
                    .objects
                    .get(name)
                    .is_some_and(|known| !seen.is_newer(known)),
                Err(_) => false,
            };
            shelf.passed = match all.iter().any(is_of_old) {
                true => 0,
                false => before.passed,
            };
            for read in all {
                if let Err((name, _)) = &read
                    && let Some(seen) = before.objects.get(name)
                {
                    shelf.objects.insert(name.clone(), seen.clone());
                }
                shelf.put(read);
            }
            match before.standing {
                Standing::Listed => News::Of(shelf.differences(&before)),
                _ => News::Everything,
            }
        });
    }

    /// The API server has no such kind.
    pub(crate) fn missing(&self, kind: Kind) {
        self.change(kind, |shelf| {
            if shelf.standing == Standing::Missing {
                return News::Of(Vec::new());
            }
            *shelf = Shelf {
                standing: Standing::Missing,
                ..Shelf::default()
            };
            News::Everything
        });
    }

    /// A kind cannot be listed for now. What is on the shelf stays.
    pub(crate) fn failing(&self, kind: Kind, why: String) {
        self.change(kind, |shelf| {
            if shelf.standing.is_known() {
                return News::Of(Vec::new());
            }
            shelf.standing = Standing::Failing(why);
            News::Everything
        });
    }

    /// The kinds that no turn can do without yet, and why.
    pub(crate) fn unknown(&self) -> Vec<String> {
        let unknown = |(kind, shelf): (&Kind, &Shelf)| match &shelf.standing {
            Standing::Unknown => Some(format!("{kind} is not listed yet")),
            Standing::Failing(why) => Some(format!("{kind} cannot be listed: {why}")),
            Standing::Listed | Standing::Missing => None,
        };
        self.lock().iter().filter_map(unknown).collect()
    }

    fn change(&self, kind: Kind, change: impl FnOnce(&mut Shelf) -> News) {
        let mut shelves = self.lock();
        let news = change(shelves.entry(kind).or_default());
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = match news {
            News::Everything => {
                changes.everything = true;
                true
            }
            News::Of(names) => {
                let any = !names.is_empty();
                changes.objects.extend(names.into_iter().map(|name| (kind, name)));
                any
            }
        };
        drop(changes);
        drop(shelves);
        if is_news {
            self.news.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}

impl Shelf {
    /// True: a turn would find something else.
    fn put(&mut self, read: Read) -> bool {
        match read {
            Ok((name, seen)) => {
                self.unread.remove(&name);
                self.passed = self.passed.max(seen.version);
                self.keep(name, seen)
            }
            // What it said before is better than nothing.
            Err((name, why)) => {
                if self.unread.insert(name.clone(), why.clone()).as_ref() != Some(&why) {
                    tracing::warn!("{name} is not understood, and counts as it was before: {why}");
                }
                false
            }
        }
    }

    /// True: a turn would find something else.
    fn keep(&mut self, name: ObjectName, mut seen: Seen) -> bool {
        let Some(before) = self.objects.get(&name) else {
            self.objects.insert(name, seen);
            return true;
        };
        if !seen.is_newer(before) {
            return false;
        }
        let news = !seen.says_the_same(before);
        seen.share(before);
        self.objects.insert(name, seen);
        news
    }

    fn remove(&mut self, name: &ObjectName, is_meant: impl Fn(&Seen) -> bool) -> News {
        let is_there = self.objects.get(name).is_some_and(is_meant);
        if is_there {
            self.objects.remove(name);
        }
        if !self.objects.contains_key(name) {
            self.unread.remove(name);
        }
        News::Of(is_there.then(|| name.clone()).into_iter().collect())
    }

    /// The objects that are not the same in both.
    fn differences(&self, other: &Self) -> Vec<ObjectName> {
        let is_other = |(name, seen): &(&ObjectName, &Seen)| {
            let other = other.objects.get(*name);
            other.is_none_or(|other| !seen.says_the_same(other))
        };
        let others = self.objects.iter().filter(is_other).map(|(name, _)| name);
        let gone = other
            .objects
            .keys()
            .filter(|name| !self.objects.contains_key(*name));
        others.chain(gone).cloned().collect()
    }
}

#[cfg(test)]
impl Store {
    /// One that has seen these.
    pub(crate) fn of(objects: &[(Kind, serde_json::Value)]) -> Self {
        let store = Self::default();
        for (kind, object) in objects {
            let read = Seen::read(*kind, serde_json::from_value(object.clone()).unwrap()).unwrap();
            store.put(*kind, Ok(read));
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::{Changes, Read, Standing, Store};
    use crate::cluster::kind::Kind;
    use crate::cluster::seen::{Body, Seen};
    use clew_core::model::ObjectName;
    use serde_json::json;
    use std::collections::BTreeSet;

    fn class(name: &str, version: u32, controller: &str) -> Read {
        let object = json!({"metadata": {"name": name, "resourceVersion": version.to_string()}, "spec": {"controllerName": controller}});
        Ok(Seen::read(Kind::GatewayClass, serde_json::from_value(object).unwrap()).unwrap())
    }

    #[test]
    fn only_what_differs_is_news() {
        let store = Store::default();
        let mut news = store.subscribe();
        let mut told = || {
            std::mem::replace(&mut news, store.subscribe())
                .has_changed()
                .unwrap()
        };
        store.replace(Kind::GatewayClass, vec![class("a", 1, "x")]);
        assert!(told(), "the first list");
        store.replace(Kind::GatewayClass, vec![class("a", 1, "x")]);
        store.put(Kind::GatewayClass, class("a", 2, "x"));
        assert!(!told(), "nothing else");
        store.put(Kind::GatewayClass, class("a", 3, "y"));
        assert!(told(), "another controller");
        store.put(Kind::GatewayClass, class("a", 2, "x"));
        assert!(!told(), "an older version");
        assert!(store.changes().everything);
        assert_eq!(store.changes(), Changes::default(), "all is told once");
        store.replace(Kind::GatewayClass, vec![class("b", 4, "y"), class("c", 4, "z")]);
        let names: Vec<_> = store
            .changes()
            .objects
            .into_iter()
            .map(|(_, name)| name.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_of_what_it_tells_of_brings_nothing_back() {
        let answer = |version: &str| {
            let object = json!({"metadata": {"name": "a", "resourceVersion": version}, "spec": {"controllerName": "x"}});
            serde_json::from_value(object).unwrap()
        };
        let store = Store::default();
        store.replace(Kind::GatewayClass, vec![class("a", 1, "x")]);
        let (name, _) = class("a", 1, "x").unwrap();
        let is_there = || store.lock()[&Kind::GatewayClass].objects.contains_key(&name);
        store.gone(Kind::GatewayClass, &name, 3);
        store.answered(Kind::GatewayClass, answer("2"));
        assert!(!is_there(), "written, then deleted");
        store.replace(Kind::GatewayClass, Vec::new());
        store.answered(Kind::GatewayClass, answer("2"));
        assert!(!is_there(), "and also after a new list");
        store.answered(Kind::GatewayClass, answer("4"));
        assert!(is_there(), "made anew, which the watch has not told yet");
        store.gone(Kind::GatewayClass, &name, 3);
        assert!(is_there(), "what the watch says late is of the one before");
        store.deleted(Kind::GatewayClass, &name, "another");
        assert!(is_there(), "what was deleted here was another of this name");
        store.deleted(Kind::GatewayClass, &name, "");
        assert!(!is_there());
        store.replace(Kind::GatewayClass, vec![class("b", 9, "x")]);
        store.replace(Kind::GatewayClass, vec![class("b", 1, "x")]);
        store.answered(Kind::GatewayClass, answer("2"));
        assert!(is_there(), "a cluster that counts anew");
    }

    #[test]
    fn a_service_has_a_pod_when_a_slice_of_its_own_names_a_ready_one() {
        let slice = |namespace: &str, service: &str, ready: serde_json::Value| {
            let object = json!({
                "metadata": {"name": "a", "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
            });
            Store::of(&[(Kind::EndpointSlice, object)])
        };
        let has = |store: Store| {
            let mut services = BTreeSet::from([ObjectName::new("shop", "chat")]);
            store.forget_ready(&mut services);
            services.is_empty()
        };
        assert!(has(slice("shop", "chat", json!(true))));
        assert!(has(slice("shop", "chat", json!(null))), "it does not say");
        assert!(!has(slice("shop", "chat", json!(false))));
        assert!(!has(slice("shop", "chat-clew", json!(true))));
        assert!(!has(slice("infra", "chat", json!(true))));
        assert!(!has(Store::default()));
    }

    #[test]
    fn what_a_new_version_has_in_common_with_the_one_before_is_there_once() {
        let route = |version: u32, status: serde_json::Value| {
            let object = json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": version.to_string()}, "status": status,
                "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "chat", "port": 80}]}]}});
            Ok(Seen::read(Kind::WebSocketRoute, serde_json::from_value(object).unwrap()).unwrap())
        };
        let store = Store::default();
        let text = || match store.lock()[&Kind::WebSocketRoute].objects.values().next() {
            Some(Seen {
                body: Body::Route(route),
                ..
            }) => route.clone(),
            other => panic!("{other:?}"),
        };
        store.put(Kind::WebSocketRoute, route(1, json!({"conditions": []})));
        let before = text();
        store.put(
            Kind::WebSocketRoute,
            route(2, json!({"observedGeneration": 1, "conditions": []})),
        );
        assert!(before.is(&text()), "only its status is another");
    }

    #[test]
    fn what_was_seen_stays_while_nothing_can_be_seen() {
        let store = Store::default();
        store.failing(Kind::GatewayClass, "no".to_owned());
        assert!(
            store
                .unknown()
                .iter()
                .any(|why| why.contains("cannot be listed: no"))
        );
        store.replace(Kind::GatewayClass, vec![class("a", 1, "x")]);
        store.failing(Kind::GatewayClass, "no".to_owned());
        assert_eq!(store.lock()[&Kind::GatewayClass].objects.len(), 1);
        store.missing(Kind::GatewayClass);
        let shelves = store.lock();
        let shelf = &shelves[&Kind::GatewayClass];
        assert_eq!((shelf.objects.len(), &shelf.standing), (0, &Standing::Missing));
    }

    #[test]
    fn what_cannot_be_read_counts_as_it_was_before_also_when_all_is_listed_anew() {
        let store = Store::default();
        store.replace(Kind::GatewayClass, vec![class("a", 1, "x"), class("b", 1, "x")]);
        store.changes();
        let Ok((name, _)) = class("a", 2, "x") else {
            unreachable!("it can be read")
        };
        store.replace(Kind::GatewayClass, vec![Err((name.clone(), "no".to_owned()))]);
        let there: Vec<_> = store.lock()[&Kind::GatewayClass]
            .objects
            .keys()
            .cloned()
            .collect();
        assert_eq!(there, [name]);
        let gone: Vec<_> = store
            .changes()
            .objects
            .into_iter()
            .map(|(_, name)| name.name)
            .collect();
        assert_eq!(gone, ["b"]);
    }
}
