//! The controller: whether its replicas answer, are of one version, and one of them writes.

use std::collections::BTreeSet;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use super::{Check, Scene};
use crate::channel::view::ReplicaView;
use crate::cluster::LEASE;
use crate::failure::refused;

const CATEGORY: &str = "controller";

pub(super) async fn check(scene: &Scene<'_>) -> Vec<Check> {
    let service = &scene.controller.service;
    let unready = &scene.unready;
    let answers = match &scene.answers {
        Ok(answers) => answers,
        Err(why) => {
            let failed = Check::failed(
                CATEGORY,
                format!("no replica of the controller can be asked: {why}"),
                format!(
                    "kubectl logs -n {} -l app.kubernetes.io/name=clew",
                    service.namespace
                ),
            );
            let failed = failed.see("a-controller-that-does-not-answer");
            let known = unready.replicas.iter().filter_map(|replica| rights(&[replica]));
            return [failed].into_iter().chain(known).collect();
        }
    };
    let mut checks = vec![Check::ok(
        CATEGORY,
        match answers.replicas.len() {
            1 => "1 replica of the controller answers".to_owned(),
            n => format!("{n} replicas of the controller answer"),
        },
    )];
    for silent in &answers.silent {
        checks.push(
            Check::failed(
                CATEGORY,
                format!("replica {} does not answer: {}", silent.replica, silent.why),
                format!("kubectl logs -n {} {}", service.namespace, silent.replica),
            )
            .see("a-controller-that-does-not-answer"),
        );
    }
    let replicas: Vec<_> = answers.replicas.iter().chain(&unready.replicas).collect();
    checks.extend(rights(&replicas));
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
            return Check::warning(
                CATEGORY,
                refused(&format!("the Lease {LEASE} cannot be read"), &error).to_string(),
                "",
            );
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
        )
        .see("nobody-writes"),
    }
}

/// What the controller may not do, as the API server says of its account. None: nobody knows.
fn rights(replicas: &[&ReplicaView]) -> Option<Check> {
    let lacks: BTreeSet<_> = replicas
        .iter()
        .filter_map(|replica| replica.lacks.as_ref())
        .flatten()
        .collect();
    let mut known = replicas.iter().filter(|replica| replica.lacks.is_some());
    match (known.next(), lacks.is_empty()) {
        (None, _) => None,
        (Some(_), true) => Some(Check::ok(
            CATEGORY,
            "the controller's account may do all that it has to",
        )),
        (Some(_), false) => {
            let lacks: Vec<_> = lacks.into_iter().map(String::as_str).collect();
            let what = format!("the controller's account may not {}", lacks.join("; "));
            let hint = "helm upgrade gives it the chart's rights again, with --force-conflicts where somebody has edited them; without the chart apply those that the guide prints";
            Some(Check::failed(CATEGORY, what, hint).see("wrong-rights"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::{ReplicaView, rights};

    #[test]
    fn what_the_controller_may_not_do_is_one_line() {
        let replica = |lacks: Option<&[&str]>| ReplicaView {
            replica: "clew-0".into(),
            version: String::new(),
            module: String::new(),
            leads: false,
            lacks: lacks.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            watched: None,
            gateways: Vec::new(),
        };
        let (older, well, bad) = (
            replica(None),
            replica(Some(&[])),
            replica(Some(&["list pods", "get leases"])),
        );
        assert_eq!(rights(&[&older]), None);
        assert_eq!(rights(&[&older, &well]).unwrap().verdict, Verdict::Ok);
        let check = rights(&[&well, &bad, &bad]).unwrap();
        assert_eq!(check.verdict, Verdict::Failed);
        assert_eq!(
            check.what,
            "the controller's account may not get leases; list pods"
        );
    }
}
