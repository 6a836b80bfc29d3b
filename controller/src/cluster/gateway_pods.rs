//! The pods of gateways among all: by the labels that an Istio Gateway selects, or by the one that Istio writes onto the pods
//! that it runs for a Gateway of its class; Envoy Gateway's by its own two. And whether our filter acts there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use clew_core::model::GATEWAY_NAME;
use clew_core::model::{ObjectName, Proxies};
use clew_core::objects::Objects;

use super::resolve::Resolved;
use super::seen::PodFacts;

/// Envoy Gateway's labels on the pods that it runs, in a namespace of its own, for a Gateway.
pub(crate) const OWNING_NAME: &str = "gateway.envoyproxy.io/owning-gateway-name";
pub(crate) const OWNING_NAMESPACE: &str = "gateway.envoyproxy.io/owning-gateway-namespace";

/// All pods that were seen.
pub(crate) type Pods = BTreeMap<ObjectName, Arc<PodFacts>>;

/// The labels of those that are some gateway's.
pub(crate) fn labels(objects: &Objects, pods: &Pods) -> BTreeMap<ObjectName, BTreeMap<String, String>> {
    let selectors: BTreeSet<_> = objects
        .istio_gateways
        .iter()
        .map(|gateway| &gateway.object.spec.selector)
        .collect();
    pods.iter()
        .filter(|(_, facts)| is_selected(facts, selectors.iter().copied()))
        .map(|(name, facts)| (name.clone(), facts.labels.clone()))
        .collect()
}

/// Whether a pod is one of Istio's Gateways with these selectors, or of some Gateway of its class.
fn is_selected<'s>(
    facts: &PodFacts,
    mut selectors: impl Iterator<Item = &'s BTreeMap<String, String>>,
) -> bool {
    facts.labels.contains_key(GATEWAY_NAME) || selectors.any(|selector| has_all(facts, selector))
}

/// Whether a pod is some gateway's, whoever's that is.
pub(crate) fn is_any_gateways<'s>(
    facts: &PodFacts,
    selectors: impl Iterator<Item = &'s BTreeMap<String, String>>,
) -> bool {
    facts.labels.contains_key(OWNING_NAME) || is_selected(facts, selectors)
}

fn says(facts: &PodFacts, label: &str, value: &str) -> bool {
    facts.labels.get(label).is_some_and(|said| said == value)
}

/// Those that serve a gateway.
pub(crate) fn of<'p>(
    proxies: &'p Proxies,
    pods: &'p Pods,
) -> impl Iterator<Item = (&'p ObjectName, &'p PodFacts)> {
    let serves = |name: &ObjectName, facts: &PodFacts| match proxies {
        Proxies::Of(gateway) => {
            name.namespace == gateway.namespace && says(facts, GATEWAY_NAME, &gateway.name)
        }
        Proxies::OfEnvoyGateway(gateway) => {
            says(facts, OWNING_NAMESPACE, &gateway.namespace) && says(facts, OWNING_NAME, &gateway.name)
        }
        Proxies::Selected(labels) => has_all(facts, labels),
    };
    pods.iter()
        .filter(move |(name, facts)| serves(name, facts))
        .map(|(name, facts)| (name, &**facts))
}

fn has_all(facts: &PodFacts, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(label, value)| facts.labels.get(label) == Some(value))
}

impl Resolved {
    /// Whether the filter is where a gateway's pods have it.
    pub(crate) fn is_installed(&self, proxies: &Proxies) -> bool {
        let gateway = proxies.to_string();
        let mut namespaces = self
            .plugins
            .keys()
            .filter(|(of, _)| *of == gateway)
            .map(|(_, namespace)| namespace);
        match proxies {
            Proxies::Of(gateway) | Proxies::OfEnvoyGateway(gateway) => {
                namespaces.any(|namespace| *namespace == gateway.namespace)
            }
            Proxies::Selected(_) => {
                let root = self.objects.root_namespace.name();
                let of_pods: BTreeSet<_> = of(proxies, &self.pods)
                    .map(|(name, _)| &*name.namespace)
                    .collect();
                namespaces.any(|namespace| {
                    namespace == root || of_pods.is_empty() || of_pods.contains(&**namespace)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::about::About;
    use crate::cluster::kind::Kind;
    use crate::cluster::resolve::Resolved;
    use crate::cluster::store::Store;
    use clew_core::model::{ObjectName, Proxies};
    use clew_core::objects::RootNamespace;
    use serde_json::{Value, json};

    fn pod(namespace: &str, name: &str, labels: Value) -> (Kind, Value) {
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        (Kind::Pod, json!({"metadata": metadata}))
    }

    #[test]
    fn of_all_pods_those_are_kept_that_a_gateway_selects() {
        let gateway = json!({"metadata": {"name": "edge", "namespace": "infra"},
            "spec": {"selector": {"istio": "edge"}, "servers": []}});
        let store = Store::of(&[
            (Kind::IstioGateway, gateway),
            pod("edges", "a", json!({"istio": "edge", "x": "y"})),
            pod("edges", "b", json!({"istio": "other"})),
            pod(
                "shop",
                "c",
                json!({"gateway.networking.k8s.io/gateway-name": "g"}),
            ),
        ]);
        let resolved = Resolved::read(&store.lock(), &About::all()).unwrap();
        let kept: Vec<_> = resolved.objects.gateway_pods.keys().cloned().collect();
        assert_eq!(
            kept,
            [ObjectName::new("edges", "a"), ObjectName::new("shop", "c")]
        );
    }

    #[test]
    fn a_plugin_acts_where_the_pods_are() {
        let plugin = |namespace: &str, gateway: &str| {
            (
                Kind::WasmPlugin,
                json!({"metadata": {"name": format!("p-{namespace}"), "namespace": namespace},
                    "spec": {"pluginName": "clew", "pluginConfig": {"gateway": gateway}}}),
            )
        };
        let pod =
            json!({"metadata": {"name": "gw", "namespace": "infra", "labels": {"istio": "edge", "x": "y"}}});
        let edge = Proxies::Selected([("istio".to_owned(), "edge".to_owned())].into());
        let installed_under = |root: RootNamespace, plugins: &[(Kind, Value)]| {
            let mut all = vec![(Kind::Pod, pod.clone())];
            all.extend(plugins.iter().cloned());
            let resolved = Resolved::read(&Store::of(&all).lock(), &About::all()).unwrap();
            resolved.under(&root).is_installed(&edge)
        };
        let installed = |plugins: &[(Kind, Value)]| installed_under(RootNamespace::default(), plugins);
        assert!(!installed(&[]));
        assert!(!installed(&[plugin("infra", "istio=other")]));
        assert!(!installed(&[plugin("shop", "istio=edge")]), "not from there");
        assert!(installed(&[plugin("infra", "istio=edge")]));
        let at_the_root = [plugin("istio-system", "istio=edge")];
        assert!(installed(&at_the_root));
        let elsewhere = || RootNamespace::new("mesh-root");
        assert!(!installed_under(elsewhere(), &at_the_root));
        assert!(installed_under(elsewhere(), &[plugin("mesh-root", "istio=edge")]));
    }
}
