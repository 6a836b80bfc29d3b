//! What was seen → what a turn works on, all of it as of one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clew_core::in_force::InForce;
use clew_core::model::{BackendId, ObjectName, Owner, OwnerKind, Proxies};
use clew_core::objects::{HttpRoute, Objects, ParentKind, PodEnd, RootNamespace, Source, Sourced};
use clew_core::render::{MANAGED_BY, MANAGER};
use clew_core::validate::name_of;
use clew_crds::{WebSocketPolicy, WebSocketRoute};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::about::About;
use super::gateway_pods;
use super::kind::Kind;
use super::neighbours::is_for_all;
use super::secrets;
use super::seen::{Body, Plugin, PodFacts, Seen};
use super::store::{Shelves, Standing};
use crate::packed::Packed;

/// Holds a route back from deletion while objects of it are in other namespaces, where it cannot own them.
pub(crate) const FINALIZER: &str = "clew.dev/objects-elsewhere";
/// The spec of a route or policy as it last was good, so that a controller that starts knows it too.
pub(crate) const IN_FORCE: &str = "clew.dev/in-force";

/// What we write onto a route beside its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// [`FINALIZER`].
    pub(crate) held: bool,
    /// [`IN_FORCE`].
    pub(crate) in_force: Option<String>,
}

/// Everything that a turn works on.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) objects: Objects,
    /// Kinds that are not installed.
    pub(crate) missing: BTreeSet<Kind>,
    /// The text of each route, as it is kept too.
    pub(crate) texts: BTreeMap<ObjectName, (Packed<WebSocketRoute>, Arc<WebSocketRoute>)>,
    /// Of each route.
    pub(crate) uids: BTreeMap<Owner, String>,
    /// What we have written onto each route.
    pub(crate) marks: BTreeMap<Owner, Marks>,
    /// Routes that are to be deleted as soon as nothing of theirs is left.
    pub(crate) leaving: BTreeSet<Owner>,
    pub(crate) pods: BTreeMap<ObjectName, Arc<PodFacts>>,
    /// Of each gateway the backends that sessions are on, whether a rule leads there or not.
    pub(crate) lingering: BTreeMap<String, BTreeSet<BackendId>>,
    /// Where the filter is installed: the gateway that it serves, and the plugin's namespace.
    pub(crate) plugins: BTreeMap<(String, String), Arc<Plugin>>,
    /// Which key signs, as its Secret says, and that Secret.
    pub(crate) signing: Option<(ObjectName, Option<String>)>,
}

impl Resolved {
    /// What is on the shelves and concerns a turn. `None`: without the routes' own kind nothing can be said of them, and
    /// nothing done.
    pub(crate) fn read(shelves: &Shelves, about: &About) -> Option<Self> {
        if shelves.get(&Kind::WebSocketRoute)?.standing == Standing::Missing {
            return None;
        }
        let mut resolved = Self::default();
        for (kind, shelf) in shelves {
            if shelf.standing == Standing::Missing {
                resolved.missing.insert(*kind);
            }
            // Rules of any of them may be called as those of another one.
            let is_of_policies = matches!(kind, Kind::HttpRoute | Kind::BackendTrafficPolicy)
                && about.routes.iter().any(|owner| owner.kind == OwnerKind::Policy);
            if !about.everything && !is_for_all(*kind) && !is_of_policies {
                continue;
            }
            for (name, seen) in &shelf.objects {
                resolved.add(name, seen);
            }
        }
        if !about.everything {
            resolved.add_part(about, shelves);
        }
        resolved.name_ours(shelves);
        for (kind, parent) in [
            (Kind::Gateway, ParentKind::Gateway),
            (Kind::IstioGateway, ParentKind::IstioGateway),
        ] {
            if resolved.missing.contains(&kind) {
                resolved.objects.unknown_parents.insert(parent);
            }
        }
        resolved.objects.gateway_pods = gateway_pods::labels(&resolved.objects, &resolved.pods);
        Some(resolved)
    }

    /// Where this is Istio's root namespace.
    pub(crate) fn under(mut self, root: &RootNamespace) -> Self {
        self.objects.root_namespace = root.clone();
        self
    }

    fn add_part(&mut self, about: &About, shelves: &Shelves) {
        let find = |kind: Kind, name: &ObjectName| shelves.get(&kind)?.objects.get(name);
        for route in &about.routes {
            if let Some(seen) = find(Kind::of_owner(route), &route.name) {
                self.add(&route.name, seen);
            }
        }
        for (kind, name) in about.objects.iter().filter(|key| !is_for_all(key.0)) {
            if let Some(seen) = find(*kind, name) {
                self.add(name, seen);
            }
        }
        let slices = self.objects.endpoint_slices.clone();
        for slice in &slices {
            let namespace = slice.object.metadata.namespace.clone().unwrap_or_default();
            for endpoint in slice.object.endpoints.iter().flatten() {
                let pod = endpoint
                    .target_ref
                    .as_ref()
                    .and_then(|target| target.name.clone());
                let pod = ObjectName::new(&namespace, pod.unwrap_or_default());
                if let Some(seen) = find(Kind::Pod, &pod) {
                    self.add(&pod, seen);
                }
            }
        }
    }

    /// Of our own HTTPRoutes those that a policy names, so that it is told whose they are.
    fn name_ours(&mut self, shelves: &Shelves) {
        let Some(shelf) = shelves.get(&Kind::HttpRoute) else {
            return;
        };
        let mut named = BTreeSet::new();
        for policy in &self.objects.policies {
            let namespace = name_of(&policy.object.metadata).namespace;
            let targets = policy.object.spec.target_refs.iter();
            named.extend(targets.map(|target| ObjectName::new(&namespace, &target.name)));
        }
        let is_ours = |name: &ObjectName| {
            let seen = shelf.objects.get(name);
            seen.is_some_and(|seen| matches!(seen.body, Body::Ours))
        };
        for name in named.into_iter().filter(is_ours) {
            let metadata = ObjectMeta {
                namespace: Some(name.namespace.into()),
                name: Some(name.name.into()),
                labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            };
            let route = HttpRoute {
                metadata,
                ..HttpRoute::default()
            };
            self.objects.http_routes.push(sourced(&Arc::new(route)));
        }
    }

    /// What we have written onto something that has rules. False: it is to be deleted, and has none any more.
    fn note(&mut self, owner: Owner, metadata: &ObjectMeta, seen: &Seen) -> bool {
        self.marks.insert(owner.clone(), Marks::of(metadata));
        if metadata.deletion_timestamp.is_some() {
            self.leaving.insert(owner);
            return false;
        }
        self.uids.insert(owner, seen.uid.clone());
        true
    }

    fn add(&mut self, name: &ObjectName, seen: &Seen) {
        match &seen.body {
            Body::Route(text) => {
                let Some(route) = text.open().map(Arc::new) else {
                    return;
                };
                if self.note(Owner::route(name.clone()), &route.metadata, seen) {
                    self.objects.routes.push(sourced(&route));
                    self.texts.insert(name.clone(), (text.clone(), route));
                }
                return;
            }
            Body::Policy(policy) => {
                if self.note(Owner::policy(name.clone()), &policy.metadata, seen) {
                    self.objects.policies.push(sourced(policy));
                }
                return;
            }
            _ => {}
        }
        let objects = &mut self.objects;
        match &seen.body {
            Body::HttpRoute(route) => objects.http_routes.push(sourced(route)),
            Body::TrafficPolicy(policy) => objects.backend_traffic_policies.push(sourced(policy)),
            Body::Service(service) => objects.services.extend(opened(service)),
            Body::EndpointSlice(slice) => objects.endpoint_slices.push(sourced(slice)),
            Body::Secret(secret) => {
                self.signing = Some((name.clone(), secrets::signer(secret)));
                objects.secrets.push(sourced(secret));
            }
            Body::Gateway(gateway) => objects.gateways.push(sourced(gateway)),
            Body::ReferenceGrant(grant) => objects.grants.push(sourced(grant)),
            Body::IstioGateway(gateway) => objects.istio_gateways.push(sourced(gateway)),
            Body::VirtualService(service) => objects.virtual_services.push(sourced(service)),
            Body::DestinationRule(rule) => objects.destination_rules.push(sourced(rule)),
            Body::Pod(facts) => {
                let end = PodEnd {
                    grace_seconds: facts.grace_seconds,
                    sleep_seconds: facts.pre_stop_seconds.unwrap_or(0),
                };
                objects.pods.insert(name.clone(), end);
                self.pods.insert(name.clone(), facts.clone());
            }
            Body::EnvoyFilter(filter) => objects.envoy_filters.push(sourced(filter)),
            Body::RequestAuthentication(policy) => objects.request_authentications.push(sourced(policy)),
            Body::AuthorizationPolicy(policy) => objects.authorization_policies.push(sourced(policy)),
            Body::Namespace(labels) => {
                objects.namespaces.insert(name.name.to_string(), labels.clone());
            }
            Body::GatewayClass(class) => objects.gateway_classes.push(sourced(class)),
            Body::ExtensionPolicy(policy, plugin) => {
                if let Some(plugin) = plugin {
                    let key = (plugin.gateway.clone(), name.namespace.to_string());
                    self.plugins.insert(key, plugin.clone());
                }
                objects.extension_policies.push(sourced(policy));
            }
            Body::WasmPlugin(Some(plugin)) => {
                let key = (plugin.gateway.clone(), name.namespace.to_string());
                self.plugins.insert(key, plugin.clone());
            }
            Body::Route(_) | Body::Policy(_) | Body::WasmPlugin(None) | Body::Unread | Body::Ours => {}
        }
    }

    /// The routes and policies as they last were good to a controller before us, as far as they are marked so.
    pub(crate) fn in_force_before(&self) -> InForce {
        fn spec<T: DeserializeOwned>(metadata: &ObjectMeta) -> Option<T> {
            serde_json::from_str(&Marks::of(metadata).in_force?).ok()
        }
        let routes = self.objects.routes.iter().filter_map(|route| {
            let metadata = &route.object.metadata;
            let before = WebSocketRoute {
                metadata: metadata.clone(),
                spec: spec(metadata)?,
                status: None,
            };
            Some((name_of(metadata), Arc::new(before)))
        });
        let policies = self.objects.policies.iter().filter_map(|policy| {
            let metadata = &policy.object.metadata;
            let before = WebSocketPolicy {
                metadata: metadata.clone(),
                spec: spec(metadata)?,
                status: None,
            };
            Some((name_of(metadata), Arc::new(before)))
        });
        InForce::default().with(routes.collect(), policies.collect())
    }

    /// Every gateway that there is and may have the filter, by its pods.
    pub(crate) fn gateways(&self) -> BTreeSet<Proxies> {
        let of_classes = self.objects.gateways.iter().flat_map(|gateway| {
            let name = name_of(&gateway.object.metadata);
            // Of one class only: the filter is installed by what the other has no use for.
            [Proxies::Of(name.clone()), Proxies::OfEnvoyGateway(name)]
        });
        let istios = self.objects.istio_gateways.iter();
        let istios = istios.map(|gateway| Proxies::Selected(gateway.object.spec.selector.clone()));
        of_classes.chain(istios).collect()
    }
}

impl Marks {
    fn of(metadata: &ObjectMeta) -> Self {
        let mut finalizers = metadata.finalizers.iter().flatten();
        let annotations = metadata.annotations.as_ref();
        Self {
            held: finalizers.any(|one| one == FINALIZER),
            in_force: annotations.and_then(|all| all.get(IN_FORCE)).cloned(),
        }
    }
}

fn opened<T: Serialize + DeserializeOwned>(object: &Packed<T>) -> Option<Sourced<T>> {
    object.open().map(|object| sourced(&Arc::new(object)))
}

fn sourced<T>(object: &Arc<T>) -> Sourced<T> {
    Sourced {
        object: object.clone(),
        source: Source::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::{FINALIZER, IN_FORCE, Resolved};
    use crate::cluster::about::About;
    use crate::cluster::kind::Kind;
    use crate::cluster::store::Store;
    use clew_core::model::{ObjectName, Owner, Proxies};
    use serde_json::{Value, json};

    fn read(store: &Store) -> Option<Resolved> {
        Resolved::read(&store.lock(), &About::all())
    }

    fn route(metadata: Value) -> Value {
        json!({"metadata": metadata, "spec": {
            "parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "chat", "port": 80}]}],
        }})
    }

    #[test]
    fn a_route_that_is_being_deleted_is_gone_but_for_what_it_left() {
        let store = Store::of(&[
            (
                Kind::WebSocketRoute,
                route(json!({"name": "a", "namespace": "b", "uid": "1"})),
            ),
            (
                Kind::WebSocketRoute,
                route(
                    json!({"name": "c", "namespace": "b", "uid": "2", "finalizers": [FINALIZER],
                    "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                ),
            ),
        ]);
        let resolved = read(&store).unwrap();
        assert_eq!(resolved.objects.routes.len(), 1);
        assert_eq!(resolved.uids[&Owner::route(ObjectName::new("b", "a"))], "1");
        let leaving = Owner::route(ObjectName::new("b", "c"));
        assert_eq!(resolved.leaving, [leaving.clone()].into());
        assert!(resolved.marks[&leaving].held);
        store.missing(Kind::WebSocketRoute);
        assert!(read(&store).is_none(), "nothing is known of any route");
    }

    #[test]
    fn a_policy_that_is_refused_says_how_it_last_was_good() {
        let spec = |header: &str| {
            json!({
                "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "chat"}],
                "sessionKey": {"sources": [{"type": "Header", "header": {"name": header}}]},
            })
        };
        let good = spec("x-good").to_string();
        let refused = json!({
            "metadata": {"name": "a", "namespace": "b", "annotations": {IN_FORCE: good}}, "spec": spec("x-new"),
        });
        let resolved = read(&Store::of(&[
            (
                Kind::WebSocketRoute,
                route(json!({"name": "c", "namespace": "b"})),
            ),
            (Kind::WebSocketPolicy, refused),
        ]))
        .unwrap();
        let before = resolved.in_force_before();
        let specs: Vec<_> = before
            .policies()
            .map(|policy| serde_json::to_string(&policy.spec.policy.session_key).unwrap())
            .collect();
        assert_eq!(specs.len(), 1);
        assert!(specs[0].contains("x-good"), "{specs:?}");
        assert_eq!(before.routes().count(), 0, "an unmarked one never was good");
    }

    #[test]
    fn a_route_that_is_refused_says_how_it_last_was_good() {
        let good = route(json!({}))["spec"].to_string();
        let mut refused = route(json!({"name": "a", "namespace": "b", "annotations": {IN_FORCE: good}}));
        refused["spec"]["rules"][0]["backendRefs"][0]["port"] = json!(81);
        let resolved = read(&Store::of(&[(Kind::WebSocketRoute, refused)])).unwrap();
        let before = resolved.in_force_before();
        let ports: Vec<_> = before
            .routes()
            .map(|route| route.spec.rules[0].backend_refs[0].port)
            .collect();
        assert_eq!(ports, [Some(80)]);
    }

    #[test]
    fn the_filter_is_where_a_policy_of_ours_says_and_who_serves_a_class_is_known() {
        let policy = |module: &str| {
            json!({"metadata": {"name": "edge-clew", "namespace": "infra"}, "spec": {"wasm": [{
                "name": module, "config": {"gateway": "infra/edge"},
                "code": {"type": "HTTP", "http": {"url": "http://clew/module/a.wasm", "sha256": "a"}},
            }]}})
        };
        let class = json!({"metadata": {"name": "eg"}, "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}});
        let proxies = Proxies::OfEnvoyGateway(ObjectName::new("infra", "edge"));
        for (module, installed) in [("clew", true), ("other", false)] {
            let store = Store::of(&[
                (Kind::GatewayClass, class.clone()),
                (Kind::EnvoyExtensionPolicy, policy(module)),
            ]);
            let resolved = read(&store).unwrap();
            assert_eq!(resolved.is_installed(&proxies), installed);
            assert_eq!(resolved.objects.gateway_classes.len(), 1);
        }
    }
}
