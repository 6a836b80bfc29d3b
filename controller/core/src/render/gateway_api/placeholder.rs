//! What keeps the filter in a gateway's listeners: Envoy Gateway puts it there with the first HTTPRoute and takes it out with the
//! last, and either cuts what is open. It is installed with the module.

use serde_json::json;

use super::installed;
use crate::model::ObjectName;
use crate::render::object::Object;

/// An HTTPRoute that nobody's request takes, on every listener of a gateway that takes routes of its namespace.
#[must_use]
pub fn placeholder(gateway: &ObjectName) -> Object {
    let spec = json!({
        "parentRefs": [{"name": gateway.name}],
        "rules": [{
            "matches": [{
                "path": {"type": "Exact", "value": "/.well-known/clew-placeholder"},
                "headers": [{"name": "x-clew-placeholder", "value": gateway.to_string()}],
            }],
        }],
    });
    Object::new(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        installed(gateway),
        &spec,
        [],
    )
}
