//! The kinds that routes are made of, and what they become.

use std::collections::BTreeSet;

use clew_crds::{WebSocketPolicy, WebSocketRoute, crd_yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};

use super::{Check, Scene};
use crate::cluster::Kind;
use crate::failure::{Failure, refused};

const CATEGORY: &str = "kinds";
const INSTALL: &str =
    "where a release of the chart has them: helm upgrade; else: clew crd | kubectl apply --server-side -f -";

/// Whose kinds the API server has.
#[derive(Clone, Copy)]
pub(super) struct Installed {
    pub(super) istio: bool,
    pub(super) envoy_gateway: bool,
    gateway_api: bool,
}

impl Installed {
    /// # Errors
    /// When the API server does not say.
    pub(super) async fn of(client: &Client) -> Result<Self, Failure> {
        let groups = client.list_api_groups().await;
        let groups = groups.map_err(|error| refused("the API server's kinds cannot be listed", &error))?;
        let groups: BTreeSet<_> = groups.groups.into_iter().map(|group| group.name).collect();
        let has = |group: &str| groups.contains(group);
        Ok(Self {
            istio: has("networking.istio.io") && has("extensions.istio.io"),
            envoy_gateway: has("gateway.envoyproxy.io"),
            gateway_api: has("gateway.networking.k8s.io"),
        })
    }
}

pub(super) async fn check(scene: &Scene<'_>, before: bool) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    if !before {
        for (kind, printed) in ours() {
            checks.push(compared(scene, kind, &printed).await);
        }
    }
    let Installed {
        istio,
        envoy_gateway,
        gateway_api,
    } = scene.installed;
    for (there, name) in [(istio, "Istio"), (envoy_gateway, "Envoy Gateway")] {
        if there {
            checks.push(Check::ok(CATEGORY, format!("{name}'s kinds are installed")));
        }
    }
    if !istio && !envoy_gateway {
        checks.push(
            Check::failed(
                CATEGORY,
                "neither Istio's kinds are installed nor Envoy Gateway's",
                "install one of them: their gateways carry the routes out",
            )
            .see("a-missing-kind"),
        );
    }
    checks.push(match gateway_api {
        true => Check::ok(CATEGORY, "Gateway API's kinds are installed"),
        false => Check::warning(
            CATEGORY,
            "Gateway API's kinds are not installed",
            "routes attach to Istio's own Gateways only",
        ),
    });
    Ok(checks)
}

/// Our own kinds, as `clew crd` prints them.
fn ours() -> [(Kind, String); 2] {
    [
        (Kind::WebSocketRoute, crd_yaml::<WebSocketRoute>()),
        (Kind::WebSocketPolicy, crd_yaml::<WebSocketPolicy>()),
    ]
}

/// One of them, compared with what this `clew` prints.
async fn compared(scene: &Scene<'_>, kind: Kind, printed: &str) -> Check {
    let resource = kind.resource();
    let name = format!("{}.{}", resource.plural, resource.group);
    let api: Api<CustomResourceDefinition> = Api::all(scene.connection.client.clone());
    match api.get_opt(&name).await {
        Ok(None) => {
            Check::failed(CATEGORY, format!("{name} is not installed"), INSTALL).see("a-missing-kind")
        }
        Ok(Some(found)) => match missing(&schema(&read(printed)), &schema(&json!(found))) {
            None => Check::ok(
                CATEGORY,
                format!("{name} is installed, and as this clew knows it"),
            ),
            Some(field) => Check::failed(
                CATEGORY,
                format!("{name} is of another version: it lacks {field}"),
                INSTALL,
            )
            .see("a-missing-kind"),
        },
        Err(kube::Error::Api(status)) if status.is_forbidden() => Check::warning(
            CATEGORY,
            format!("whether {name} is the one that this clew knows cannot be told"),
            status.message,
        ),
        Err(error) => Check::warning(
            CATEGORY,
            refused(&format!("{name} cannot be read"), &error).to_string(),
            "",
        ),
    }
}

fn read(crd: &str) -> Value {
    serde_saphyr::from_str(crd).unwrap_or_default()
}

fn schema(crd: &Value) -> Value {
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// A field of the one schema that the other does not have.
fn missing(ours: &Value, theirs: &Value) -> Option<String> {
    for (name, field) in ours["properties"].as_object().into_iter().flatten() {
        let other = &theirs["properties"][name];
        if other.is_null() {
            return Some(name.clone());
        }
        if let Some(below) = missing(field, other) {
            return Some(format!("{name}.{below}"));
        }
    }
    match ours.get("items") {
        Some(items) => missing(items, &theirs["items"]),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{missing, ours, read, schema};

    #[test]
    fn a_kind_that_lacks_a_field_is_another_version() {
        let [(_, route), (_, policy)] = ours();
        for (crd, below, lacks) in [
            (route, "/rules/items/properties", "spec.rules.drain"),
            (policy, "", "spec.drain"),
        ] {
            let ours = schema(&read(&crd));
            assert_eq!(missing(&ours, &ours), None);
            let mut older = ours.clone();
            let fields = older.pointer_mut(&format!("/properties/spec/properties{below}"));
            assert!(
                fields
                    .and_then(|fields| fields.as_object_mut()?.remove("drain"))
                    .is_some()
            );
            assert_eq!(missing(&ours, &older).as_deref(), Some(lacks));
            assert_eq!(missing(&older, &ours), None, "a newer one has all of it");
        }
    }
}
