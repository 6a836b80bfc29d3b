//! What operators are told: who polls, what each proxy holds, and who is connected to it. A proxy polls one of several
//! controllers, so that only all of them together know all; of a proxy that several know, what it said last counts.

use std::collections::BTreeMap;

use clew_filter_config::channel::Live;
use clew_filter_config::rule::Backend;
use serde::{Deserialize, Serialize};

/// One controller, and what it knows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReplicaView {
    /// Its identity, as in the Lease.
    pub(crate) replica: String,
    /// Of `clew`.
    pub(crate) version: String,
    /// The sha256 of the module that it serves.
    pub(crate) module: String,
    /// Whether it writes.
    pub(crate) leads: bool,
    /// What it may not do and has to; None: nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lacks: Option<Vec<String>>,
    /// The one namespace that it looks at; None: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watched: Option<String>,
    pub(crate) gateways: Vec<GatewayView>,
}

/// A gateway's proxies, and the pods that they are told of.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GatewayView {
    pub(crate) name: String,
    pub(crate) proxies: Vec<ProxyView>,
    pub(crate) backends: BTreeMap<String, Backend>,
}

/// A proxy that polls.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyView {
    /// Random, one for each Envoy process.
    pub(crate) id: String,
    /// What Envoy is told that it is called; empty where its filter is too old to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) node: String,
    /// Which installation of the filter it runs, where Envoy Gateway runs it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) installation: String,
    /// Envoy's version, and that of the Istio that runs it, as far as it says.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) envoy: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) istio: String,
    /// How long ago it said all this.
    pub(crate) heard_ms: u64,
    /// It holds the newest of what it is to know.
    pub(crate) acknowledged: bool,
    pub(crate) live: Vec<Live>,
}

impl ProxyView {
    /// `pod.namespace` where Envoy is called as Istio calls it (`router~address~pod.namespace~domain`), else all of its name.
    pub(crate) fn called(&self) -> &str {
        match (self.node.split('~').nth(2), self.node.as_str()) {
            (Some(pod), _) => pod,
            (None, "") => &self.id,
            (None, node) => node,
        }
    }
}

/// The gateways, by what all controllers know together.
pub(crate) fn merged(replicas: &[ReplicaView]) -> Vec<GatewayView> {
    let mut gateways = BTreeMap::<&str, GatewayView>::new();
    // What the one says that leads counts first.
    let (leader, others): (Vec<_>, Vec<_>) = replicas.iter().partition(|replica| replica.leads);
    for gateway in leader.iter().chain(&others).flat_map(|replica| &replica.gateways) {
        match gateways.get_mut(gateway.name.as_str()) {
            None => {
                gateways.insert(&gateway.name, gateway.clone());
            }
            Some(known) => known.add(gateway),
        }
    }
    gateways.into_values().collect()
}

impl GatewayView {
    fn add(&mut self, other: &Self) {
        for proxy in &other.proxies {
            match self.proxies.iter_mut().find(|known| known.id == proxy.id) {
                Some(known) if known.heard_ms <= proxy.heard_ms => {}
                Some(known) => known.clone_from(proxy),
                None => self.proxies.push(proxy.clone()),
            }
        }
        for (id, backend) in &other.backends {
            self.backends.entry(id.clone()).or_insert_with(|| backend.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GatewayView, ProxyView, ReplicaView, merged};
    use clew_filter_config::channel::Live;
    use clew_filter_config::rule::{Backend, Draining, Pod};
    use std::collections::BTreeMap;

    fn proxy(id: &str, heard_ms: u64, sessions: u64) -> ProxyView {
        let live = Live {
            rule: "shop/chat/rooms".into(),
            backend: "shop/chat:80".into(),
            pod: "chat-0".into(),
            sessions,
        };
        ProxyView {
            id: id.into(),
            node: String::new(),
            installation: String::new(),
            envoy: String::new(),
            istio: String::new(),
            heard_ms,
            acknowledged: true,
            live: vec![live],
        }
    }

    fn replica(leads: bool, proxies: Vec<ProxyView>, draining: Option<Draining>) -> ReplicaView {
        let pod = Pod {
            name: "chat-0".into(),
            uid: String::new(),
            address: "10.0.0.1:80".into(),
            steer: None,
            draining,
        };
        let gateway = GatewayView {
            name: "istio=edge".into(),
            proxies,
            backends: BTreeMap::from([("shop/chat:80".into(), Backend { pods: vec![pod] })]),
        };
        ReplicaView {
            replica: "clew".into(),
            version: String::new(),
            module: String::new(),
            leads,
            lacks: None,
            watched: None,
            gateways: vec![gateway],
        }
    }

    #[test]
    fn of_a_proxy_that_several_know_what_it_said_last_counts() {
        let draining = Draining {
            since_ms: 1,
            timeout_ms: 2,
        };
        let gateways = merged(&[
            replica(false, vec![proxy("a", 9_000, 5), proxy("b", 100, 7)], None),
            replica(true, vec![proxy("a", 20, 6), proxy("c", 10, 1)], Some(draining)),
        ]);
        let [gateway] = &gateways[..] else {
            panic!("{gateways:?}")
        };
        let mut sessions: Vec<_> = gateway
            .proxies
            .iter()
            .map(|proxy| (&*proxy.id, proxy.live[0].sessions))
            .collect();
        sessions.sort_unstable();
        assert_eq!(sessions, [("a", 6), ("b", 7), ("c", 1)]);
        assert_eq!(
            gateway.backends["shop/chat:80"].pods[0].draining,
            Some(draining),
            "as the one says that leads"
        );
    }

    #[test]
    fn a_proxy_is_called_by_its_pod_where_it_says_so() {
        for (node, called) in [
            (
                "router~10.0.0.3~edge-0.infra~infra.svc.cluster.local",
                "edge-0.infra",
            ),
            ("edge-0", "edge-0"),
            ("", "0123"),
        ] {
            let mut proxy = proxy("0123", 0, 0);
            node.clone_into(&mut proxy.node);
            assert_eq!(proxy.called(), called);
        }
    }
}
