//! The routes, as the API server has them.

use clew_core::model::{ObjectName, OwnerKind};

use super::connection::Connection;
use super::standing::{Standing, condition, items, said};
use crate::cluster::Kind;
use crate::failure::{Failure, refused};

/// What to do where there are none.
pub(crate) const UNKNOWN_KIND: &str = "the API server knows no WebSocketRoute; install the kind with clew crd | kubectl apply --server-side -f -";

/// Those of a namespace, or all of them.
///
/// # Errors
/// When they cannot be listed.
pub(crate) async fn list(connection: &Connection, namespace: Option<&str>) -> Result<Vec<Standing>, Failure> {
    let listed = connection.list(Kind::WebSocketRoute, namespace).await;
    let listed = listed.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 404 => Failure::refused(UNKNOWN_KIND),
        _ => refused("WebSocketRoutes cannot be listed", &error),
    })?;
    let of = |object| Standing::of(OwnerKind::Route, object);
    Ok(listed.into_iter().map(of).collect())
}

/// As its condition `Ready` says.
pub(super) fn ready(route: &Standing) -> [String; 3] {
    match condition(&route.status["conditions"], "Ready") {
        none if none.is_null() => Standing::unheard(),
        _ if route.status["observedGeneration"] != route.generation => route.outdated(),
        ready => said(ready),
    }
}

/// The Services that a route sends sessions to.
pub(crate) fn services(route: &Standing) -> impl Iterator<Item = ObjectName> {
    let references = items(&route.spec["rules"]).flat_map(|rule| items(&rule["backendRefs"]));
    references.filter_map(|reference| {
        let namespace = reference["namespace"].as_str().unwrap_or(&route.namespace);
        Some(ObjectName::new(namespace, reference["name"].as_str()?))
    })
}

#[cfg(test)]
mod tests {
    use super::{Standing, services};
    use clew_core::model::{ObjectName, OwnerKind};
    use serde_json::{Value, json};

    fn route(generation: i64, status: Value) -> Standing {
        Standing {
            kind: OwnerKind::Route,
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
        let route = route(1, Value::Null);
        assert_eq!(
            services(&route).collect::<Vec<_>>(),
            [ObjectName::new("shop", "chat"), ObjectName::new("attic", "old")]
        );
    }
}
