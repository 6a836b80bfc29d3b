//! Pods of a gateway that have our filter, as far as the cluster says, and never ask the channel. Where Istio's agent cannot get
//! the module, it answers every request of the gateway with 403, and tells nobody but its own log. Envoy Gateway says it in the
//! status of its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clew_core::model::{ObjectName, Proxies};
use clew_filter_config::channel::About;

use super::downloads::{Answer, Downloads};
use super::gateway_pods;
use super::resolve::Resolved;
use super::seen::Plugin;
use super::server::MODULES;
use crate::module;

/// So long a filter may take from its installation, or its pod from its start, to its first poll.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Who is to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Ready pods, and their addresses.
    pods: BTreeMap<ObjectName, Option<String>>,
    plugin: Option<Arc<Plugin>>,
}

/// Since when somebody is expected and silent.
#[derive(Debug, Default)]
pub(crate) struct Silence(BTreeMap<(Proxies, ObjectName), Instant>);

/// Gateways, and the pods of theirs that are silent for too long.
pub(crate) type Silent = BTreeMap<Proxies, BTreeSet<ObjectName>>;

impl Expected {
    /// The pods of a gateway where the filter is installed.
    pub(crate) fn of(resolved: &Resolved, proxies: &Proxies) -> Self {
        let gateway = proxies.to_string();
        let ready = gateway_pods::of(proxies, &resolved.pods)
            .filter(|(_, facts)| facts.is_ready && facts.deleted_ms.is_none());
        let mut plugins = resolved.plugins.iter().filter(|((of, _), _)| *of == gateway);
        Self {
            pods: ready
                .map(|(name, facts)| (name.clone(), facts.ip.clone()))
                .collect(),
            plugin: plugins.next().map(|(_, plugin)| plugin.clone()),
        }
    }

    /// Those that none of the proxies that ask can be. A filter of an older version does not say which pod it is in.
    fn silent(&self, heard: &[About]) -> BTreeSet<ObjectName> {
        if heard.iter().any(|about| about.node.is_empty()) {
            return BTreeSet::new();
        }
        let is_heard = |pod: &ObjectName| {
            let called = format!("~{}.{}~", pod.name, pod.namespace);
            // Istio's name for a pod has more in it, Envoy Gateway's is the pod's own.
            heard
                .iter()
                .any(|about| about.node.contains(&called) || about.node == pod.name)
        };
        self.pods.keys().filter(|pod| !is_heard(pod)).cloned().collect()
    }

    /// What to look at, where some are silent.
    pub(crate) fn sentence(
        &self,
        proxies: &Proxies,
        silent: &BTreeSet<ObjectName>,
        downloads: &Downloads,
    ) -> String {
        let names: Vec<_> = silent.iter().take(3).map(ToString::to_string).collect();
        let more = if silent.len() > names.len() { ", …" } else { "" };
        let plugin = self.plugin.clone().unwrap_or_default();
        let Plugin { url, sha256, .. } = &*plugin;
        let asked = silent
            .iter()
            .find_map(|pod| downloads.of(self.pods.get(pod)?.as_deref()?));
        let (installed, fetches) = match proxies {
            Proxies::OfEnvoyGateway(_) => (
                "the EnvoyExtensionPolicy",
                "where Envoy Gateway cannot get the module, the status of the EnvoyExtensionPolicy says why; a pod from before clew install \
                 does not know the controller, and has to be started anew",
            ),
            Proxies::Of(_) | Proxies::Selected(_) => (
                "the WasmPlugin",
                "where Istio's agent cannot get the module, it answers every request with 403, and its log (wasm) says why",
            ),
        };
        let (is_ours, served) = (url.contains(MODULES), module::sha256());
        let why = if is_ours && !url.contains(&served) {
            format!(
                "{installed} names {url}, which this version of Clew does not serve: run clew install again"
            )
        } else if is_ours && *sha256 != served {
            format!("{installed} names another sha256 than that of the module: run clew install again")
        } else if asked == Some(Answer::NotFound) {
            format!("the pod asked for a module that is not served here, and not for {url}")
        } else if asked == Some(Answer::Given) {
            "the pod was given the module: look whether its Envoy reaches the controller's Service".to_owned()
        } else {
            format!("look whether the pods reach {url}")
        };
        format!(
            "{} of {} ready pods of the gateway have not asked for their rules for {} s, though the filter is installed ({}{more}); \
             {fetches}; {why}",
            silent.len(),
            self.pods.len(),
            PATIENCE.as_secs(),
            names.join(", "),
        )
    }
}

impl Silence {
    /// Who is silent for too long.
    pub(crate) fn look<'e>(
        &mut self,
        expected: impl Iterator<Item = (&'e Proxies, &'e Expected, Vec<About>)>,
        now: Instant,
    ) -> Silent {
        let mut since = BTreeMap::new();
        let mut silent = Silent::new();
        for (proxies, expected, heard) in expected {
            for pod in expected.silent(&heard) {
                let key = (proxies.clone(), pod.clone());
                let from = self.0.get(&key).copied().unwrap_or(now);
                since.insert(key, from);
                if now.saturating_duration_since(from) >= PATIENCE {
                    silent.entry(proxies.clone()).or_default().insert(pod);
                }
            }
        }
        self.0 = since;
        silent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Expected, PATIENCE, Silence};
    use crate::clock;
    use crate::cluster::downloads::Downloads;
    use crate::cluster::seen::Plugin;
    use crate::module;
    use clew_core::model::{ObjectName, Proxies};
    use clew_filter_config::channel::About;

    fn expected(pods: &[&str]) -> Expected {
        let named = |pod: &&str| (ObjectName::new("infra", *pod), Some("10.0.0.7".to_owned()));
        Expected {
            pods: pods.iter().map(named).collect(),
            plugin: None,
        }
    }

    fn heard(node: &str) -> About {
        About {
            node: node.to_owned(),
            ..About::default()
        }
    }

    #[test]
    fn a_pod_that_never_asks_is_silent_after_a_while_and_no_longer_when_it_asks() {
        let proxies = Proxies::Of(ObjectName::new("infra", "edge"));
        let expected = expected(&["a", "b"]);
        let mut silence = Silence::default();
        let mut look = |heard: &[About], now| {
            let silent = silence.look([(&proxies, &expected, heard.to_vec())].into_iter(), now);
            let named = silent.into_values().flatten().map(|pod| pod.name);
            named.collect::<Vec<_>>()
        };
        let nobody = Vec::<String>::new();
        let begin = clock::now();
        let a = heard("router~10.0.0.7~a.infra~infra.svc.cluster.local");
        assert_eq!(
            expected.silent(&[heard("b")]).len(),
            1,
            "as Envoy Gateway calls it"
        );
        assert_eq!(look(&[], begin), nobody);
        let early = begin + PATIENCE - Duration::from_millis(1);
        assert_eq!(look(std::slice::from_ref(&a), early), nobody);
        let late = begin + PATIENCE;
        assert_eq!(look(std::slice::from_ref(&a), late), ["b"]);
        assert_eq!(look(&[a, heard("")], late), nobody, "it may be b");
        assert_eq!(look(&[], late), nobody, "again from the beginning");
    }

    #[test]
    fn the_sentence_says_what_to_look_at() {
        let served = format!("http://clew/module/{}.wasm", module::sha256());
        let (ours, gone) = (&*module::sha256(), "http://clew/module/0.wasm");
        let downloads = Downloads::default();
        let proxies = Proxies::Of(ObjectName::new("infra", "edge"));
        let sentence = |url: &str, sha256: &str| {
            let plugin = Plugin {
                url: url.to_owned(),
                sha256: sha256.to_owned(),
                ..Plugin::default()
            };
            let expected = Expected {
                plugin: Some(Arc::new(plugin)),
                ..expected(&["a"])
            };
            expected.sentence(&proxies, &expected.pods.keys().cloned().collect(), &downloads)
        };
        assert!(sentence(gone, ours).contains("does not serve: run clew install"));
        assert!(sentence(&served, "0").contains("another sha256"));
        assert!(sentence(&served, ours).contains("look whether the pods reach http://clew"));
        downloads.note("10.0.0.7".parse().unwrap(), true);
        assert!(sentence(&served, ours).contains("was given the module"));
        assert!(sentence("oci://mirror/clew", ours).starts_with("1 of 1 ready pods"));
    }
}
