//! The controller: whether its replicas answer, are of one version, and one of them writes.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::{Check, Scene};
use crate::cluster::LEASE;

const CATEGORY: &str = "controller";

pub(super) async fn check(scene: &Scene<'_>) -> Vec<Check> {
    let service = &scene.controller.service;
    let answers = match &scene.answers {
        Ok(answers) => answers,
        Err(why) => {
            return vec![Check::failed(
                CATEGORY,
                format!("no replica of the controller can be asked: {why}"),
                format!(
                    "kubectl logs -n {} -l app.kubernetes.io/name=clew",
                    service.namespace
                ),
            )];
        }
    };
    let mut checks = vec![Check::ok(
        CATEGORY,
        format!("{} replicas of the controller answer", answers.replicas.len()),
    )];
    for silent in &answers.silent {
        checks.push(Check::failed(
            CATEGORY,
            format!("replica {} does not answer: {}", silent.replica, silent.why),
            format!("kubectl logs -n {} {}", service.namespace, silent.replica),
        ));
    }
    checks.push(lease(scene).await);
    let versions: BTreeSet<_> = answers
        .replicas
        .iter()
        .map(|replica| replica.version.as_str())
        .chain([env!("CARGO_PKG_VERSION")])
        .collect();
    let versions: Vec<_> = versions.into_iter().collect();
    checks.push(match &versions[..] {
        [version] => Check::ok(
            CATEGORY,
            format!("the controller and this clew are of version {version}"),
        ),
        several => Check::warning(
            CATEGORY,
            format!(
                "the controller and this clew are of versions {}",
                several.join(" and ")
            ),
            "use the clew of the controller's version",
        ),
    });
    checks
}

async fn lease(scene: &Scene<'_>) -> Check {
    let api: Api<Lease> = Api::namespaced(
        scene.connection.client.clone(),
        &scene.controller.service.namespace,
    );
    let lease = match api.get_opt(LEASE).await {
        Ok(lease) => lease,
        Err(error) => {
            return Check::warning(CATEGORY, format!("the Lease {LEASE} cannot be read: {error}"), "");
        }
    };
    let holder = lease.and_then(|lease| lease.spec?.holder_identity);
    let leads = scene.answers.iter().flat_map(|answers| &answers.replicas);
    let mut leads = leads
        .filter(|replica| replica.leads)
        .map(|replica| replica.replica.clone());
    match (holder.filter(|holder| !holder.is_empty()), leads.next()) {
        (Some(holder), Some(leader)) if holder == leader => {
            Check::ok(CATEGORY, format!("{holder} holds the Lease and writes"))
        }
        (holder, leader) => Check::failed(
            CATEGORY,
            format!(
                "nobody writes what routes become: the Lease {LEASE} is held by {}, and {} says that it leads",
                holder.as_deref().unwrap_or("nobody"),
                leader.as_deref().unwrap_or("none"),
            ),
            "look at CLEW0924 in the controller's log",
        ),
    }
}
