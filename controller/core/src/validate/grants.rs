use super::index::Index;
use crate::model::ObjectName;

/// A group and a kind.
pub(super) type From = (&'static str, &'static str);

/// Those of a route.
pub(super) const ROUTE: From = (clew_crds::GROUP, "WebSocketRoute");
/// Those of somebody's HTTPRoute.
pub(super) const HTTP_ROUTE: From = ("gateway.networking.k8s.io", "HTTPRoute");

/// Whether objects of a kind and a namespace may use a Service.
pub(super) fn permits(index: &Index<'_>, from: From, namespace: &str, service: &ObjectName) -> bool {
    service.namespace == namespace
        || index
            .grants
            .iter()
            .filter(|(grant, _)| grant.namespace == service.namespace)
            .any(|(_, grant)| grant.object.permits(from, namespace, &service.name))
}
