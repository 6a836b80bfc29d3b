//! The gateways that have the filter: whether every pod of theirs reaches the controller, and has the module that it serves.

use std::collections::BTreeSet;

use clew_core::versions::{Version, judge, judge_istio};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use super::{Check, Scene};
use crate::channel::view::ProxyView;
use crate::cluster::{Kind, Plugin, install::of_envoy_gateway, install::selector};
use crate::failure::refused;

const CATEGORY: &str = "proxies";
const NEWER: &str = "roll the gateway out with a newer one: an upgrade of Istio or Envoy Gateway brings it";

pub(super) async fn check(scene: &Scene<'_>) -> Vec<Check> {
    let Ok(answers) = &scene.answers else {
        return Vec::new();
    };
    let ours = match installed(scene).await {
        Ok(ours) => ours,
        Err(error) => {
            return vec![Check::warning(
                CATEGORY,
                refused("where the filter is installed cannot be told", &error).to_string(),
                "",
            )];
        }
    };
    let gateways = answers.gateways();
    let mut checks = Vec::new();
    for (kind, plugin) in ours {
        let (gateway, sha256) = (plugin.gateway.as_str(), plugin.sha256.as_str());
        let older: Vec<_> = answers
            .replicas
            .iter()
            .filter(|replica| replica.module != sha256)
            .map(|replica| replica.replica.as_str())
            .collect();
        checks.push(match older.is_empty() {
            true => Check::ok(
                CATEGORY,
                format!("{gateway} has the module that the controller serves"),
            ),
            false => Check::failed(
                CATEGORY,
                format!("{gateway} has another module than {} serves", older.join(", ")),
                "clew install --gateway NAMESPACE/NAME of a Gateway on these pods: it cuts nothing, and on Envoy Gateway lets all sessions leave first",
            )
            .see("a-filter-of-another-version"),
        });
        let polls = gateways.iter().filter(|known| known.name == gateway);
        let polls: Vec<_> = polls.flat_map(|known| &known.proxies).collect();
        checks.extend(pods(scene, kind, gateway, &polls).await);
        checks.extend(versions(gateway, &polls));
    }
    if checks.is_empty() {
        checks.push(
            Check::warning(
                CATEGORY,
                "no gateway has the filter",
                "clew install --gateway NAMESPACE/NAME",
            )
            .see("no-gateway-has-the-filter"),
        );
    }
    checks
}

/// What installations of the filter say, by the kind that says it.
async fn installed(scene: &Scene<'_>) -> kube::Result<Vec<(Kind, Plugin)>> {
    let mut found = Vec::new();
    for kind in [Kind::WasmPlugin, Kind::EnvoyExtensionPolicy] {
        let listed = match scene.connection.list(kind, scene.watched.as_deref()).await {
            // The kind is not installed.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            listed => listed?,
        };
        let ours = listed.iter().filter_map(|one| Plugin::of(kind, &json!(one)));
        found.extend(ours.map(|plugin| (kind, plugin)));
    }
    Ok(found)
}

/// Each pod of a gateway that has the filter.
async fn pods(scene: &Scene<'_>, kind: Kind, gateway: &str, polls: &[&ProxyView]) -> Vec<Check> {
    let client = scene.connection.client.clone();
    let (namespace, labels) = match kind {
        // They are where Envoy Gateway is.
        Kind::EnvoyExtensionPolicy => (None, of_envoy_gateway(gateway)),
        _ => {
            let (namespace, labels) = selector(gateway);
            (namespace.or_else(|| scene.watched.clone()), labels)
        }
    };
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client, &namespace),
        None => Api::all(client),
    };
    let pods = match api.list(&ListParams::default().labels(&labels)).await {
        Ok(pods) => pods.items,
        Err(error) => {
            return vec![Check::warning(
                CATEGORY,
                refused(&format!("the pods of {gateway} cannot be listed"), &error).to_string(),
                "",
            )];
        }
    };
    let staying = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    staying.map(|pod| standing(gateway, pod, polls)).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

/// How a pod stands with the controller.
fn standing(gateway: &str, pod: &Pod, polls: &[&ProxyView]) -> Check {
    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
    let called = format!("{name}.{namespace}");
    let poll = polls
        .iter()
        .find(|proxy| proxy.called() == called || proxy.called() == name);
    match poll {
        Some(proxy) if proxy.acknowledged => Check::ok(
            CATEGORY,
            format!("{gateway}: pod {namespace}/{name} has the newest rules"),
        ),
        Some(_) => Check::warning(
            CATEGORY,
            format!("{gateway}: pod {namespace}/{name} has not acknowledged the newest rules yet"),
            "look again; if it stays so, its log says why",
        ),
        None if !is_ready(pod) => Check::warning(
            CATEGORY,
            format!("{gateway}: pod {namespace}/{name} is not ready, and has not asked for its rules yet"),
            format!(
                "look again when it has started; if it does not, kubectl describe pod -n {namespace} {name}"
            ),
        ),
        None => Check::failed(
            CATEGORY,
            format!("{gateway}: pod {namespace}/{name} does not reach the controller"),
            format!(
                "kubectl logs -n {namespace} {name} | grep clew; a NetworkPolicy, a Sidecar, a DestinationRule with TLS or \
                 PILOT_FILTER_GATEWAY_CLUSTER_CONFIG may keep it from the controller's Service, which takes plain HTTP. \
                 A pod without a listener, whose Gateway is gone, runs no filter that could ask"
            ),
        )
        .see("a-proxy-that-does-not-reach-the-controller"),
    }
}

/// What the proxies of a gateway run: a line for each that will not do, or not do everything, else one for all.
fn versions(gateway: &str, polls: &[&ProxyView]) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut known = BTreeSet::new();
    for proxy in polls {
        let called = proxy.called();
        let line = |verdict: fn(&'static str, String, &'static str) -> Check, why: String, hint| {
            verdict(CATEGORY, format!("{gateway}: {called}: {why}"), hint).see("an-old-envoy")
        };
        if let Ok(envoy) = proxy.envoy.parse::<Version>() {
            known.insert(format!("Envoy {envoy}"));
            match judge(envoy) {
                Ok(None) => {}
                Ok(Some(why)) => checks.push(line(Check::warning, why, NEWER)),
                Err(why) => checks.push(line(Check::failed, why, NEWER)),
            }
        }
        if let Some(why) = proxy.istio.parse().ok().and_then(judge_istio) {
            checks.push(line(Check::failed, why, NEWER));
        }
    }
    if checks.is_empty() && !known.is_empty() {
        let all: Vec<_> = known.into_iter().collect();
        checks.push(Check::ok(
            CATEGORY,
            format!("{gateway}: its proxies run {}", all.join(", ")),
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::{Pod, ProxyView, standing, versions};
    use serde_json::json;

    fn pod(name: &str, ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "infra"},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_that_does_not_poll_is_found_and_one_that_only_starts_is_no_failure() {
        let proxy = |node: &str, acknowledged| ProxyView {
            id: "0".into(),
            node: node.into(),
            installation: String::new(),
            envoy: String::new(),
            istio: String::new(),
            heard_ms: 0,
            acknowledged,
            live: Vec::new(),
        };
        let (good, late) = (proxy("router~1~edge-0.infra~x", true), proxy("edge-1", false));
        let polls = [&good, &late];
        for (name, ready, verdict) in [
            ("edge-0", true, Verdict::Ok),
            ("edge-0", false, Verdict::Ok),
            ("edge-1", true, Verdict::Warning),
            ("edge-2", true, Verdict::Failed),
            ("edge-2", false, Verdict::Warning),
        ] {
            let check = standing("istio=edge", &pod(name, ready), &polls);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.what.contains(name));
        }
    }

    #[test]
    fn a_proxy_that_is_too_old_is_named() {
        let proxy = |node: &str, envoy: &str, istio: &str| ProxyView {
            id: "0".into(),
            node: node.into(),
            installation: String::new(),
            envoy: envoy.into(),
            istio: istio.into(),
            heard_ms: 0,
            acknowledged: true,
            live: Vec::new(),
        };
        let new = proxy("edge-0", "1.40.0", "1.31.0");
        let silent = proxy("edge-1", "", "");
        let well = versions("istio=edge", &[&new, &silent]);
        assert_eq!(well.len(), 1, "{well:?}");
        assert_eq!(well[0].what, "istio=edge: its proxies run Envoy 1.40.0");
        let (old, older) = (proxy("edge-2", "1.39.1", ""), proxy("edge-3", "1.35.0", "1.30.0"));
        let checks = versions("istio=edge", &[&new, &old, &older]);
        let verdicts: Vec<_> = checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Warning, Verdict::Failed, Verdict::Failed]);
        assert!(
            checks[1].what.contains("edge-3: Envoy 1.35.0 is older"),
            "{checks:?}"
        );
        assert!(versions("istio=edge", &[&silent]).is_empty(), "it does not say");
    }
}
