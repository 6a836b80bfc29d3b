//! The routes, as the API server has them.

use clew_core::model::ObjectName;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::connection::{Connection, refused};
use crate::cluster::Kind;
use crate::failure::Failure;

/// What to do where there are none.
pub(crate) const UNKNOWN_KIND: &str = "the API server knows no WebSocketRoute; install the kind with clew crd | kubectl apply --server-side -f -";

/// A route and what its status says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Route {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    #[serde(skip)]
    pub(crate) spec: Value,
    pub(crate) status: Value,
}

/// Those of a namespace, or all of them.
///
/// # Errors
/// When they cannot be listed.
pub(crate) async fn list(connection: &Connection, namespace: Option<&str>) -> Result<Vec<Route>, Failure> {
    let resource = Kind::WebSocketRoute.resource();
    let client = connection.client.clone();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let listed = api
        .list(&ListParams::default())
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if status.code == 404 => Failure::refused(UNKNOWN_KIND),
            _ => refused("WebSocketRoutes cannot be listed", &error),
        })?;
    Ok(listed.items.into_iter().map(Route::of).collect())
}

impl Route {
    fn of(mut object: DynamicObject) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            generation: object.metadata.generation.unwrap_or(0),
            spec: object.data["spec"].take(),
            status: object.data["status"].take(),
        }
    }

    /// Its summary: what `Ready` is, why, and more of that. One that a controller has not looked at yet is not ready.
    pub(crate) fn ready(&self) -> [String; 3] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = self.status["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|one| one["type"] == "Ready");
        let is_of_now = self.status["observedGeneration"] == self.generation;
        match ready {
            None => [
                "Unknown".to_owned(),
                "Pending".to_owned(),
                "no controller has said anything of it".to_owned(),
            ],
            Some(_) if !is_of_now => [
                "Unknown".to_owned(),
                "Pending".to_owned(),
                format!(
                    "the controller has not looked at generation {} yet",
                    self.generation
                ),
            ],
            Some(ready) => [
                text(&ready["status"]),
                text(&ready["reason"]),
                text(&ready["message"]),
            ],
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready()[0] == "True"
    }

    /// The Services that it sends sessions to.
    pub(crate) fn services(&self) -> impl Iterator<Item = ObjectName> {
        let rules = self.spec["rules"].as_array().into_iter().flatten();
        let references = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
        references.filter_map(|reference| {
            let namespace = reference["namespace"].as_str().unwrap_or(&self.namespace);
            Some(ObjectName::new(namespace, reference["name"].as_str()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Route;
    use clew_core::model::ObjectName;
    use serde_json::{Value, json};

    fn route(generation: i64, status: Value) -> Route {
        Route {
            namespace: "shop".into(),
            name: "chat".into(),
            generation,
            spec: json!({"rules": [{"backendRefs": [{"name": "chat", "port": 80}, {"name": "old", "namespace": "attic", "port": 80}]}]}),
            status,
        }
    }

    #[test]
    fn a_status_of_an_older_text_says_nothing_of_this_one() {
        let status = json!({"observedGeneration": 2, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready", "message": "all is well"},
        ]});
        assert!(route(2, status.clone()).is_ready());
        assert!(!route(3, status).is_ready());
        assert_eq!(route(1, Value::Null).ready()[1], "Pending");
    }

    #[test]
    fn the_services_of_a_route_are_named_with_their_namespaces() {
        let services: Vec<_> = route(1, Value::Null).services().collect();
        assert_eq!(
            services,
            [ObjectName::new("shop", "chat"), ObjectName::new("attic", "old")]
        );
    }
}
