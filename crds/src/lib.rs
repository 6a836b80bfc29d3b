//! The `clew.dev/v1alpha1` API. The Rust types are the source; the YAML, the reference page and the chart's copy are print-outs of them.
//!
//! - [`WebSocketRoute`] and everything inside its `spec`: [`websocket_route`].
//! - [`WebSocketPolicy`], which has the same for sessions on somebody's own HTTPRoutes: [`websocket_policy`].
//! - Conditions, their reasons and the rest of `status`: [`status`].
//! - The two scalar types of the API that are strings on the wire: [`Duration`], [`Quantity`].

pub mod admission;
mod crd;
mod duration;
mod quantity;
mod schema;
pub mod status;
pub mod websocket_policy;
pub mod websocket_route;

pub use crd::crd_yaml;
pub use duration::{Duration, InvalidDuration};
pub use quantity::{InvalidQuantity, Quantity};
pub use websocket_policy::{WebSocketPolicy, WebSocketPolicySpec};
pub use websocket_route::{WebSocketRoute, WebSocketRouteSpec};

/// The API group.
pub const GROUP: &str = "clew.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// The annotation that lets an edit remap the keys of a live route: its value must be `"true"`.
pub const ALLOW_REMAP_ANNOTATION: &str = "clew.dev/allow-remap";
