//! `clew drain` of a cluster's pods: an annotation, by which all replicas know of it and none forgets.

use std::collections::{BTreeMap, BTreeSet};

use clew_core::model::ObjectName;
use serde_json::json;

use super::Args;
use super::progress::Progress;
use crate::channel::view::GatewayView;
use crate::cli::target::Cluster;
use crate::failure::Failure;
use crate::operate::pods::{self, Found, Meant};

pub(super) async fn drain(args: &Args, cluster: &Cluster) -> Result<(), Failure> {
    let meant = meant(args, cluster);
    let found = meant.find(&cluster.connection).await?;
    let found = match args.cancel {
        // Whatever it was that they are drained for.
        true => found,
        false => backends(&meant, found, cluster).await?,
    };
    let mut done = Vec::new();
    let now = pods::now(&cluster.connection).await?;
    for pod in found.iter().filter(|pod| !args.cancel || pod.order.is_some()) {
        let written = match args.cancel {
            true => pod.cancel(&cluster.connection).await,
            false => pod.drain(&cluster.connection, now, args.timeout).await,
        };
        written.map_err(|failure| failure.after(&done))?;
        done.push(pod.name.to_string());
    }
    if args.cancel && done.is_empty() {
        return Err(Failure::refused("none of these pods is drained by clew drain"));
    }
    if args.watch {
        watch(cluster, found.iter().map(|pod| pod.name.clone()).collect()).await?;
    }
    let said = match (args.cancel, args.watch) {
        (true, _) => "takes new sessions again",
        (false, true) => "holds no session",
        (false, false) => "takes no new sessions; its sessions leave by and by (--watch follows them)",
    };
    let lines = || done.iter().map(|pod| format!("{pod} {said}\n")).collect();
    args.output.print(&json!({"pods": done}), lines)
}

/// Whom the command line names.
fn meant(args: &Args, cluster: &Cluster) -> Meant {
    if let Some(node) = &args.node {
        return Meant::On(node.clone(), cluster.namespace.clone());
    }
    if let Some(selector) = &args.selector {
        return Meant::Labelled(cluster.namespace().to_owned(), selector.clone());
    }
    Meant::Named(
        args.pods
            .iter()
            .map(|pod| named(pod, cluster.namespace()))
            .collect(),
    )
}

/// `name`, `namespace/name`, or as `kubectl get -o name` says it.
fn named(pod: &str, namespace: &str) -> ObjectName {
    match pod.split_once('/') {
        Some(("pod" | "pods" | "po", name)) => ObjectName::new(namespace, name),
        Some((namespace, name)) => ObjectName::new(namespace, name),
        None => ObjectName::new(namespace, pod),
    }
}

/// Of a node's pods those that a route leads to; of others that none leads to it is said.
async fn backends(meant: &Meant, found: Vec<Found>, cluster: &Cluster) -> Result<Vec<Found>, Failure> {
    let of_node = matches!(meant, Meant::On(..));
    let known = match pods::backends(&cluster.connection).await {
        Ok(known) => known,
        Err(why) if of_node => return Err(why),
        Err(why) => {
            eprintln!("clew: whether a route leads there cannot be told: {why}");
            return Ok(found);
        }
    };
    if let Meant::On(node, _) = meant {
        let found: Vec<_> = found
            .into_iter()
            .filter(|pod| known.contains(&pod.name))
            .collect();
        return match found.is_empty() {
            true => Err(Failure::refused(format!(
                "no pod that a route leads to is on node {node}"
            ))),
            false => Ok(found),
        };
    }
    for pod in found.iter().filter(|pod| !known.contains(&pod.name)) {
        eprintln!("clew: no route leads to pod {}", pod.name);
    }
    Ok(found)
}

/// Follows it until no session is left.
async fn watch(cluster: &Cluster, pods: BTreeSet<ObjectName>) -> Result<(), Failure> {
    let mut controllers = cluster.controller.asking(&cluster.connection.client);
    let mut progress = Progress::new();
    loop {
        let left = left(&controllers.ask().await?.gateways(), &pods);
        // What does not drain yet may still get sessions.
        if left.drains && progress.is_over(left.sessions, left.deadline_ms) {
            return Ok(());
        }
        progress.pause().await;
    }
}

/// What is left on some pods.
#[derive(Debug, PartialEq)]
struct Left {
    sessions: u64,
    deadline_ms: Option<u64>,
    /// Each of them that filters are told of is told to be draining.
    drains: bool,
}

fn left(gateways: &[GatewayView], pods: &BTreeSet<ObjectName>) -> Left {
    let is_ours = |backend: &str, pod: &str| {
        let namespace = backend.split_once('/').map_or("", |(namespace, _)| namespace);
        pods.contains(&ObjectName::new(namespace, pod))
    };
    let live = gateways
        .iter()
        .flat_map(|gateway| &gateway.proxies)
        .flat_map(|proxy| &proxy.live);
    let backends: BTreeMap<_, _> = gateways.iter().flat_map(|gateway| &gateway.backends).collect();
    let told = backends
        .into_iter()
        .flat_map(|(id, backend)| backend.pods.iter().map(move |pod| (id, pod)))
        .filter(|(id, pod)| is_ours(id, &pod.name));
    let windows: Vec<_> = told.map(|(_, pod)| pod.draining).collect();
    let end = |window: &clew_filter_config::rule::Draining| window.since_ms.saturating_add(window.timeout_ms);
    Left {
        sessions: live
            .filter(|one| is_ours(&one.backend, &one.pod))
            .map(|one| one.sessions)
            .sum(),
        deadline_ms: windows.iter().flatten().map(end).max(),
        drains: windows.iter().all(Option::is_some),
    }
}

#[cfg(test)]
mod tests {
    use super::{Left, left, named};
    use crate::channel::view::{GatewayView, ProxyView};
    use clew_core::model::ObjectName;
    use clew_filter_config::channel::Live;
    use clew_filter_config::rule::{Backend, Draining, Pod};

    #[test]
    fn pods_are_named_as_kubectl_names_them() {
        for (said, meant) in [
            ("chat-0", "shop/chat-0"),
            ("pod/chat-0", "shop/chat-0"),
            ("game/chat-0", "game/chat-0"),
        ] {
            assert_eq!(named(said, "shop").to_string(), meant);
        }
    }

    #[test]
    fn what_is_left_is_counted_over_all_gateways_and_in_the_namespace() {
        let draining = Draining {
            since_ms: 10,
            timeout_ms: 20,
        };
        let gateway = |draining| {
            let live = |backend: &str, sessions| Live {
                rule: "r".into(),
                backend: backend.into(),
                pod: "chat-0".into(),
                sessions,
            };
            let pod = Pod {
                name: "chat-0".into(),
                uid: String::new(),
                address: "10.0.0.1:80".into(),
                steer: None,
                draining,
            };
            GatewayView {
                name: String::new(),
                proxies: vec![ProxyView {
                    id: String::new(),
                    node: String::new(),
                    installation: String::new(),
                    envoy: String::new(),
                    istio: String::new(),
                    heard_ms: 0,
                    acknowledged: true,
                    live: vec![live("shop/chat:80", 3), live("game/chat:80", 9)],
                }],
                backends: [("shop/chat:80".to_owned(), Backend { pods: vec![pod] })].into(),
            }
        };
        let pods = [ObjectName::new("shop", "chat-0")].into();
        assert_eq!(
            left(&[gateway(Some(draining)), gateway(Some(draining))], &pods),
            Left {
                sessions: 6,
                deadline_ms: Some(30),
                drains: true
            }
        );
        assert!(!left(&[gateway(None)], &pods).drains);
    }
}
