//! The contract between the controller and the filter: the plugin's static configuration, the channel's
//! messages, and the names of headers, routes, metrics and facts. Types and names only, so that both halves can share it.
//!
//! Messages are JSON. Unknown fields are ignored and absent ones take their default, so that an old filter and a
//! new controller work together. A rule with a value that a filter does not know, such as another type of key source,
//! stays with that filter as it was; the rest of the update holds.

pub mod channel;
pub mod facts;
pub mod headers;
pub mod http_route;
pub mod limits;
pub mod metrics;
pub mod origin;
pub mod persistence;
pub mod plugin;
pub mod route_name;
pub mod rule;
pub mod terms;

/// Whether nothing is said: such a field is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
