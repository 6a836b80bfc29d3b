use super::index::Index;
use crate::model::ObjectName;

/// Whether WebSocketRoutes of a namespace may use a Service.
pub(super) fn permits(index: &Index<'_>, namespace: &str, service: &ObjectName) -> bool {
    service.namespace == namespace
        || index
            .grants
            .iter()
            .filter(|(grant, _)| grant.namespace == service.namespace)
            .any(|(_, grant)| grant.object.permits(namespace, &service.name))
}
