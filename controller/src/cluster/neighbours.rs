//! Which routes a change concerns. What two objects have in common is a topic: a host of a gateway, a Service, a rule's
//! id. Routes with a common topic are validated, rendered and written together, and so are those that have one in common
//! with these, and so on; everything else stays as it is.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use clew_core::model::{Hostname, ObjectName, Owner, RuleId, RuleName};
use clew_crds::WebSocketRoute;

use super::kind::Kind;
use super::seen::{Body, Seen};
use super::steps::Key;

/// The label by which an EndpointSlice belongs to a Service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// What the one rule of a route is called that names none.
const ONLY_RULE: &str = "default";

/// What objects have in common, as a hash: two topics that happen to have one are only looked at together in vain.
pub(crate) type Topic = u64;

#[derive(Hash)]
enum Common<'a> {
    /// A host of a Gateway, of Istio's or of Gateway API's.
    Place(bool, &'a ObjectName, &'a Hostname),
    Service(&'a ObjectName),
    Rule(&'a RuleId),
    /// The grants of a namespace.
    Grants(&'a str),
    /// Other people's rules for a host of the mesh.
    Host(&'a str),
    /// Rules for many hosts.
    ManyHosts,
    Pod(&'a ObjectName),
    /// An object that stands for routes.
    Object(&'a Key),
}

impl Common<'_> {
    fn topic(&self) -> Topic {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The topics of an object.
#[derive(Debug, Default)]
struct Topics {
    /// Of a route: what it shares with the routes that are looked at with it.
    joins: Vec<Topic>,
    /// What it only depends on.
    hangs: Vec<Topic>,
}

/// The hosts of every gateway.
pub(crate) type Hosts = HashMap<(bool, ObjectName), Vec<Hostname>>;

/// Every object that routes depend on, by its topics.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    topics: HashMap<Arc<Key>, Topics>,
    members: BTreeSet<(Topic, Arc<Key>)>,
}

impl Neighbours {
    /// A route is as it says, and as it says `before` where that is in force; `objects` stand for it, and it had the topics `former` in
    /// common with others whose objects these may be too.
    pub(crate) fn file_route<'r>(
        &mut self,
        name: &ObjectName,
        texts: impl IntoIterator<Item = &'r WebSocketRoute>,
        (objects, former): (&[Key], &[Topic]),
        hosts: &Hosts,
    ) {
        let mut topics = Topics {
            joins: former.to_vec(),
            ..Topics::default()
        };
        for text in texts {
            topics.add_route(name, text, hosts);
        }
        topics
            .hangs
            .extend(objects.iter().map(|key| Common::Object(key).topic()));
        self.file((Kind::WebSocketRoute, name.clone()), topics);
    }

    /// A policy is for sessions that go to these Services; the rest as of a route.
    pub(crate) fn file_policy(
        &mut self,
        name: &ObjectName,
        backends: &BTreeSet<ObjectName>,
        (objects, former): (&[Key], &[Topic]),
    ) {
        let mut topics = Topics {
            joins: former.to_vec(),
            ..Topics::default()
        };
        for service in backends {
            topics.add_backend(name, service);
        }
        topics
            .hangs
            .extend(objects.iter().map(|key| Common::Object(key).topic()));
        self.file((Kind::WebSocketPolicy, name.clone()), topics);
    }

    /// Another object is as it says; None: it is gone.
    pub(crate) fn file_object(&mut self, key: Key, seen: Option<&Seen>) {
        let topics = seen.map(|seen| Topics {
            joins: Vec::new(),
            hangs: of_object(&key.1, seen),
        });
        self.file(key, topics.unwrap_or_default());
    }

    fn file(&mut self, key: Key, mut topics: Topics) {
        let key = match self.topics.remove_entry(&key) {
            Some((known, before)) => {
                for topic in before.joins.iter().chain(&before.hangs) {
                    self.members.remove(&(*topic, known.clone()));
                }
                known
            }
            None => Arc::new(key),
        };
        for list in [&mut topics.joins, &mut topics.hangs] {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
            self.members
                .extend(list.iter().map(|topic| (*topic, key.clone())));
        }
        if !topics.joins.is_empty() || !topics.hangs.is_empty() {
            self.topics.insert(key, topics);
        }
    }

    /// In as little memory as it takes.
    pub(crate) fn tighten(&mut self) {
        self.topics.shrink_to_fit();
        self.members = std::mem::take(&mut self.members).into_iter().collect();
    }

    /// The routes that depend on an object, as it is filed.
    pub(crate) fn routes_of(&self, key: &Key) -> BTreeSet<Owner> {
        let mut topics = vec![Common::Object(key).topic()];
        if let Some(of) = self.topics.get(key) {
            topics.extend(&of.hangs);
        }
        if key.0 == Kind::Pod {
            let pod = Common::Pod(&key.1).topic();
            let slices = self.objects_on(pod).filter_map(|slice| self.topics.get(slice));
            topics.extend(slices.flat_map(|topics| &topics.hangs));
        }
        let routes = topics.into_iter().flat_map(|topic| self.routes_on(topic));
        routes.filter_map(|key| key.0.owner(&key.1)).collect()
    }

    /// These routes and all that have anything in common with them, and every topic in which they do.
    pub(crate) fn around(&self, routes: BTreeSet<Owner>) -> (BTreeSet<Owner>, HashSet<Topic>) {
        let mut found = HashSet::new();
        let mut waiting: VecDeque<_> = routes.iter().cloned().collect();
        let mut all = routes;
        while let Some(route) = waiting.pop_front() {
            let Some(topics) = self.of(&route) else {
                continue;
            };
            for topic in topics.joins.iter().filter(|topic| found.insert(**topic)) {
                for route in self.routes_on(*topic).filter_map(|key| key.0.owner(&key.1)) {
                    if all.insert(route.clone()) {
                        waiting.push_back(route);
                    }
                }
            }
        }
        (all, found)
    }

    /// What a route has in common with others, as it is filed.
    pub(crate) fn joins_of(&self, route: &Owner) -> &[Topic] {
        let topics = self.of(route);
        topics.map(|topics| &*topics.joins).unwrap_or_default()
    }

    /// Every other object on which these routes depend.
    pub(crate) fn objects_of(&self, routes: &BTreeSet<Owner>) -> BTreeSet<Key> {
        let topics: HashSet<_> = routes
            .iter()
            .filter_map(|route| self.of(route))
            .flat_map(|topics| topics.joins.iter().chain(&topics.hangs).copied())
            .chain([Common::ManyHosts.topic()])
            .collect();
        let objects = topics.into_iter().flat_map(|topic| self.objects_on(topic));
        objects.map(|key| Key::clone(key)).collect()
    }

    /// Whether all routes depend on an object.
    pub(crate) fn is_everybodys(&self, key: &Key) -> bool {
        let many = Common::ManyHosts.topic();
        self.topics
            .get(key)
            .is_some_and(|topics| topics.hangs.contains(&many))
    }

    /// Whether an object is part of what has one of these topics.
    pub(crate) fn is_of(&self, key: &Key, topics: &HashSet<Topic>) -> bool {
        if topics.is_empty() {
            return false;
        }
        let is_on = |key: &Key| {
            let of_it = self.topics.get(key);
            of_it.is_some_and(|of_it| of_it.hangs.iter().any(|topic| topics.contains(topic)))
        };
        let pod = Common::Pod(&key.1).topic();
        is_on(key) || key.0 == Kind::Pod && self.objects_on(pod).any(|slice| is_on(slice))
    }

    fn of(&self, route: &Owner) -> Option<&Topics> {
        self.topics.get(&(Kind::of_owner(route), route.name.clone()))
    }

    // Routes and policies are of the first kinds.
    fn routes_on(&self, topic: Topic) -> impl Iterator<Item = &Arc<Key>> {
        self.on_from(topic, Kind::WebSocketRoute)
            .take_while(|key| key.0 < Kind::Service)
    }

    fn objects_on(&self, topic: Topic) -> impl Iterator<Item = &Arc<Key>> {
        self.on_from(topic, Kind::Service)
    }

    fn on_from(&self, topic: Topic, first: Kind) -> impl Iterator<Item = &Arc<Key>> {
        let from = (topic, Arc::new((first, ObjectName::default())));
        let members = self.members.range(from..);
        members
            .take_while(move |(of, _)| *of == topic)
            .map(|(_, key)| key)
    }
}

/// The topic of a Service.
pub(crate) fn of_service(service: &ObjectName) -> Topic {
    Common::Service(service).topic()
}

impl Topics {
    fn add_route(&mut self, name: &ObjectName, route: &WebSocketRoute, hosts: &Hosts) {
        let mut hostnames: Vec<_> = route
            .spec
            .hostnames
            .iter()
            .map(|host| Hostname::new(host))
            .collect();
        if hostnames.is_empty() {
            hostnames.push(Hostname::Any);
        }
        for reference in &route.spec.parent_refs {
            let namespace = reference.namespace.as_deref().unwrap_or(&name.namespace);
            let parent = ObjectName::new(namespace, &reference.name);
            if reference.kind == "Service" {
                self.joins.push(of_service(&parent));
                continue;
            }
            let is_istios = reference.group == "networking.istio.io";
            for served in hosts.get(&(is_istios, parent.clone())).into_iter().flatten() {
                let shared = hostnames.iter().filter_map(|host| host.intersection(served));
                self.joins
                    .extend(shared.map(|host| Common::Place(is_istios, &parent, host).topic()));
            }
        }
        for rule in &route.spec.rules {
            let id = RuleId::of(&RuleName {
                route: name.clone(),
                rule: rule.name.clone().unwrap_or_else(|| ONLY_RULE.to_owned()),
            });
            self.joins.push(Common::Rule(&id).topic());
            for reference in &rule.backend_refs {
                let namespace = reference.namespace.as_deref().unwrap_or(&name.namespace);
                self.add_backend(name, &ObjectName::new(namespace, &reference.name));
            }
        }
    }

    fn add_backend(&mut self, of: &ObjectName, service: &ObjectName) {
        let namespace = &service.namespace;
        self.joins.push(of_service(service));
        if *namespace != of.namespace {
            self.hangs.push(Common::Grants(namespace).topic());
        }
        let second = format!("{}-clew", service.name);
        for name in [&*service.name, &second] {
            self.hangs.push(Common::Host(&mesh_host(name, namespace)).topic());
        }
    }
}

fn mesh_host(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc.cluster.local")
}

fn of_object(name: &ObjectName, seen: &Seen) -> Vec<Topic> {
    match &seen.body {
        Body::Service(_) => vec![of_service(name)],
        Body::EndpointSlice(slice) => {
            let labels = slice.metadata.labels.as_ref();
            let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else {
                return Vec::new();
            };
            let pods = slice.endpoints.iter().flatten().filter_map(|endpoint| {
                let pod = endpoint.target_ref.as_ref()?.name.as_ref()?;
                Some(Common::Pod(&ObjectName::new(&name.namespace, pod)).topic())
            });
            pods.chain([of_service(&ObjectName::new(&name.namespace, service))])
                .collect()
        }
        Body::ReferenceGrant(_) => vec![Common::Grants(&name.namespace).topic()],
        Body::DestinationRule(rule) => {
            let host = match rule.spec.host.as_str() {
                short if !short.contains(['.', '*']) => mesh_host(short, &name.namespace),
                full => full.to_ascii_lowercase(),
            };
            vec![match host.starts_with('*') {
                true => Common::ManyHosts.topic(),
                false => Common::Host(&host).topic(),
            }]
        }
        Body::VirtualService(service) => {
            let mut topics = Vec::new();
            let spec = &service.spec;
            for host in &spec.hosts {
                // On the mesh a host is a Service.
                let mut of_mesh = host.split('.');
                let service = of_mesh.next().unwrap_or_default();
                let namespace = of_mesh.next().unwrap_or(&name.namespace);
                topics.push(of_service(&ObjectName::new(namespace, service)));
                for gateway in &spec.gateways {
                    let (namespace, gateway) = gateway.split_once('/').unwrap_or((&name.namespace, gateway));
                    let gateway = ObjectName::new(namespace, gateway);
                    topics.push(Common::Place(true, &gateway, &Hostname::new(host)).topic());
                }
            }
            topics
        }
        _ => Vec::new(),
    }
}

/// The hosts that a gateway serves.
pub(crate) fn hosts_of(name: &ObjectName, seen: &Seen) -> Option<((bool, ObjectName), Vec<Hostname>)> {
    match &seen.body {
        Body::Gateway(gateway) => {
            let listeners = gateway.spec.listeners.iter();
            let of = |host: Option<&String>| host.map_or(Hostname::Any, |host| Hostname::new(host));
            let hosts = listeners.map(|listener| of(listener.hostname.as_ref()));
            Some(((false, name.clone()), hosts.collect()))
        }
        Body::IstioGateway(gateway) => {
            let hosts = gateway.spec.servers.iter().flat_map(|server| &server.hosts);
            let hosts =
                hosts.map(|host| Hostname::new(host.split_once('/').map_or(host.as_str(), |(_, host)| host)));
            Some(((true, name.clone()), hosts.collect()))
        }
        _ => None,
    }
}

/// Whether every route may depend on an object of the kind, or so many that all are looked at.
pub(crate) fn is_for_all(kind: Kind) -> bool {
    match kind {
        Kind::Secret
        | Kind::GatewayClass
        | Kind::Gateway
        | Kind::IstioGateway
        | Kind::WasmPlugin
        | Kind::EnvoyFilter
        | Kind::RequestAuthentication
        | Kind::AuthorizationPolicy
        | Kind::Namespace
        | Kind::EnvoyExtensionPolicy
        | Kind::EnvoyProxy
        | Kind::ClientTrafficPolicy => true,
        Kind::WebSocketRoute
        | Kind::WebSocketPolicy
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::HttpRoute
        | Kind::ReferenceGrant
        | Kind::VirtualService
        | Kind::DestinationRule
        | Kind::BackendTrafficPolicy => false,
    }
}
