//! `clew status` in a cluster: the routes from the API server, the proxies from the controller. The first needs no controller.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Args, items, text};
use crate::channel::view::GatewayView;
use crate::cli::output;
use crate::cli::target::Cluster;
use crate::failure::{Failure, REFUSED};
use crate::operate::routes::{self, Route};

pub(super) async fn status(cluster: &Cluster, args: &Args) -> Result<ExitCode, Failure> {
    let namespace = (!args.all_namespaces).then(|| cluster.namespace());
    let routes = routes::list(&cluster.connection, namespace).await?;
    if let (Some(namespace), []) = (namespace, &routes[..]) {
        eprintln!("clew: there is no WebSocketRoute in namespace {namespace}; -A shows those of all");
    }
    let mut status = json!({"routes": routes, "gateways": null, "replicas": null});
    match cluster.controller.ask(&cluster.connection.client).await {
        Ok(answers) => {
            let replica = |replica: &crate::channel::view::ReplicaView| json!({"name": replica.replica, "version": replica.version, "module": replica.module, "leads": replica.leads});
            status["gateways"] = answers.gateways().iter().map(gateway).collect();
            status["replicas"] = answers.replicas.iter().map(replica).collect();
            status["silent"] = json!(answers.silent);
            for silent in &answers.silent {
                eprintln!("clew: replica {} says nothing: {}", silent.replica, silent.why);
            }
        }
        Err(why) => eprintln!("clew: what the proxies have acknowledged is not known: {why}"),
    }
    args.output.print(&status, || tables(&status, &routes))?;
    Ok(match routes.iter().all(Route::is_ready) {
        true => ExitCode::SUCCESS,
        false => REFUSED.into(),
    })
}

fn gateway(gateway: &GatewayView) -> Value {
    let each = gateway.proxies.iter().map(|proxy| {
        json!({
            "proxy": proxy.called(), "id": proxy.id, "acknowledged": proxy.acknowledged, "heardMs": proxy.heard_ms,
            "sessions": proxy.live.iter().map(|live| live.sessions).sum::<u64>(),
        })
    });
    json!({
        "name": gateway.name,
        "proxies": gateway.proxies.len(),
        "acknowledged": gateway.proxies.iter().filter(|proxy| proxy.acknowledged).count(),
        "each": each.collect::<Vec<_>>(),
    })
}

fn tables(status: &Value, routes: &[Route]) -> String {
    let rows = routes.iter().map(|route| {
        let [ready, reason, message] = route.ready();
        [
            route.namespace.clone(),
            route.name.clone(),
            ready,
            reason,
            message,
        ]
    });
    let mut parts = vec![output::table(
        ["NAMESPACE", "ROUTE", "READY", "REASON", "MESSAGE"],
        rows,
    )];
    let named: Vec<_> = routes.iter().flat_map(conditions).collect();
    if !named.is_empty() {
        parts.push(output::table(
            ["ROUTE", "PARENT", "CONDITION", "STATUS", "REASON", "MESSAGE"],
            named,
        ));
    }
    let proxies = items(status, "gateways").flat_map(|gateway| {
        let row = |proxy: &Value| {
            let is_held = proxy["acknowledged"] == true;
            [
                text(&gateway["name"]),
                text(&proxy["proxy"]),
                if is_held { "yes" } else { "no" }.to_owned(),
                text(&proxy["sessions"]),
            ]
        };
        let none = || {
            [
                text(&gateway["name"]),
                "none polls".to_owned(),
                String::new(),
                String::new(),
            ]
        };
        let rows: Vec<_> = items(gateway, "each").map(row).collect();
        match rows.is_empty() {
            true => vec![none()],
            false => rows,
        }
    });
    if !status["gateways"].is_null() {
        parts.push(output::table(
            ["GATEWAY", "PROXY", "UP TO DATE", "SESSIONS"],
            proxies,
        ));
    }
    parts.join("\n")
}

/// Of each parent what does not hold, and what holds in part.
fn conditions(route: &Route) -> Vec<[String; 6]> {
    let parents = items(&route.status, "parents");
    let rows = parents.flat_map(|parent| {
        let reference = &parent["parentRef"];
        let namespace = reference["namespace"].as_str().unwrap_or(&route.namespace);
        let called = format!("{namespace}/{}", text(&reference["name"]));
        let worth = |condition: &&Value| {
            let is_partial = condition["type"] == "PartiallySupported";
            (condition["status"] == "True") == is_partial
        };
        items(parent, "conditions").filter(worth).map(move |condition| {
            [
                format!("{}/{}", route.namespace, route.name),
                called.clone(),
                text(&condition["type"]),
                text(&condition["status"]),
                text(&condition["reason"]),
                text(&condition["message"]),
            ]
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::{gateway, tables};
    use crate::channel::view::{GatewayView, ProxyView};
    use crate::operate::routes::Route;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[test]
    fn what_does_not_hold_is_named_and_so_is_each_proxy() {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "why"});
        let route = Route {
            namespace: "shop".into(),
            name: "chat".into(),
            generation: 1,
            spec: Value::Null,
            status: json!({"observedGeneration": 1,
            "conditions": [condition("Ready", "False", "NotReady")],
            "parents": [{"parentRef": {"name": "edge"}, "conditions": [
                condition("Accepted", "True", "Accepted"),
                condition("Programmed", "False", "ProxiesBehind"),
                condition("PartiallySupported", "True", "DrainTruncated"),
            ]}]}),
        };
        let proxy = |id: &str, acknowledged| ProxyView {
            id: id.into(),
            node: String::new(),
            installation: String::new(),
            envoy: String::new(),
            istio: String::new(),
            heard_ms: 1,
            acknowledged,
            live: Vec::new(),
        };
        let of = |name: &str, proxies| GatewayView {
            name: name.into(),
            proxies,
            backends: BTreeMap::new(),
        };
        let gateways = [
            of("istio=edge", vec![proxy("a", true), proxy("b", false)]),
            of("x/y", vec![]),
        ];
        let gateways: Vec<_> = gateways.iter().map(gateway).collect();
        let text = tables(&json!({"gateways": gateways}), &[route]);
        let rows: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            rows,
            [
                "NAMESPACE ROUTE READY REASON MESSAGE",
                "shop chat False NotReady why",
                "",
                "ROUTE PARENT CONDITION STATUS REASON MESSAGE",
                "shop/chat shop/edge Programmed False ProxiesBehind why",
                "shop/chat shop/edge PartiallySupported True DrainTruncated why",
                "",
                "GATEWAY PROXY UP TO DATE SESSIONS",
                "istio=edge a yes 0",
                "istio=edge b no 0",
                "x/y none polls",
            ]
        );
    }
}
