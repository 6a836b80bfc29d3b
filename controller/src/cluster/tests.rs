//! Turns about what changed come to the same as one turn about everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::model::{ObjectName, Owner};
use clew_core::objects::RootNamespace;
use clew_core::status::{Progress, status};
use clew_core::validate::Target;
use clew_filter_config::channel::Update;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::difference::differs;
use super::kind::Kind;
use super::lease::Leadership;
use super::seen::Seen;
use super::steps::Key;
use super::store::Store;
use super::{Cluster, Plan, Scope, Settings};
use crate::channel::Channel;
use crate::finding::Finding;
use crate::metrics::Metrics;

mod carried;
mod promptness;
mod proxies;
mod wakes;

const EDITS: usize = 40;
const SEEDS: u64 = 6;

/// What was decided by all turns so far.
#[derive(Default)]
struct Decided {
    statuses: BTreeMap<Owner, String>,
    routes_of_last: usize,
}

struct World {
    store: Arc<Store>,
    cluster: Cluster,
    decided: Decided,
    /// What turns took away.
    taken: BTreeSet<String>,
    version: u64,
}

fn cluster(store: &Arc<Store>) -> Cluster {
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let settings = Settings {
        scope: Scope {
            namespace: "clew-system".to_owned(),
            watched: None,
            root_namespace: RootNamespace::new("istio-system"),
        },
        listen: "127.0.0.1:0".parse().unwrap(),
        reached: None,
        status_page: false,
        identity: String::new(),
    };
    let leadership = Arc::<Leadership>::default();
    let channel = Channel::with_peers("e".into(), "s".into(), leadership.subscribe());
    Cluster::new(
        client,
        &settings,
        store.clone(),
        channel,
        leadership,
        Arc::new(Metrics::new()),
    )
}

impl World {
    fn new() -> Self {
        let store = Arc::<Store>::default();
        for kind in Kind::ALL {
            store.replace(kind, Vec::new());
        }
        Self {
            cluster: cluster(&store),
            store,
            decided: Decided::default(),
            taken: BTreeSet::new(),
            version: 0,
        }
    }

    fn put(&mut self, kind: Kind, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let read = Seen::read(kind, serde_json::from_value(object).unwrap()).unwrap();
        self.store.put(kind, Ok(read));
    }

    /// One turn, and what the one who leads would write.
    async fn turn(&mut self) {
        self.turn_while(|_| {}).await;
    }

    /// A turn while something changes.
    async fn turn_while(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let known = self.known();
        let (about, resolved) = self.cluster.resolve().unwrap();
        let mut in_force = self.cluster.in_force(&about, &resolved);
        let validated = in_force.validate(&resolved.objects, Target::Every);
        let drains = self.cluster.observe(&about, &validated.world, &resolved);
        let plan = Plan::new(&validated.world, &resolved, &in_force, drains);
        self.cluster.keep_in_force(&about, &resolved, in_force);
        meanwhile(self);
        self.cluster.applier.settle();
        let applied = self.cluster.apply(&about, &resolved, &plan).await;
        for route in &about.routes {
            self.decided.statuses.remove(route);
        }
        self.decided.routes_of_last = validated.routes.len();
        let now = Time("2026-01-01T00:00:00Z".parse().unwrap());
        for report in &validated.routes {
            let mut said = status(report, |_| Progress::Carried, None, &now);
            said.name_generated(plan.generated.get(&report.owner()).cloned().unwrap_or_default());
            let marks = &plan.marks[&report.owner()];
            let said = format!("{} {marks:?}", json!(said));
            self.decided.statuses.insert(report.owner(), said);
        }
        let wanted: BTreeSet<_> = plan.wanted.iter().map(|one| one.key.clone()).collect();
        let mut is_still = true;
        for one in &plan.wanted {
            let there = self.store.live([one.key.clone()]);
            let is_as_wanted = there.get(&one.key).is_some_and(|(_, live)| {
                live.is_written && !differs(one.key.0, &one.object.value(), &live.object())
            });
            if is_as_wanted {
                continue;
            }
            is_still = false;
            let mut object = one.object.value();
            object["metadata"]["managedFields"] = json!([{"manager": "clew.dev/controller"}]);
            object["metadata"]["uid"] = json!(format!("uid-{}", one.key.1));
            self.put(one.key.0, object);
        }
        let there = self.store.live(about.written.iter().cloned());
        for (key, _) in there
            .iter()
            .filter(|(key, (_, live))| live.is_written && !wanted.contains(*key))
        {
            // What routes needed goes in a later turn than they.
            if is_still || key.0.is_route() {
                self.store.gone(key.0, &key.1, 0);
                self.taken.insert(format!("{} {}", key.0, key.1));
            }
        }
        let outcome = super::Outcome {
            validated,
            plan,
            applied,
            took: std::time::Duration::ZERO,
        };
        self.cluster.report(&about, outcome).await;
        if about.everything {
            self.cluster.give_back();
        }
        let now = self.known();
        self.taken.extend(known.difference(&now).cloned());
    }

    /// The backends that filters know.
    fn known(&self) -> BTreeSet<String> {
        let of = |(gateway, update): (String, Update)| {
            let backends = update.backends.into_keys();
            backends
                .map(|backend| format!("{gateway} {backend}"))
                .collect::<Vec<_>>()
        };
        self.told().into_iter().flat_map(of).collect()
    }

    /// All that is written, and all that filters know.
    fn there(&self) -> BTreeSet<String> {
        let written = self.written().into_keys();
        let written = written.map(|key| format!("{} {}", key.0, key.1));
        written.chain(self.known()).collect()
    }

    async fn settle(&mut self) {
        let mut news = self.store.subscribe();
        for _ in 0..12 {
            news.mark_unchanged();
            self.turn().await;
            if !news.has_changed().unwrap() && !self.cluster.memory.hasten() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The same cluster, to somebody who has seen nothing of how it came about.
    fn fresh(&self) -> Self {
        let store = Arc::<Store>::default();
        let shelves = self.store.lock();
        for (kind, shelf) in &*shelves {
            let all = shelf.objects.iter();
            store.replace(
                *kind,
                all.map(|(name, seen)| Ok((name.clone(), seen.clone()))).collect(),
            );
        }
        drop(shelves);
        let mut cluster = cluster(&store);
        // What was good, and since when pods leave, is not in the cluster.
        cluster.last_good.clone_from(&self.cluster.last_good);
        cluster.drains.clone_from(&self.cluster.drains);
        cluster.memory.look_at_everything();
        Self {
            store,
            cluster,
            decided: Decided::default(),
            taken: BTreeSet::new(),
            version: self.version,
        }
    }

    /// What was found wrong with routes.
    fn said(&self) -> Vec<(&String, &BTreeSet<Finding>)> {
        let of_routes = |(object, _): &(&String, &BTreeSet<Finding>)| {
            object.starts_with("WebSocketRoute ") || object.starts_with("WebSocketPolicy ")
        };
        self.cluster.said.iter().filter(of_routes).collect()
    }

    /// The orders on pods that cannot be read.
    fn unread(&self) -> BTreeSet<&Finding> {
        self.cluster.drains.unread().collect()
    }

    fn written(&self) -> BTreeMap<Key, Value> {
        let shelves = self.store.lock();
        let mut all = BTreeMap::new();
        for (kind, shelf) in &*shelves {
            for (name, seen) in &shelf.objects {
                if let Some(live) = seen.live.as_ref().filter(|live| live.is_written) {
                    all.insert((*kind, name.clone()), live.object());
                }
            }
        }
        all
    }

    /// What each gateway's filters are told, without what tells one life of a controller from another.
    fn told(&self) -> BTreeMap<String, Update> {
        let channel = &self.cluster.channel;
        let all = |gateway: String| {
            let everything = channel.everything(&gateway)?;
            let something = !everything.rules.is_empty() || !everything.backends.is_empty();
            something.then_some((gateway, everything))
        };
        channel.gateways().into_iter().filter_map(all).collect()
    }
}

/// Numbers that look like chance, and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn gateways(world: &mut World) {
    let servers = json!([{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*"]}]);
    world.put(
        Kind::IstioGateway,
        json!({"metadata": {"name": "edge", "namespace": "infra"},
            "spec": {"selector": {"istio": "edge"}, "servers": servers}}),
    );
    for (class, controller) in [
        ("eg", "gateway.envoyproxy.io/gatewayclass-controller"),
        ("other", "example.com/other"),
    ] {
        world.put(
            Kind::GatewayClass,
            json!({"metadata": {"name": class}, "spec": {"controllerName": controller}}),
        );
    }
    for (name, class) in [("front", "istio"), ("eg", "eg"), ("other", "other")] {
        world.put(Kind::Gateway, json!({"metadata": {"name": name, "namespace": "infra"}, "spec": {"gatewayClassName": class,
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}]}}));
    }
}

fn edit(world: &mut World, chance: &mut Chance) {
    let namespace = format!("n{}", chance.below(2));
    let number = chance.below(5);
    let (kind, name, is_gone) = (chance.below(24), format!("x{number}"), chance.below(4) == 0);
    let kind = match kind {
        0..=6 => Kind::WebSocketRoute,
        7 | 8 => Kind::Service,
        9 => Kind::EndpointSlice,
        10 => Kind::DestinationRule,
        11 => Kind::VirtualService,
        12 => Kind::ReferenceGrant,
        13 | 14 => Kind::Pod,
        15 => Kind::RequestAuthentication,
        16 => Kind::EnvoyFilter,
        17 => Kind::EnvoyExtensionPolicy,
        18 | 19 => Kind::WebSocketPolicy,
        20 | 21 => Kind::HttpRoute,
        22 => Kind::BackendTrafficPolicy,
        _ => Kind::WasmPlugin,
    };
    if is_gone {
        let called = ObjectName::new(&namespace, &name);
        world.store.gone(kind, &called, 0);
        return;
    }
    let mut metadata = json!({"name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "generation": 1,
        "creationTimestamp": format!("2026-01-0{}T00:00:00Z", number + 1)});
    if kind == Kind::EnvoyExtensionPolicy && chance.below(2) == 0 {
        metadata["annotations"] = json!({"clew.dev/drain": "2026-01-01T00:00:00Z"});
    }
    if kind == Kind::Pod {
        match chance.below(5) {
            0 => metadata["annotations"] = json!({"clew.dev/drain": "2026-01-01T00:00:00Z"}),
            1 => metadata["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"),
            2 => metadata["labels"] = json!({"istio": "edge"}),
            3 => metadata["annotations"] = json!({"clew.dev/drain": "some day"}),
            _ => {}
        }
    }
    let spec = match kind {
        Kind::WebSocketRoute => {
            let parents = [
                json!({"group": "networking.istio.io", "kind": "Gateway", "name": "edge", "namespace": "infra"}),
                json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front", "namespace": "infra"}),
                json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg", "namespace": "infra"}),
                json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other", "namespace": "infra"}),
                json!({"group": "", "kind": "Service", "name": format!("x{}", chance.below(5))}),
            ];
            let backend = |chance: &mut Chance| {
                json!({"name": format!("x{}", chance.below(5)), "port": 80 + chance.below(2),
                    "namespace": format!("n{}", chance.below(2))})
            };
            let backends: Vec<_> = (0..=chance.below(2)).map(|_| backend(chance)).collect();
            let rule = json!({"name": "r", "backendRefs": backends,
                "matches": [{"path": {"type": "PathPrefix", "value": format!("/{}", chance.below(2))}}],
                "drain": {"timeout": format!("{}s", 10 + chance.below(2))},
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": format!("k{}", chance.below(2))}}]}});
            let some: Vec<_> = parents.into_iter().filter(|_| chance.below(3) == 0).collect();
            let hosts = ["h0.example.com", "h1.example.com", "*.example.com"];
            let hosts: Vec<_> = hosts.into_iter().filter(|_| chance.below(2) == 0).collect();
            json!({"parentRefs": some, "rules": [rule], "hostnames": hosts})
        }
        Kind::WebSocketPolicy => {
            let target = |chance: &mut Chance| {
                let name = format!("x{}", chance.below(5));
                let mut target =
                    json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name});
                if chance.below(2) == 0 {
                    target["sectionName"] = json!("r");
                }
                target
            };
            let targets: Vec<_> = (0..=chance.below(2)).map(|_| target(chance)).collect();
            json!({"targetRefs": targets, "drain": {"timeout": format!("{}s", 8 + chance.below(4))},
                "sessionKey": {"sources": [{"type": "QueryParam", "queryParam": {"name": format!("k{}", chance.below(2))}}]}})
        }
        Kind::HttpRoute => {
            let parents = ["front", "eg", "other"]
                .into_iter()
                .filter(|_| chance.below(2) == 0);
            let parents: Vec<_> = parents
                .map(|name| json!({"name": name, "namespace": "infra"}))
                .collect();
            let backend = json!([{"name": format!("x{}", chance.below(5)), "port": 80}]);
            let mut rules = vec![json!({"name": "r", "backendRefs": backend})];
            if chance.below(2) == 0 {
                rules.insert(
                    0,
                    json!({"backendRefs": [{"name": "x0", "port": 80, "namespace": "n0"}]}),
                );
            }
            json!({"parentRefs": parents, "rules": rules})
        }
        Kind::BackendTrafficPolicy => {
            let name = format!("x{}", chance.below(5));
            json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}]})
        }
        Kind::Service => {
            json!({"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
        }
        Kind::DestinationRule => {
            let host = ["x0", "x1", "x2.n0.svc.cluster.local", "*.n1.svc.cluster.local"];
            let host = host[usize::try_from(chance.below(4)).unwrap()];
            let to = if chance.below(2) == 0 { "*" } else { "." };
            json!({"host": host, "exportTo": [to]})
        }
        Kind::VirtualService => {
            json!({"hosts": ["h0.example.com", "x1.n0.svc.cluster.local"], "gateways": ["infra/edge", "mesh"],
            "http": [{"match": [{"uri": {"prefix": "/0"}}]}]})
        }
        Kind::Pod => {
            json!({"containers": [{"name": "c"}], "terminationGracePeriodSeconds": 5 + 10 * chance.below(2)})
        }
        Kind::RequestAuthentication => {
            json!({"jwtRules": [{"issuer": "i", "outputPayloadToHeader": "x-clew-jwt-payload"}]})
        }
        Kind::EnvoyFilter => {
            json!({"configPatches": [{"applyTo": "HTTP_FILTER", "match": {"context": "GATEWAY"}}]})
        }
        Kind::EnvoyExtensionPolicy => {
            json!({"wasm": [{"name": "clew", "config": {"gateway": "infra/eg"}, "code": {"http": {"url": "u", "sha256": "0"}}}]})
        }
        Kind::WasmPlugin => json!({"pluginName": "clew", "pluginConfig": {"gateway": "istio=edge"}}),
        _ => {
            json!({"from": [{"group": "clew.dev", "kind": "WebSocketRoute", "namespace": "n0"}], "to": [{"group": "", "kind": "Service"}]})
        }
    };
    let mut object = json!({"metadata": metadata, "spec": spec});
    if kind == Kind::EndpointSlice {
        let terminating = chance.below(2) == 0;
        object = json!({"metadata": metadata, "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [format!("10.0.{number}.1")], "conditions": {"ready": !terminating, "terminating": terminating},
                "targetRef": {"kind": "Pod", "name": format!("x{}", chance.below(5)), "uid": "u"}}]});
        object["metadata"]["labels"] = json!({"kubernetes.io/service-name": format!("x{}", chance.below(5))});
    }
    world.put(kind, object);
}

#[tokio::test]
async fn turns_about_what_changed_come_to_the_same_as_one_about_everything() {
    let mut smaller = 0;
    for seed in 1..=SEEDS {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::new();
        gateways(&mut world);
        world.settle().await;
        for number in 0..EDITS {
            world.taken.clear();
            edit(&mut world, &mut chance);
            let is_edited_meanwhile = chance.below(3) == 0;
            match is_edited_meanwhile {
                true => world.turn_while(|world| edit(world, &mut chance)).await,
                false => world.turn().await,
            }
            smaller += usize::from(world.decided.routes_of_last < world.decided.statuses.len());
            world.settle().await;
            let mut fresh = world.fresh();
            fresh.settle().await;
            let at = format!("seed {seed}, edit {number}");
            assert_eq!(world.written(), fresh.written(), "{at}");
            let missed: Vec<_> = world.taken.intersection(&fresh.there()).cloned().collect();
            assert!(
                is_edited_meanwhile || missed.is_empty(),
                "{at}: taken and wanted: {missed:?}"
            );
            assert_eq!(world.told(), fresh.told(), "{at}");
            assert_eq!(world.decided.statuses, fresh.decided.statuses, "{at}");
            assert_eq!(world.said(), fresh.said(), "{at}");
            assert_eq!(world.unread(), fresh.unread(), "{at}");
            let counts = |world: &World| {
                let memory = &world.cluster.memory;
                (memory.accepted, memory.refused, memory.unprogrammed)
            };
            assert_eq!(counts(&world), counts(&fresh), "{at}");
        }
    }
    assert!(smaller > 40, "{smaller} turns were about less than everything");
}
