//! `clew status` in a cluster: routes and policies from the API server, the proxies from the controller. The first needs no controller.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Args, items, text};
use crate::channel::view::{GatewayView, ReplicaView};
use crate::cli::output;
use crate::cli::target::Cluster;
use crate::failure::{Failure, REFUSED};
use crate::operate::{Standing, policies, routes};

pub(super) async fn status(cluster: &Cluster, args: &Args) -> Result<ExitCode, Failure> {
    let namespace = (!args.all_namespaces).then(|| cluster.namespace());
    let routes = routes::list(&cluster.connection, namespace).await?;
    let policies = match policies::list(&cluster.connection, namespace).await {
        Ok(policies) => Some(policies),
        Err(why) if why.is_refusal() => {
            eprintln!("clew: {why}");
            None
        }
        Err(why) => return Err(why),
    };
    let mut status = json!({"routes": routes, "policies": policies, "gateways": null, "replicas": null});
    let policies = policies.unwrap_or_default();
    if let (Some(namespace), [], []) = (namespace, &routes[..], &policies[..]) {
        eprintln!("clew: there is no WebSocketRoute in namespace {namespace}; -A shows those of all");
    }
    match cluster.controller.ask(&cluster.connection.client).await {
        Ok(answers) => {
            let replica = |replica: &ReplicaView| json!({"name": replica.replica, "version": replica.version, "module": replica.module, "leads": replica.leads});
            status["gateways"] = answers.gateways().iter().map(gateway).collect();
            status["replicas"] = answers.replicas.iter().map(replica).collect();
            status["silent"] = json!(answers.silent);
            for silent in &answers.silent {
                eprintln!("clew: replica {} says nothing: {}", silent.replica, silent.why);
            }
        }
        Err(why) => eprintln!("clew: what the proxies have acknowledged is not known: {why}"),
    }
    args.output
        .print(&status, || tables(&status, &routes, &policies))?;
    Ok(match routes.iter().chain(&policies).all(Standing::is_ready) {
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

fn tables(status: &Value, routes: &[Standing], policies: &[Standing]) -> String {
    let mut parts = vec![summaries("ROUTE", routes)];
    if !policies.is_empty() {
        parts.push(summaries("POLICY", policies));
    }
    for (kind, place, all) in [("ROUTE", "PARENT", routes), ("POLICY", "ANCESTOR", policies)] {
        let named: Vec<_> = all.iter().flat_map(conditions).collect();
        if !named.is_empty() {
            parts.push(output::table(
                [kind, place, "CONDITION", "STATUS", "REASON", "MESSAGE"],
                named,
            ));
        }
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

/// A line for each.
fn summaries(kind: &str, all: &[Standing]) -> String {
    let rows = all.iter().map(|one| {
        let [ready, reason, message] = one.ready();
        [one.namespace.clone(), one.name.clone(), ready, reason, message]
    });
    output::table(["NAMESPACE", kind, "READY", "REASON", "MESSAGE"], rows)
}

/// Of each place what does not hold there, and what holds in part.
fn conditions(of: &Standing) -> Vec<[String; 6]> {
    let mut rows = Vec::new();
    for (place, conditions) in of.places() {
        let worth = |condition: &&Value| {
            let is_partial = condition["type"] == "PartiallySupported";
            (condition["status"] == "True") == is_partial
        };
        let all = conditions.as_array().into_iter().flatten();
        rows.extend(all.filter(worth).map(|condition| {
            [
                of.called(),
                place.clone(),
                text(&condition["type"]),
                text(&condition["status"]),
                text(&condition["reason"]),
                text(&condition["message"]),
            ]
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{gateway, tables};
    use crate::channel::view::{GatewayView, ProxyView};
    use crate::operate::Standing;
    use clew_core::model::OwnerKind;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn standing(kind: OwnerKind, name: &str, status: Value) -> Standing {
        Standing {
            kind,
            namespace: "shop".into(),
            name: name.into(),
            generation: 1,
            spec: Value::Null,
            status,
        }
    }

    fn condition(kind: &str, status: &str, reason: &str) -> Value {
        json!({"type": kind, "status": status, "reason": reason, "message": "why", "observedGeneration": 1})
    }

    /// Without what columns are wide for.
    fn rows(text: &str) -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    }

    #[test]
    fn what_does_not_hold_is_named_and_so_is_each_proxy() {
        let status = json!({"observedGeneration": 1,
        "conditions": [condition("Ready", "False", "NotReady")],
        "parents": [{"parentRef": {"name": "edge"}, "conditions": [
            condition("Accepted", "True", "Accepted"),
            condition("Programmed", "False", "ProxiesBehind"),
            condition("PartiallySupported", "True", "DrainTruncated"),
        ]}]});
        let route = standing(OwnerKind::Route, "chat", status);
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
        let text = tables(&json!({"gateways": gateways}), &[route], &[]);
        assert_eq!(
            rows(&text),
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
    #[test]
    fn policies_stand_beside_routes_in_tables_of_their_own() {
        let at = |conditions: Value| {
            json!({"ancestors": [{"ancestorRef": {"name": "edge", "namespace": "infra"},
                "controllerName": "clew.dev/controller", "conditions": conditions}]})
        };
        let well = ["Accepted", "ResolvedRefs", "Programmed"].map(|kind| condition(kind, "True", kind));
        let taken = json!([
            condition("Accepted", "False", "Conflicted"),
            condition("ResolvedRefs", "True", "ResolvedRefs"),
            condition("Programmed", "False", "Pending"),
        ]);
        let policies = [
            standing(OwnerKind::Policy, "new", Value::Null),
            standing(OwnerKind::Policy, "rooms", at(json!(well))),
            standing(OwnerKind::Policy, "taken", at(taken)),
        ];
        let text = tables(&json!({"gateways": null}), &[], &policies);
        assert_eq!(
            rows(&text),
            [
                "NAMESPACE ROUTE READY REASON MESSAGE",
                "",
                "NAMESPACE POLICY READY REASON MESSAGE",
                "shop new Unknown Pending no controller has said anything of it",
                "shop rooms True Ready every Gateway has accepted, resolved and programmed it",
                "shop taken False Conflicted why",
                "",
                "POLICY ANCESTOR CONDITION STATUS REASON MESSAGE",
                "shop/taken infra/edge Accepted False Conflicted why",
                "shop/taken infra/edge Programmed False Pending why",
            ]
        );
    }
}
