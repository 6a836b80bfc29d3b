//! The pods of a gateway, and whether a policy of Istio's is for them: it is of their namespace or of the root's, and selects
//! them by labels, or names their Gateway.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{GATEWAY_NAME, Parent};
use crate::objects::{Scope, TargetRef};
use crate::validate::index::Index;

/// The pods that serve a parent, never none: where nobody knows any, as the parent itself says what they are.
pub(super) struct Workloads<'i>(Vec<Pod<'i>>);

struct Pod<'i> {
    namespace: &'i str,
    labels: Cow<'i, BTreeMap<String, String>>,
    root: &'i str,
}

impl<'i> Workloads<'i> {
    /// Of a gateway of Istio's; None: the parent is none.
    pub(super) fn of(parent: &'i Parent, index: &Index<'i>) -> Option<Self> {
        let name = parent.name();
        let (labels, namespace) = match parent {
            Parent::IstioClass(_) => {
                let label = (GATEWAY_NAME.to_owned(), name.name.to_string());
                (Cow::Owned(BTreeMap::from([label])), Some(name.namespace.as_str()))
            }
            Parent::IstioGateway(name) => {
                let gateway = index.istio_gateways.get(name)?;
                (Cow::Borrowed(&gateway.object.spec.selector), None)
            }
            _ => return None,
        };
        let mut pods: Vec<_> = index
            .gateway_pods
            .iter()
            .filter(|(pod, has)| {
                namespace.is_none_or(|namespace| namespace == pod.namespace) && has_all(has, &labels)
            })
            .map(|(pod, has)| Pod {
                namespace: &pod.namespace,
                labels: Cow::Borrowed(has),
                root: index.root_namespace,
            })
            .collect();
        if pods.is_empty() {
            pods.push(Pod {
                namespace: &name.namespace,
                labels,
                root: index.root_namespace,
            });
        }
        Some(Self(pods))
    }

    /// Where they are.
    pub(super) fn namespaces(&self) -> BTreeSet<&'i str> {
        self.0.iter().map(|pod| pod.namespace).collect()
    }

    /// Whether a policy is for at least one of them.
    pub(super) fn some_in(&self, namespace: &str, scope: &Scope) -> bool {
        self.0.iter().any(|pod| pod.is_in(namespace, scope))
    }

    /// For each of them, whether a policy is for it.
    pub(super) fn each(&self) -> impl Iterator<Item = impl Fn(&str, &Scope) -> bool> {
        self.0
            .iter()
            .map(|pod| |namespace: &str, scope: &Scope| pod.is_in(namespace, scope))
    }
}

impl Pod<'_> {
    fn is_in(&self, namespace: &str, scope: &Scope) -> bool {
        let mut targets = scope.target_refs.iter().chain(&scope.target_ref).peekable();
        if targets.peek().is_some() {
            let names = |target: &TargetRef| {
                target.group == "gateway.networking.k8s.io"
                    && target.kind == "Gateway"
                    && self.labels.get(GATEWAY_NAME) == Some(&target.name)
            };
            return namespace == self.namespace && targets.any(names);
        }
        (namespace == self.namespace || namespace == self.root)
            && has_all(&self.labels, &scope.selector.match_labels)
            && has_all(&self.labels, &scope.workload_selector.match_labels)
    }
}

fn has_all(has: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(label, value)| has.get(label) == Some(value))
}
