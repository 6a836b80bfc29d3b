//! The kinds that routes are made of, and what they become.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::{Value, json};

use super::{Check, Scene};
use crate::failure::Failure;
use crate::operate::connection::refused;

const CATEGORY: &str = "kinds";
const OURS: &str = "websocketroutes.clew.dev";
const INSTALL: &str = "clew crd | kubectl apply --server-side -f -";

pub(super) async fn check(scene: &Scene<'_>, before: bool) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    if !before {
        checks.push(ours(scene).await);
    }
    let groups = scene.connection.client.list_api_groups().await;
    let groups = groups.map_err(|error| refused("the API server's kinds cannot be listed", &error))?;
    let groups: BTreeSet<_> = groups.groups.into_iter().map(|group| group.name).collect();
    let has = |group: &str| groups.contains(group);
    let istio = has("networking.istio.io") && has("extensions.istio.io");
    let envoy_gateway = has("gateway.envoyproxy.io");
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
    checks.push(match has("gateway.networking.k8s.io") {
        true => Check::ok(CATEGORY, "Gateway API's kinds are installed"),
        false => Check::warning(
            CATEGORY,
            "Gateway API's kinds are not installed",
            "routes attach to Istio's own Gateways only",
        ),
    });
    Ok(checks)
}

/// Our own kind, compared with the one that this `clew` prints.
async fn ours(scene: &Scene<'_>) -> Check {
    let api: Api<CustomResourceDefinition> = Api::all(scene.connection.client.clone());
    match api.get_opt(OURS).await {
        Ok(None) => {
            Check::failed(CATEGORY, format!("{OURS} is not installed"), INSTALL).see("a-missing-kind")
        }
        Ok(Some(found)) => match missing(&schema(&printed()), &schema(&json!(found))) {
            None => Check::ok(
                CATEGORY,
                format!("{OURS} is installed, and as this clew knows it"),
            ),
            Some(field) => Check::failed(
                CATEGORY,
                format!("{OURS} is of another version: it lacks {field}"),
                INSTALL,
            )
            .see("a-missing-kind"),
        },
        Err(kube::Error::Api(status)) if status.is_forbidden() => Check::warning(
            CATEGORY,
            format!("whether {OURS} is the one that this clew knows cannot be told"),
            status.message,
        ),
        Err(error) => Check::warning(CATEGORY, format!("{OURS} cannot be read: {error}"), ""),
    }
}

/// As `clew crd` prints it.
fn printed() -> Value {
    serde_saphyr::from_str(&clew_crds::crd_yaml::<clew_crds::WebSocketRoute>()).unwrap_or_default()
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
    use super::{missing, printed, schema};

    #[test]
    fn a_kind_that_lacks_a_field_is_another_version() {
        let ours = schema(&printed());
        assert_eq!(missing(&ours, &ours), None);
        let mut older = ours.clone();
        let rule = &mut older["properties"]["spec"]["properties"]["rules"]["items"]["properties"];
        assert!(rule.as_object_mut().unwrap().remove("drain").is_some());
        assert_eq!(missing(&ours, &older).as_deref(), Some("spec.rules.drain"));
        assert_eq!(missing(&older, &ours), None, "a newer one has all of it");
    }
}
