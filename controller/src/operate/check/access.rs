//! What the person who asks may do, by command.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Check, Scene};
use crate::cluster::operators::READER;
use crate::failure::{Failure, refused};

const CATEGORY: &str = "access";

/// A right: verb, group, resource with its subresource, namespace and name; those may be empty.
type Right<'a> = [&'a str; 5];

pub(super) async fn check(scene: &Scene<'_>, before: bool) -> Result<Vec<Check>, Failure> {
    let own = scene.controller.service.namespace.as_str();
    let wasm_plugins = ["extensions.istio.io", "wasmplugins"];
    let envoy_filters = ["networking.istio.io", "envoyfilters"];
    let istio = installing(own, &[wasm_plugins, envoy_filters], &[]);
    let policies = ["envoyextensionpolicies", "envoyproxies", "clienttrafficpolicies"];
    let written: Vec<_> = policies
        .iter()
        .map(|kind| ["gateway.envoyproxy.io", *kind])
        .chain([["gateway.networking.k8s.io", "httproutes"]])
        .collect();
    let gateways: &[Right<'_>] = &[
        ["patch", "gateway.networking.k8s.io", "gateways", "", ""],
        ["list", "gateway.envoyproxy.io", "envoyextensionpolicies", "", ""],
        ["list", "gateway.envoyproxy.io", "clienttrafficpolicies", "", ""],
    ];
    let envoy_gateway = installing(own, &written, gateways);
    let status: &[Right<'_>] = &[
        ["list", "clew.dev", "websocketroutes", scene.namespace, ""],
        ["list", "clew.dev", "websocketpolicies", scene.namespace, ""],
    ];
    let sessions: &[Right<'_>] = &[
        ["create", "", "serviceaccounts/token", own, READER],
        ["list", "discovery.k8s.io", "endpointslices", own, ""],
        ["get", "", "pods/proxy", own, ""],
    ];
    let drain: &[Right<'_>] = &[
        ["get", "", "pods", scene.namespace, ""],
        ["patch", "", "pods", scene.namespace, ""],
    ];
    let installs = [
        (scene.installed.istio, "install on Istio", &istio[..]),
        (
            scene.installed.envoy_gateway,
            "install on Envoy Gateway",
            &envoy_gateway[..],
        ),
    ];
    let installs = installs
        .into_iter()
        .filter(|(is_there, ..)| *is_there)
        .map(|(_, command, rights)| (command, rights));
    let operating = [("status", status), ("sessions", sessions), ("drain", drain)];
    let commands = operating.into_iter().filter(|_| !before).chain(installs);
    let mut checks = Vec::new();
    for (command, rights) in commands {
        let mut lacks = Vec::new();
        for right in rights {
            if !may(scene, right).await? {
                let [verb, group, resource, namespace, name] = right;
                let of = if group.is_empty() {
                    String::new()
                } else {
                    format!(".{group}")
                };
                let name = if name.is_empty() {
                    String::new()
                } else {
                    format!(" {name}")
                };
                let place = if namespace.is_empty() {
                    String::new()
                } else {
                    format!(" in namespace {namespace}")
                };
                lacks.push(format!("{verb} {resource}{of}{name}{place}"));
            }
        }
        checks.push(match lacks.is_empty() {
            true => Check::ok(CATEGORY, format!("you may use clew {command}")),
            false => Check::warning(
                CATEGORY,
                format!("you may not use clew {command}: not {}", lacks.join(", not ")),
                "the guide has the smallest role for it",
            )
            .see("what-you-may-not-do"),
        });
    }
    Ok(checks)
}

/// What `clew install` needs that writes these: server-side apply makes what is not there.
fn installing<'a>(own: &'a str, written: &[[&'a str; 2]], more: &[Right<'a>]) -> Vec<Right<'a>> {
    let read: [Right<'_>; 6] = [
        ["get", "", "secrets", own, "clew-secrets"],
        ["get", "", "services", own, ""],
        ["list", "", "pods", "", ""],
        ["get", "networking.istio.io", "gateways", "", ""],
        ["get", "gateway.networking.k8s.io", "gateways", "", ""],
        ["get", "gateway.networking.k8s.io", "gatewayclasses", "", ""],
    ];
    let written = written
        .iter()
        .flat_map(|[group, kind]| ["get", "create", "patch"].map(|verb| [verb, *group, *kind, "", ""]));
    read.into_iter()
        .chain(written)
        .chain(more.iter().copied())
        .collect()
}

async fn may(
    scene: &Scene<'_>,
    [verb, group, resource, namespace, name]: &Right<'_>,
) -> Result<bool, Failure> {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
    let review = SelfSubjectAccessReview {
        metadata: ObjectMeta::default(),
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: said(verb),
                group: said(group),
                resource: said(resource),
                subresource: said(below),
                namespace: said(namespace),
                name: said(name),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        status: None,
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(scene.connection.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| refused("what you may do cannot be asked", &error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
