//! Backends that no rule leads to any more while sessions are on them: their pods drain as all others do.

use clew_crds::websocket_route::Drain;

use super::backends;
use super::index::Index;
use crate::model::{Backend, World};
use crate::objects::Objects;

/// Adds them to those that a rule names. They drain within what the rules say by which their sessions came, or said.
pub(super) fn add(world: &mut World, objects: &Objects, index: &Index<'_>) {
    for (id, lingering) in &objects.lingering {
        if world.backends.contains_key(id) {
            continue;
        }
        let service = index.services.get(&id.service);
        let ports = service.and_then(|service| service.object.spec.as_ref()?.ports.as_deref());
        let is_it = |port: &&_| -> bool {
            let port: &k8s_openapi::api::core::v1::ServicePort = port;
            port.port == i32::from(id.port)
        };
        let Some(port) = ports.unwrap_or_default().iter().find(is_it) else {
            continue;
        };
        let of_it = world
            .rules()
            .filter(|rule| lingering.rules.contains(&rule.name.to_string()));
        let timeout_ms = of_it.map(|rule| rule.drain_timeout_ms).min();
        let timeout_ms = timeout_ms.or(lingering.drain_timeout_ms);
        // What is wrong with its endpoints concerns no route.
        let pods = backends::pods(&id.service, port, index, &mut Vec::new());
        let backend = Backend {
            pods,
            drain_timeout_ms: timeout_ms.unwrap_or_else(|| Drain::default().timeout.as_millis()),
        };
        world.backends.insert(id.clone(), backend);
    }
}
