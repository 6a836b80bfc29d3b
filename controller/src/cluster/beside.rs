//! What no turn looks at, and of which an edit cuts sessions as well: Istio's Telemetries and other people's WasmPlugins, and
//! the policies of Envoy Gateway that act on listeners.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::ObjectName;
use clew_core::objects::{Bystander, Reach};
use clew_core::render::{MANAGED_BY, MANAGER};
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::kind::Kind;
use super::seen::Plugin;

/// Of a BackendTrafficPolicy only these are filters of a listener.
const FILTERS: [&str; 6] = [
    "faultInjection",
    "rateLimit",
    "compression",
    "compressor",
    "requestBuffer",
    "responseOverride",
];

/// What was found, and the kinds that may not be listed.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) bystanders: Vec<Bystander>,
    pub(super) hidden: Vec<&'static str>,
}

impl Beside {
    /// Lists them. A kind that is not installed has none.
    ///
    /// # Errors
    /// When one cannot be listed for another reason than a lack of permission.
    pub(super) async fn look(client: &Client) -> kube::Result<Self> {
        let mut beside = Self::default();
        let telemetry = resource("telemetry.istio.io", "v1", "Telemetry", "telemetries");
        for (kind, resource) in [
            ("Telemetry", telemetry),
            ("WasmPlugin", Kind::WasmPlugin.resource()),
        ] {
            for object in beside.list(client, kind, &resource).await? {
                // Whoever carries ours there, such as Helm, may have labelled it.
                if Plugin::of(Kind::WasmPlugin, &json!(object)).is_none() {
                    // Of another shape it says nothing of pods, and is for all.
                    let scope = serde_json::from_value(object.data["spec"].clone()).unwrap_or_default();
                    beside.add(kind, &object, Reach::Pods(scope));
                }
            }
        }
        beside.look_at_envoy_gateways(client).await?;
        Ok(beside)
    }

    async fn look_at_envoy_gateways(&mut self, client: &Client) -> kube::Result<()> {
        let mut policies = Vec::new();
        for (kind, plural) in [
            ("SecurityPolicy", "securitypolicies"),
            ("BackendTrafficPolicy", "backendtrafficpolicies"),
            ("ClientTrafficPolicy", "clienttrafficpolicies"),
            ("EnvoyExtensionPolicy", "envoyextensionpolicies"),
        ] {
            let resource = resource("gateway.envoyproxy.io", "v1alpha1", kind, plural);
            let all = self.list(client, kind, &resource).await?;
            policies.extend(all.into_iter().map(|policy| (kind, policy)));
        }
        policies.retain(|(kind, policy)| is_theirs(policy) && is_of_listeners(kind, &policy.data["spec"]));
        if policies.is_empty() {
            return Ok(());
        }
        let routes = self
            .list(client, "HTTPRoute", &Kind::HttpRoute.resource())
            .await?;
        let routes: BTreeMap<_, _> = routes
            .iter()
            .map(|route| (name(route), gateways(route)))
            .collect();
        for (kind, policy) in &policies {
            self.add(kind, policy, Reach::Gateways(reach(policy, &routes)));
        }
        Ok(())
    }

    async fn list(
        &mut self,
        client: &Client,
        kind: &'static str,
        resource: &ApiResource,
    ) -> kube::Result<Vec<DynamicObject>> {
        let listed = Api::<DynamicObject>::all_with(client.clone(), resource);
        match listed.list(&ListParams::default()).await {
            Ok(listed) => Ok(listed.items),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.hidden.push(kind);
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, kind: &'static str, object: &DynamicObject, reach: Reach) {
        self.bystanders.push(Bystander {
            kind,
            name: name(object),
            reach,
        });
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

fn name(object: &DynamicObject) -> ObjectName {
    ObjectName::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn is_theirs(policy: &DynamicObject) -> bool {
    policy.labels().get(MANAGED_BY).map(String::as_str) != Some(MANAGER)
        && Plugin::of(Kind::EnvoyExtensionPolicy, &json!(policy)).is_none()
}

fn is_of_listeners(kind: &str, spec: &Value) -> bool {
    kind != "BackendTrafficPolicy" || FILTERS.iter().any(|filter| spec.get(filter).is_some())
}

/// The Gateways on whose listeners a policy acts: those that it names, and those of the routes that it names. Where it
/// selects them by labels, all of its namespace.
fn reach(
    policy: &DynamicObject,
    routes: &BTreeMap<ObjectName, BTreeSet<ObjectName>>,
) -> BTreeSet<ObjectName> {
    let (spec, namespace) = (&policy.data["spec"], name(policy).namespace);
    let named = spec["targetRefs"].as_array().into_iter().flatten();
    let mut reach = BTreeSet::new();
    for target in named.chain(spec.get("targetRef")) {
        let target_name = ObjectName::new(&namespace, target["name"].as_str().unwrap_or_default());
        match target["kind"].as_str() {
            Some("Gateway") => drop(reach.insert(target_name)),
            _ => reach.extend(routes.get(&target_name).into_iter().flatten().cloned()),
        }
    }
    if spec.get("targetSelectors").is_some() {
        let of_namespace = routes.iter().filter(|(route, _)| route.namespace == namespace);
        reach.extend(of_namespace.flat_map(|(_, gateways)| gateways.iter().cloned()));
    }
    reach
}

/// The Gateways that a route is attached to.
fn gateways(route: &DynamicObject) -> BTreeSet<ObjectName> {
    let own = name(route).namespace;
    let parents = route.data["spec"]["parentRefs"].as_array().into_iter().flatten();
    let gateways = parents.filter(|parent| parent["kind"].as_str().is_none_or(|kind| kind == "Gateway"));
    gateways
        .filter_map(|parent| {
            let namespace = parent["namespace"].as_str().unwrap_or(&own);
            Some(ObjectName::new(namespace, parent["name"].as_str()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{gateways, is_of_listeners, is_theirs, name, reach};
    use clew_core::model::ObjectName;
    use kube::core::DynamicObject;
    use serde_json::{Value, json};

    fn object(spec: Value) -> DynamicObject {
        serde_json::from_value(json!({"metadata": {"name": "theirs", "namespace": "shop"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn a_policy_acts_where_it_names_a_gateway_or_a_route_of_one() {
        let route = object(
            json!({"parentRefs": [{"name": "edge", "namespace": "infra"}, {"kind": "Service", "name": "a"}]}),
        );
        let routes = [(name(&route), gateways(&route))].into();
        let reach = |spec: Value| -> Vec<String> {
            let reach = reach(&object(spec), &routes);
            reach.iter().map(ObjectName::to_string).collect()
        };
        let at = |kind: &str, name: &str| json!({"targetRefs": [{"kind": kind, "name": name}]});
        assert_eq!(reach(at("Gateway", "own")), ["shop/own"]);
        assert_eq!(reach(at("HTTPRoute", "theirs")), ["infra/edge"]);
        assert!(reach(at("HTTPRoute", "other")).is_empty());
        assert_eq!(
            reach(json!({"targetRef": {"kind": "Gateway", "name": "own"}})),
            ["shop/own"]
        );
        assert_eq!(
            reach(json!({"targetSelectors": [{"kind": "HTTPRoute"}]})),
            ["infra/edge"]
        );
    }

    #[test]
    fn of_what_concerns_clusters_and_of_ours_nothing_is_said() {
        let is_of = |kind, spec: Value| is_of_listeners(kind, &spec);
        assert!(is_of("SecurityPolicy", json!({})) && is_of("ClientTrafficPolicy", json!({})));
        assert!(is_of("BackendTrafficPolicy", json!({"faultInjection": {}})));
        assert!(!is_of("BackendTrafficPolicy", json!({"timeout": {}})));
        let mut policy = object(json!({}));
        assert!(is_theirs(&policy));
        policy.metadata.labels = Some([("app.kubernetes.io/managed-by".into(), "clew".into())].into());
        assert!(!is_theirs(&policy));
    }
}
